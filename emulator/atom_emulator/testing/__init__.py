"""Test your workflows in pytest: play one in memory and in virtual time, and check the outcome.

The tests run the deployed coordinator; docs/how-to/test-your-workflows.md explains how. In reading order: `world` is
the coordinator in one process, on a store, a bus and a Task Runner in memory, with time that a test moves; `timeline`
is virtual time in which invocations run concurrently; `functions` are a world's functions, which are woken by its
events; `play` plays one run, which `played` reads.
"""

from atom_emulator.task_runner.script_file import InvalidScript
from atom_emulator.testing.play import StillOpen, play
from atom_emulator.testing.played import Played, PlayedStep, Submission
from atom_workflows.language.problems import InvalidWorkflow

__all__ = [
    "InvalidScript",
    "InvalidWorkflow",
    "Played",
    "PlayedStep",
    "StillOpen",
    "Submission",
    "play",
]
