"""The whole platform on one machine: Firestore, Pub/Sub, scheduler, Task Runner and the functions."""

from atom_workflows import __version__

__all__ = ["__version__"]
