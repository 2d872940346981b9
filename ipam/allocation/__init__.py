"""What ipam exists for: address arithmetic, the ledger, the carrying out of requests."""
