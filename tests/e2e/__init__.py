"""Whole workflows on real processes; a package, so that its platform ends with it."""
