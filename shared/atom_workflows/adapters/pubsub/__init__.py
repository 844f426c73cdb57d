"""Pub/Sub: the bus, the dead letters, and the queries that the command line makes."""
