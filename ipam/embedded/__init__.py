"""`ipam up`: everything that ipam needs, as child processes."""
