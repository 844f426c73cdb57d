"""Bugs on purpose in marks: how people decide that steps end."""

from __future__ import annotations

from atom_workflows.core.states import StepState
from atom_workflows.documents import RUNS
from atom_workflows.ports import Document, Write
from simulation.planting import Scene, changes_step, fields_of, is_reset, reads, with_fields, without, writes


@reads
def forget_marks(scene: Scene, document: Document) -> Document:
    """Let dispatchers begin a marked step, as if no one had marked it."""
    if scene.function == "user" or not document.fields.get("mark"):
        return document
    return document._replace(fields={name: value for name, value in document.fields.items() if name != "mark"})


@writes
def keep_marks(scene: Scene, write: Write) -> Write:
    """Let a retry leave the mark of an earlier round in force."""
    if not is_reset(write):
        return write
    mark = scene.stored(write.path).get("mark")
    if not mark:
        return write
    return with_fields(without(write, "mark"), mark={**mark, "retries": write.fields["retries"]})


@writes
def forget_open_marks(_scene: Scene, write: Write) -> Write:
    """Let a retry forget a mark that a stop of the run left without effect."""
    return with_fields(write, mark=None) if is_reset(write) and write.fields.get("mark") else write


@writes
def end_marked_at_once(_scene: Scene, write: Write) -> Write:
    """End a marked step that is RUNNING without stopping its job."""
    mark = fields_of(write).get("mark")
    if not mark or not changes_step(write) or write.fields["state"] != StepState.RUNNING.value:
        return write
    return with_fields(write, state=mark["state"], by_choice=mark["state"] == StepState.SKIPPED.value, due_at=None)


@writes
def forget_outputs(scene: Scene, write: Write) -> Write:
    """Drop the outputs that a person supplied."""
    mark = fields_of(write).get("mark")
    if scene.function != "user" or not mark or not write.path.startswith(f"{RUNS}/"):
        return write
    return with_fields(write, mark={name: value for name, value in mark.items() if name != "outputs"})  # type: ignore[arg-type] # fields_of has found some
