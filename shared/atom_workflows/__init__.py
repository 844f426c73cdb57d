"""Atom Workflows: an event-driven workflow coordinator on Pub/Sub."""

__version__ = "2.0.0.dev0"
"""The version of the whole distribution. This is its only definition: pyproject.toml reads this line."""
