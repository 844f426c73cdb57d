"""Views of runs and dead letters for users and programs: read them, describe them in words, and write them as JSON."""
