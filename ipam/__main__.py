"""`python -m ipam` is the `ipam` command."""

from ipam.cli.main import main

main()
