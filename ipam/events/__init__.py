"""Events: the event log, its readers, and publishing on the bus."""
