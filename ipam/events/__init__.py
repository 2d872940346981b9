"""What happened, in order: numbered, kept, and told to whoever wants to know."""
