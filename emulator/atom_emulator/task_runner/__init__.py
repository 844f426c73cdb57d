"""A mock Task Runner with scripted behavior."""
