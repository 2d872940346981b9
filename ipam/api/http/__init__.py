"""What resources share: reading requests and writing responses."""
