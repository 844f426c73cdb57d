"""Pub/Sub: the bus, the dead letters, and the command line's queries."""
