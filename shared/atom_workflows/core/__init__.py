"""The pure core: the workflow, its graph, the states, the decisions. Standard library only, no I/O, no clock."""
