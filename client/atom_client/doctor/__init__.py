"""Looks at a platform's parts; each look makes findings."""
