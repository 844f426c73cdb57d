"""Bugs on purpose in retries of steps that a person named."""

from __future__ import annotations

from collections.abc import Mapping

from atom_workflows.core import selection
from atom_workflows.core.records import StepRecord
from atom_workflows.core.selection import Selection
from atom_workflows.ports import Document
from simulation.planting import Scene, reads

# What is replaced here, as it was.
_choose = selection.choose


@reads
def forget_the_choice(scene: Scene, document: Document) -> Document:
    """Go on with a retry as if no one had named a step."""
    if scene.function == "user" or not document.fields.get("selection"):
        return document
    return document._replace(fields={**document.fields, "selection": None})


def wait_for_none(*_: object) -> dict[str, str]:
    """Let the end of a run wait only for what it depends on in the file."""
    return {}


def run_all_behind(steps: Mapping[str, StepRecord], chosen: Selection, *, retries: int) -> set[str]:
    """Run everything again behind a step that is to run alone."""
    return _choose(steps, chosen._replace(first=(*chosen.first, *chosen.only), only=()), retries=retries)
