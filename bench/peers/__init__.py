"""`python -m bench.peers`: the same workloads on other engines, each from an environment of its own, beside ours."""
