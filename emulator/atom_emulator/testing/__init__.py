"""The coordinator on an in-memory world, for tests of workflows and of the coordinator itself.

In reading order: `world` is the coordinator in one process, with time that a test moves.
"""
