"""Test your workflows in pytest: play one in memory and in virtual time, and look at what became of it.

It is the deployed coordinator that runs; docs/how-to/test-your-workflows.md shows how. In reading order: `world` is the
coordinator in one process, on a store, a bus and a Task Runner in memory, with time that a test moves; `timeline` is
virtual time in which invocations run beside each other; `functions` are a world's functions, which its events wake;
`play` plays one run.
"""

from atom_emulator.task_runner.script_file import InvalidScript
from atom_emulator.testing.play import Played, PlayedStep, StillOpen, Submission, play
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
