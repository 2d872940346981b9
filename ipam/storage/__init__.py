"""The collections in MongoDB: a store for each."""
