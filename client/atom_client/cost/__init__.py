"""The cost of a run: prices, usage, the bill, and what the same work costs elsewhere."""
