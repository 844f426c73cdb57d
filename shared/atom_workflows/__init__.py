"""Atom Workflows: an event-driven Pub/Sub reactive coordinator."""

__version__ = "2.0.0.dev0"
"""The version of the whole distribution, and the one place that says it: pyproject.toml reads this line."""
