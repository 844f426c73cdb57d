"""A mock Task Runner with scripted behaviour."""
