"""ipam: a resource-allocation service for IP addresses."""

__version__ = "2.0.0.dev0"
