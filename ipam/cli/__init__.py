"""The ipam command."""
