"""Pub/Sub: the bus, the dead letters, and what the command line reads from Pub/Sub."""
