"""The timeline of a run's steps, and the critical path through them.

Everything is derived from times in documents; nothing is read here. A retried run is shown from its last retry on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from atom_client.text import lasted
from atom_client.views.attempts import TimedAttempt, time_attempts
from atom_client.views.queries import in_order
from atom_client.views.reasons import last_start
from atom_workflows.core.graph import is_internal
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState


class Part(StrEnum):
    """What a step or its run does during part of its time."""

    DEPENDENCIES = "dependencies"
    SLOT = "slot"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    JOB = "job"
    ITEMS = "items"
    BACK_OFF = "back_off"
    # Attempts that are no longer kept.
    EARLIER = "earlier"
    # Between a step's parts, and after the last step.
    COORDINATION = "coordination"


WORDS: Final[Mapping[Part, str]] = {
    Part.DEPENDENCIES: "waiting for dependencies",
    Part.SLOT: "waiting for a dispatcher",
    Part.SUBMITTING: "being submitted",
    Part.QUEUED: "queued in the Task Runner",
    Part.JOB: "running jobs",
    Part.ITEMS: "running items",
    Part.BACK_OFF: "in back-off",
    Part.EARLIER: "in earlier attempts",
    Part.COORDINATION: "coordinating",
}
"""Words for what each part's time was spent on, phrased to follow a duration."""

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Bar(NamedTuple):
    """A part of a step's time."""

    part: Part
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step and its times, in order and without overlaps.

    `released_at` is when the last of its dependencies ended, or None if one of them has not. `after` is the dependency
    that has ended last so far.
    """

    step: StepRecord
    released_at: datetime | None
    after: str | None
    bars: Sequence[Bar]


class PathStep(NamedTuple):
    """A step on the critical path.

    It has the part of the run's time that it accounts for, and what that time was spent on.
    """

    id: str
    start: datetime
    end: datetime
    parts: Mapping[Part, timedelta]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A run from `begin` to `end`.

    While the run is open, `end` is the current time.
    """

    run: RunRecord
    begin: datetime
    end: datetime
    rows: Sequence[Row]

    @property
    def totals(self) -> dict[Part, timedelta]:
        """The total time that all steps spent in each part."""
        return _sum((bar.part, bar.end - bar.start) for row in self.rows for bar in row.bars)


def lay_out_times(run: RunRecord, nodes: Mapping[str, StepRecord], now: datetime) -> Timeline:
    """Return the timeline of a run.

    `nodes` are all of its nodes except items, with their kept attempts.
    """
    begin = last_start(run)
    end = max(begin, (run.finished_at if run.state.is_terminal else None) or now)
    seen = _Dependencies(nodes)
    rows = []
    for step in in_order(nodes.values()):
        last, are_ended = seen.last_of(step.depends_on)
        ended_at = begin if last is None or last.finished_at is None else max(begin, last.finished_at)
        released_at = ended_at if are_ended else None
        bars = _bars_of(step, begin, released_at, end, now)
        rows.append(Row(step=step, released_at=released_at, after=None if last is None else last.id, bars=bars))
    return Timeline(run=run, begin=begin, end=end, rows=rows)


class _Dependencies:
    """Finds the steps on which others depend, looking through compiler-added nodes."""

    def __init__(self, nodes: Mapping[str, StepRecord]) -> None:
        self._nodes = nodes
        # Many steps may depend on the same barrier, which may have many steps before it.
        self._known: dict[str, tuple[StepRecord | None, bool]] = {}

    def last_of(self, ids: Iterable[str]) -> tuple[StepRecord | None, bool]:
        """Return the step that ended last, and True if all have ended."""
        last, are_ended = None, True
        for one in ids:
            found, is_ended = self._end_of(one)
            are_ended = are_ended and is_ended
            if found is not None and (last is None or (found.finished_at or _NEVER) > (last.finished_at or _NEVER)):
                last = found
        return last, are_ended

    def _end_of(self, node_id: str) -> tuple[StepRecord | None, bool]:
        node = self._nodes.get(node_id)
        if node is None:
            return None, True
        if not is_internal(node_id):
            return (node, True) if node.state.is_terminal and node.finished_at else (None, node.state.is_terminal)
        if node_id not in self._known:
            self._known[node_id] = self.last_of(node.depends_on)
        return self._known[node_id]


def _bars_of(
    step: StepRecord, begin: datetime, released_at: datetime | None, end: datetime, now: datetime
) -> list[Bar]:
    """Return a step's bars since `begin`, in order and without overlaps."""
    if step.state.is_terminal and (step.finished_at is None or step.finished_at < begin):
        return []  # It was kept from before a retry, or from another run.
    until = step.finished_at if step.state.is_terminal else end
    waited = [(Part.DEPENDENCIES, begin, released_at or until)]
    if released_at is not None:
        waited.append((Part.SLOT, released_at, step.started_at or (None if step.state.is_terminal else until)))
    bars, reached = [], begin
    for part, start, stop in (*waited, *_work_of(step, until, now)):
        # The clocks of two instances differ a little.
        start = max(reached, start)  # noqa: PLW2901 (the same time, corrected)
        if stop is not None and start < min(stop, end):
            reached = min(stop, end)
            bars.append(Bar(part, start, reached))
    return bars


def _work_of(
    step: StepRecord, until: datetime | None, now: datetime
) -> Iterator[tuple[Part, datetime, datetime | None]]:
    """Yield the parts of a step's attempts with their times."""
    if step.kind is NodeKind.GATHER:
        if step.started_at is not None:
            yield Part.ITEMS, step.started_at, until
        return
    attempts = [one for one in time_attempts(step, now) if one.attempt.retries == step.retries]
    before = step.started_at
    for number, one in enumerate(attempts):
        claimed_at = one.attempt.claimed_at or before
        if claimed_at is None:
            continue
        if before is not None:
            yield Part.BACK_OFF if number else Part.EARLIER, before, claimed_at
        ended_at = one.attempt.ended_at or until
        yield from _parts_of(one, claimed_at, ended_at)
        before = ended_at
    if step.state is StepState.RETRYING and before is not None:
        yield Part.BACK_OFF, before, until


def _parts_of(
    one: TimedAttempt, claimed_at: datetime, ended_at: datetime | None
) -> Iterator[tuple[Part, datetime, datetime | None]]:
    if not one.attempt.job_id:
        yield Part.SUBMITTING, claimed_at, ended_at
        return
    submitted_at = one.attempt.submitted_at or claimed_at
    running_at = one.attempt.running_at or submitted_at
    yield Part.SUBMITTING, claimed_at, submitted_at
    yield Part.QUEUED, submitted_at, running_at
    yield Part.JOB, running_at, ended_at


# -- the critical path -----------------------------------------------------------------------------------------------


def find_critical_path(timeline: Timeline) -> list[PathStep]:
    """Return the steps that decided how long the run took, in order.

    Each begins when the one before it ends: that was the last dependency it waited for. The last is the step that ended
    last or, while the run is open, the unfinished step that has been ready the longest.
    """
    rows = {row.step.id: row for row in timeline.rows}
    row = _find_last(timeline)
    path: list[PathStep] = []
    reached = timeline.end
    if row is not None and row.step.state.is_terminal and row.step.finished_at is not None:
        reached = min(reached, row.step.finished_at)
    while row is not None:
        before = rows.get(row.after or "")
        if before is not None and (before.step.finished_at is None or before.step.finished_at <= timeline.begin):
            before = None
        start = timeline.begin
        if before is not None and before.step.finished_at is not None:
            start = min(reached, before.step.finished_at)
        path.append(PathStep(row.step.id, start, reached, _parts_within(row.bars, start, reached)))
        row, reached = before, start
    return path[::-1]


def _find_last(timeline: Timeline) -> Row | None:
    rows = [row for row in timeline.rows if row.bars or (row.step.finished_at or timeline.begin) > timeline.begin]
    if not timeline.run.state.is_terminal:
        ready = [row for row in rows if row.released_at is not None and not row.step.state.is_terminal]
        if ready:
            return min(ready, key=lambda row: (row.released_at or timeline.end, row.step.id))
    ended = [row for row in rows if row.step.finished_at is not None]
    # Of steps that ended at the same time, the one that began last depends on the others, if any does.
    return max(
        ended,
        key=lambda row: (row.step.finished_at, row.step.phase is Phase.FINALLY, row.released_at or _NEVER),
        default=None,
    )


def _parts_within(bars: Sequence[Bar], start: datetime, end: datetime) -> dict[Part, timedelta]:
    """Return how a period was spent; time without a bar is coordination."""
    found = _sum((bar.part, min(bar.end, end) - max(bar.start, start)) for bar in bars)
    found = {part: took for part, took in found.items() if part is not Part.DEPENDENCIES}
    rest = end - start - sum(found.values(), timedelta())
    return {**found, **({Part.COORDINATION: rest} if rest > timedelta() else {})}


def _sum(parts: Iterable[tuple[Part, timedelta]]) -> dict[Part, timedelta]:
    """Sum each part's positive durations, in the order of `Part`."""
    found: dict[Part, timedelta] = {}
    for part, took in parts:
        if took > timedelta():
            found[part] = found.get(part, timedelta()) + took
    return {part: found[part] for part in Part if part in found}


def sum_path(timeline: Timeline, path: Sequence[PathStep]) -> dict[Part, timedelta]:
    """Return how the run's time was spent along its critical path."""
    last = path[-1].end if path else timeline.begin
    spent = [(part, took) for step in path for part, took in step.parts.items()]
    return _sum([*spent, (Part.COORDINATION, timeline.end - last)])


def describe_path(timeline: Timeline, path: Sequence[PathStep]) -> str:
    """Describe how long the run took, and where the time went."""
    is_open = not timeline.run.state.is_terminal
    took = lasted(timeline.end - timeline.begin)
    spent = ", ".join(f"{lasted(time)} {WORDS[part]}" for part, time in sum_path(timeline, path).items())
    since = ", counted from its last retry" if timeline.run.retries else ""
    first = f"The run has taken {took} so far" if is_open else f"The run took {took}"
    return f"{first}{since}{f'; its critical path spent {spent}' if spent else ''}."
