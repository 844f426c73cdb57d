"""Runs and dead letters as people and programs see them: read, put into words and written as JSON."""
