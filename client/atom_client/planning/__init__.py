"""Plan a run before there is one: `partial` evaluates what is known, and `walk` decides which steps would run."""
