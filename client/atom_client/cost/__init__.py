"""The cost of a run: prices, usage, the bill, and alternatives."""
