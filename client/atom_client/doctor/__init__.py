"""Checks of a platform's parts; each check yields findings."""
