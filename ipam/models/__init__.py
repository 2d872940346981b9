"""Documents, indexes and the MongoDB stores."""
