"""Views of runs and dead letters for people and programs: read them, describe them in words, write them as JSON."""
