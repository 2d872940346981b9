"""The resources of the HTTP API, each with its routes' methods."""
