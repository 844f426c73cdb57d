"""The pure core: the workflow, its graph, the states, the decisions. Standard library, no I/O, no clock."""
