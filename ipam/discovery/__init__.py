"""Finding the parts that ipam needs."""
