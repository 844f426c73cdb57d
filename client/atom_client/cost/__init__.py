"""A run's cost: prices, usage, the bill, and the same work elsewhere."""
