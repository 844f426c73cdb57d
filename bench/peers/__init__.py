"""`python -m bench.peers`: measure the same workloads on other engines, each in its own environment, for comparison."""
