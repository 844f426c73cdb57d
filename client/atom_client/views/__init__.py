"""Views of runs and dead letters, in words and as JSON."""
