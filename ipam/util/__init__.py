"""Utilities that know nothing of ipam's own types but its errors."""
