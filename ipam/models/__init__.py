"""Resources, events and address arithmetic: pure data, which the stores in `ipam.storage` read and write."""
