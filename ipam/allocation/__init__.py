"""Allocation: planning, the ledger, jobs, and the services that the API and the workers call."""
