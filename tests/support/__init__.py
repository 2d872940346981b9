"""What tests of several packages share: servers, stacks, clients, and documents that are made for them."""
