"""`python -m bench`: measure the cost of a step on the local platform, compared with the bare HTTP calls it needs."""
