"""The pure core: the workflow, its graph, the states and the decisions. No I/O, no clock, only the standard library."""
