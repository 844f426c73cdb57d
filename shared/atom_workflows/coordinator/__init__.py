"""Load, decide, save, publish: one file for each handler of the design."""
