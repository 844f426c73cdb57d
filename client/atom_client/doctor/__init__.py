"""Checks of a platform's parts; each check makes findings."""
