"""Bugs on purpose in the places of loops: what an author would get wrong who had not thought of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from atom_workflows.core.item_ids import PLACES_PREFIX
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.documents import step_path
from atom_workflows.ports import Create, Update, Write, WriteResult
from simulation.planting import Scene, StoreBeside, commits, id_of, run_id_of, sets, stores, with_fields, writes


def _hands_on(write: Write) -> bool:
    """Return True if ended items give their places back to this node."""
    return isinstance(write, Update) and id_of(write.path).startswith(PLACES_PREFIX) and "next" in write.increments


@writes
def hand_on_twice(_scene: Scene, write: Write) -> Write:
    """Hand each place on to two items."""
    if not isinstance(write, Update) or not _hands_on(write):
        return write
    return replace(write, increments={**write.increments, "next": 2 * write.increments["next"]})


@writes
def hand_on_one(_scene: Scene, write: Write) -> Write:
    """Hand on one place, however many items end in the commit."""
    if not isinstance(write, Update) or not _hands_on(write):
        return write
    return replace(write, increments={**write.increments, "next": 1})


@commits
def keep_place_when_skipped(_scene: Scene, together: Sequence[Write]) -> Sequence[Write | None]:
    """Hand on no place of an item that its condition skips."""
    if not any(sets(write, StepState.SKIPPED) for write in together):
        return together
    return [
        replace(write, increments={**write.increments, "next": 0})
        if isinstance(write, Update) and _hands_on(write)
        else write
        for write in together
    ]


@writes
def let_all_begin(_scene: Scene, write: Write) -> Write:
    """Create items without waiting for places."""
    if isinstance(write, Create) and write.fields.get("waits_at"):
        return replace(write, fields={**write.fields, "waits_at": "", "remaining": 0})
    return write


class _FreeOnRetry(StoreBeside):
    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        results = self.inner.commit(writes)
        for write in writes:
            if sets(write, StepState.RETRYING) and (shard := self.scene.stored(write.path).get("shard")):
                self.inner.commit([Update(path=step_path(run_id_of(write.path), shard), increments={"next": 1})])
        return results


free_on_retry = stores(_FreeOnRetry)
"""Gives a place back during the back-off between two attempts, too."""


@writes
def reset_waiting_as_placed(_scene: Scene, write: Write) -> Write:
    """Reset an item as if it had a place."""
    is_waiting = isinstance(write, Update) and write.fields.get("waits_at") and sets(write, StepState.PENDING)
    return with_fields(write, waits_at="", remaining=0) if is_waiting and isinstance(write, Update) else write


def deal_nothing(
    _steps: Mapping[str, StepRecord], _again: Collection[str], *, retries: int
) -> dict[str, dict[str, Any]]:
    """Leave the places as an earlier round of the run left them."""
    assert retries
    return {}


def find_nothing(*_: object) -> int:
    """Look for no item that was handed a place by one that died."""
    return 0
