"""Reading requests and writing responses, shared by all resources."""
