"""What ipam costs, measured beside what it is measured by."""
