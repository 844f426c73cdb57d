"""Runs and dead letters as people and programs see them: read, told and written as JSON."""
