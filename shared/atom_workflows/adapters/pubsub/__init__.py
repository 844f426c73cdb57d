"""Pub/Sub: the bus, dead letters, and what the command line asks it for."""
