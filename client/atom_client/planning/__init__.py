"""Plan a run before it exists.

`partial` evaluates what is known, and `walk` decides which steps would run.
"""
