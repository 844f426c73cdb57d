"""`python -m bench`: what a step costs on the local platform, beside the bare HTTP calls that it cannot do without."""
