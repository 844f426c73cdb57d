"""Bugs on purpose in how places in a group are given away, and in what becomes of runs that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from atom_workflows.core.groups import AT_WORK, Decisions, decide
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import WhenFull
from atom_workflows.documents import GROUPS, RUNS
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Create, Document, Message, Query, Store, Update, Upsert, Write
from simulation.planting import (
    Scene,
    StoreBeside,
    fields_of,
    id_of,
    messages,
    stores,
    with_fields,
    without,
    writes,
)

_AT_WORK: Final = {state.value for state in AT_WORK}
_ENDED: Final = {state.value for state in RunState if state.is_terminal}
_IS_RUN: Final = 2
"""The number of parts of a run's path."""


def _changes_run(write: Write) -> bool:
    return write.path.startswith(f"{RUNS}/") and len(write.path.split("/")) == _IS_RUN and "place" in write.fields


@writes
def no_guard_on_the_group(_scene: Scene, write: Write) -> Write:
    """Give places away without looking whether someone else has given one away."""
    if not write.path.startswith(f"{GROUPS}/"):
        return write
    increments = {} if isinstance(write, Create) else write.increments
    return Upsert(path=write.path, fields=write.fields, increments=increments)


@writes
def keep_the_place(_scene: Scene, write: Write) -> Write:
    """Keep a run's place when it ends."""
    is_end = _changes_run(write) and write.fields["state"] in _ENDED and "errors" in write.fields
    has_ended = is_end and isinstance(write, Update)
    return without(write, "place") if has_ended and isinstance(write, Update) else write


@writes
def take_no_place(_scene: Scene, write: Write) -> Write:
    """Let a run that waited begin without a place."""
    begins = isinstance(write, Update) and _changes_run(write) and write.fields["state"] in _AT_WORK
    return with_fields(write, place=None) if begins and isinstance(write, Update) else write


@dataclass(slots=True)
class _CountsOneLess(StoreBeside):
    def count(self, query: Query) -> int:
        found = self.inner.count(query)
        is_at_work = query.collection == RUNS and any(condition[1] == "==" for condition in query.where)
        return max(0, found - 1) if is_at_work else found


@stores
def count_one_less(scene: Scene, store: Store) -> _CountsOneLess:
    """Count a run less at work than there are."""
    return _CountsOneLess(scene, store)


@dataclass(slots=True)
class _LastComesFirst(StoreBeside):
    def query(self, query: Query) -> list[Document]:
        is_line = query.collection == RUNS and any(condition[0] == "place" for condition in query.where)
        if not is_line or not query.order_by:
            return self.inner.query(query)
        return self.inner.query(replace(query, order_by=[("place", "descending")]))


@stores
def last_comes_first(scene: Scene, store: Store) -> _LastComesFirst:
    """Let the run begin that has waited for the shortest time."""
    return _LastComesFirst(scene, store)


@messages
def forget_to_seed(scene: Scene, message: Message) -> Message | None:
    """Never publish that a run that was let begin has to be seeded."""
    is_seed = message.topic == "start" and message.body.get("type") == seed_message("run").body["type"]
    run = scene.run_of(f"{RUNS}/{message.body['run_id']}") if is_seed else {}
    return None if run.get("admitted_at") and run.get("state") == RunState.SEEDING.value else message


@writes
def forget_to_look(_scene: Scene, write: Write) -> Write:
    """Never look at a run again that was let begin."""
    is_end = id_of(write.path) == "~end" and write.fields.keys() == {"due_at"} and fields_of(write)
    return with_fields(write, due_at=None) if is_end and isinstance(write, Update) and write.guard is None else write


def never_expire(_run: RunRecord, _now: datetime) -> bool:
    """Let runs wait for ever."""
    return False


def wait_for_ages(_run: RunRecord) -> datetime:
    """Let runs wait for ever."""
    return datetime.max.replace(tzinfo=_run.created_at.tzinfo) - timedelta(days=1)


def replace_the_newest(line: Sequence[RunRecord], *, at_work: int, now: datetime) -> Decisions:
    """Skip the newest run in line, and keep the oldest."""
    right = decide(line, at_work=at_work, now=now)
    rest = [run for run in line if run not in right.begin]
    if len(rest) < 2 or not rest[0].group or rest[0].group.when_full is not WhenFull.LATEST:
        return right
    return right._replace(skip=tuple((run, f"replaced by {rest[0].id}") for run in rest[1:]))


def skip_whatever_waits(line: Sequence[RunRecord], *, at_work: int, now: datetime) -> Decisions:
    """Skip every run that cannot begin, whatever the file says."""
    right = decide(line, at_work=at_work, now=now)
    rest = [run for run in line if run not in right.begin and run.stop is None]
    return right._replace(skip=tuple((run, "the group is full") for run in rest))


@writes
def count_the_wait(scene: Scene, write: Write) -> Write:
    """Let the timeout of a run count from when it began to wait."""
    if not (isinstance(write, Update) and "admitted_at" in write.fields and write.fields.get("deadline")):
        return write
    since = scene.stored(write.path).get("queued_at")
    waited = write.fields["admitted_at"] - since if since and write.fields["admitted_at"] else timedelta(0)
    return with_fields(write, deadline=write.fields["deadline"] - waited)
