"""The real coordinator under a scheduler that owns time and chance: every seed is one run, with faults of its own.

What it does, how a trace is read and what it does not cover stands in `docs/explanation/simulation.md`.
"""
