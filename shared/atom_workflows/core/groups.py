"""Decide which runs of a group begin, wait or are skipped.

The runs of one workflow file that have the same value of `concurrency.group` are a group. Its places are not counted
anywhere: a run has a place in its group as long as its own state says so (`place_of`), so no crash, cancellation or
deletion can leak a place. Every decision depends on two things read from the store: the number of runs in progress and
the ordered line of waiting runs. Every run is judged by the rules of the file that it was started from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from atom_workflows.core.durations import format_duration
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Concurrency, WhenFull

if TYPE_CHECKING:
    from atom_workflows.core.records import RunRecord

_DIGEST_LENGTH: Final = 20

AT_WORK: Final = (RunState.SEEDING, RunState.RUNNING)
"""The states in which a run takes up a place in its group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A run's group, and the rules for it in the run's file.

    `id` identifies the group: it is derived from the path of the file and the `value` of the file's `group`.
    """

    id: str
    value: str
    limit: int
    when_full: WhenFull
    max_queued: int
    max_wait: timedelta


def group_of(path: str, value: str, rules: Concurrency) -> Group:
    """Return the group to which a run of this file belongs."""
    digest = hashlib.sha256(f"{path}\0{value}".encode()).hexdigest()[:_DIGEST_LENGTH]
    return Group(
        id=digest,
        value=value,
        limit=rules.limit,
        when_full=rules.when_full,
        max_queued=rules.max_queued,
        max_wait=rules.max_wait,
    )


# -- places ----------------------------------------------------------------------------------------------------------


def place_of(run: RunRecord) -> str | None:
    """Return the run's place in its group.

    It is stored with the run's state. The places of waiting runs sort in queue order. Returns None if the
    run has no group or has ended.
    """
    if run.group is None:
        return None
    if run.state is RunState.QUEUED:
        since = (run.queued_at or run.created_at).astimezone(UTC).isoformat(timespec="microseconds")
        return f"{line_of(run.group.id)[0]}{since}/{run.id}"
    return place_at_work(run.group.id) if run.state in AT_WORK else None


def place_at_work(group_id: str) -> str:
    """Return the place shared by all of a group's runs in progress."""
    return f"{group_id}/work"


def line_of(group_id: str) -> tuple[str, str]:
    """Return the half-open range of the places of waiting runs."""
    # In the order of strings, "0" follows "/".
    return f"{group_id}/wait/", f"{group_id}/wait0"


# -- decisions -------------------------------------------------------------------------------------------------------


class Admission(StrEnum):
    """What happens to a run that is started or retried."""

    BEGIN = "begin"
    WAIT = "wait"
    SKIP = "skip"


def admit(group: Group, *, at_work: int, waiting: int) -> Admission:
    """Decide what happens to a new run of the group.

    It does not overtake waiting runs, even if a place is free but not yet assigned to one of them.
    """
    if at_work < group.limit:
        return Admission.WAIT if waiting else Admission.BEGIN
    if group.when_full is WhenFull.SKIP or (group.when_full is WhenFull.QUEUE and waiting >= group.max_queued):
        return Admission.SKIP
    return Admission.WAIT


class Decisions(NamedTuple):
    """The waiting runs that begin, and the skipped ones with their reasons."""

    begin: tuple[RunRecord, ...] = ()
    skip: tuple[tuple[RunRecord, str], ...] = ()


def decide(line: Sequence[RunRecord], *, at_work: int, now: datetime) -> Decisions:
    """Decide which of a group's waiting runs begin and which are skipped.

    `line` holds the waiting runs in order; the first in line begins first. It may be incomplete, except for groups
    whose runs do not queue.
    """
    open_runs = [run for run in line if run.stop is None]
    expired = [run for run in open_runs if is_expired(run, now)]
    waiting = [run for run in open_runs if not is_expired(run, now)]
    # The first run that has to wait holds up all runs behind it, even if their files allow more runs at work.
    fits = takewhile(lambda one: _rules(one[1]).limit > at_work + one[0], enumerate(waiting))
    begin = tuple(run for _, run in fits)
    rest = waiting[len(begin) :]
    skip = [(run, why_expired(_rules(run))) for run in expired]
    for place, run in enumerate(rest):
        rules, newest = _rules(run), rest[-1]
        if rules.when_full is WhenFull.SKIP:
            skip.append((run, why_full(rules)))
        elif rules.when_full is WhenFull.LATEST and run is not newest:
            skip.append((run, f"replaced by {newest.id}"))
        elif rules.when_full is WhenFull.QUEUE and place >= rules.max_queued:
            skip.append((run, why_full(rules)))
    return Decisions(begin=begin, skip=tuple(skip))


def _rules(run: RunRecord) -> Group:
    if run.group is None:
        raise ValueError(f"run {run.id} has no group")
    return run.group


def is_expired(run: RunRecord, now: datetime) -> bool:
    """Return True if a run has reached its maximum waiting time."""
    return wait_ends(run) <= now


def wait_ends(run: RunRecord) -> datetime:
    """Return the time at which a waiting run is skipped."""
    return (run.queued_at or run.created_at) + _rules(run).max_wait


# -- reasons ---------------------------------------------------------------------------------------------------------


def why_full(group: Group) -> str:
    """Return the reason for not letting a run wait."""
    runs = "1 run in its group was" if group.limit == 1 else f"{group.limit:,} runs in its group were"
    at_work = f"{runs} in progress, the most that `limit` allows"
    if group.when_full is WhenFull.QUEUE:
        were = "1 was" if group.max_queued == 1 else f"{group.max_queued:,} were"
        return f"{at_work}, and {were} waiting, the most that `maxQueued` allows"
    return at_work


def why_expired(group: Group) -> str:
    """Return the reason for ending a run's wait."""
    return f"it waited for {format_duration(group.max_wait)}, the longest that `maxWait` allows"
