"""Atom Workflows: an event-driven Pub/Sub reactive coordinator."""
