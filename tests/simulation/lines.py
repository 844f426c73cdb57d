"""Checks the runs of one group against each other: how many are at work, and what becomes of those that wait.

The oracle knows the file's limit and policy and the states of the runs. Of places, guards and lines as they are stored
it knows only the time since which a run waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import WhenFull
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Update, Write
from simulation.findings import Rule
from simulation.flow import Flow
from simulation.run_rules import RETRY_DID_NOT_BEGIN
from simulation.scheduler import Scheduler
from simulation.store import SLOW_S

_AT_WORK: Final = (RunState.SEEDING, RunState.RUNNING)
_DECIDED_S: Final = 60.0
_PAUSES: Final = 40
"""The longest time between what a decision was made on and its commit: so many pauses, and a slow store."""

_GIVEN_AWAY_S: Final = 450.0
"""In calm weather, the longest for which a place may be free beside a line, and for which a wait may last too long."""

_ROUNDING: Final = timedelta(seconds=1)


@dataclass(slots=True)
class Lines:
    """The runs of a group. `pause_s` is how long a handler may rest, `pace` how many minutes lie between two ticks."""

    flows: Sequence[Flow]
    scheduler: Scheduler
    skew_s: float
    pause_s: float
    pace: float
    _known: dict[str, RunRecord] = field(default_factory=dict)
    _queued_at: dict[str, float] = field(default_factory=dict)
    _full_at: float = -1.0
    _long_at: float = -1.0
    _free_since: float | None = None

    @property
    def members(self) -> set[str]:
        """The ids of the runs of the group."""
        return {flow.run_id for flow in self.flows}

    def allows(self, writes: Iterable[Write], of: str) -> bool:
        """Return True if a commit for one run only lets others begin, or skips them."""
        return all(_is_about_the_line(write) for write in writes if write.path.split("/")[1] != of)

    def on_commit(self) -> None:
        """Check the group after a commit."""
        changed = [flow for flow in self.flows if flow.watch.run != self._known.get(flow.run_id)]
        if not changed:
            return
        for flow in changed:
            if flow.watch.run is not None:
                self._check_change(flow, self._known.get(flow.run_id), flow.watch.run)
                self._known[flow.run_id] = flow.watch.run
        at_work, waiting = self._count(*_AT_WORK), self._count(RunState.QUEUED)
        limit = self._limit
        if at_work > limit:
            changed[0].watch.report(Rule.GROUP, f"{at_work} runs are at work, and only {limit} may be")
        now = self.scheduler.now
        self._full_at = now if at_work >= limit else self._full_at
        self._long_at = now if waiting > self.flows[0].scenario.max_queued else self._long_at
        is_free = bool(self._may_begin()) and at_work < limit
        self._free_since = (self._free_since or now) if is_free else None

    def check(self, calm_at: float) -> None:
        """Report a place that is free, or a wait, for too long."""
        soon_s, now = _GIVEN_AWAY_S * self.pace, self.scheduler.now
        if self._free_since is not None and now > max(self._free_since, calm_at) + soon_s:
            self.flows[0].watch.report(Rule.LINE, f"a place has been free since {self._free_since:.0f} s")
        for run in self._may_begin():
            flow = next(one for one in self.flows if one.run_id == run.id)
            wait_s = flow.scenario.max_wait_s
            if now > max(self._queued_at[run.id] + wait_s, calm_at) + soon_s:
                flow.watch.report(Rule.LINE, f"it has waited since {self._queued_at[run.id]:.0f} s")

    @property
    def _limit(self) -> int:
        return self.flows[0].scenario.limit

    def _count(self, *states: RunState) -> int:
        return sum(run.state in states for run in self._known.values())

    def _may_begin(self) -> list[RunRecord]:
        waiting = (run for run in self._known.values() if run.state is RunState.QUEUED and run.stop is None)
        return sorted(waiting, key=lambda run: (run.queued_at or run.created_at, run.id))

    def _check_change(self, flow: Flow, before: RunRecord | None, run: RunRecord) -> None:
        now = self.scheduler.now
        was_queued = before is not None and before.state is RunState.QUEUED
        if run.state is RunState.QUEUED and not was_queued:
            self._queued_at[run.id] = now
        elif was_queued and run.state is RunState.SEEDING:
            self._check_admission(flow, run, now)
        elif run.state is RunState.SKIPPED:
            self._check_skip(flow, run, run.because, waited=was_queued)
        elif was_queued and run.state is RunState.FAILED and before is not None:
            self._check_skip(flow, before, run.errors[0]["message"].removeprefix(RETRY_DID_NOT_BEGIN), waited=True)

    def _check_admission(self, flow: Flow, run: RunRecord, now: float) -> None:
        if run.stop is not None:
            flow.watch.report(Rule.LINE, "it begins though it is being cancelled")
        patience_s = _DECIDED_S + _PAUSES * self.pause_s + self.skew_s
        overtaken = [
            one.id
            for one in self._may_begin()
            if one.id != run.id
            and _since(one) + timedelta(seconds=2 * self.skew_s) < _since(run)
            and self._queued_at[one.id] + patience_s < now
            and not self._is_wait_over(flow, one, now)
        ]
        if overtaken:
            flow.watch.report(Rule.LINE, f"it begins before {overtaken}, which have waited for longer")
        timeout_s = flow.scenario.timeout_s
        if timeout_s is not None:
            # Its timeout counts from when it is let begin; the commit may be slow.
            late_s = self.skew_s + self.pause_s + SLOW_S
            earliest = flow.watch.now + timedelta(seconds=timeout_s - late_s) - _ROUNDING
            if run.deadline is None or run.deadline < earliest:
                flow.watch.report(Rule.LINE, f"it begins with the deadline {run.deadline}, before {earliest}")

    def _check_skip(self, flow: Flow, run: RunRecord, because: str, *, waited: bool) -> None:
        """Check that there was a reason not to let a run wait any longer."""
        scenario, now = flow.scenario, self.scheduler.now
        patience_s = _DECIDED_S + _PAUSES * self.pause_s
        was_full = now - self._full_at <= patience_s or self._count(*_AT_WORK) >= self._limit
        if "maxWait" in because:
            if not waited or not self._is_wait_over(flow, run, now):
                waited_s = now - self._queued_at.get(run.id, now)
                flow.watch.report(Rule.LINE, f"it was skipped after {waited_s:.0f} s of {scenario.max_wait_s} s")
        elif scenario.when_full is WhenFull.LATEST:
            newer = self._known.get(because.removeprefix("replaced by "))
            if newer is None or _since(newer) + timedelta(seconds=2 * self.skew_s) < _since(run):
                flow.watch.report(Rule.LINE, f"it was {because}, which is not newer")
        elif not was_full:
            flow.watch.report(Rule.LINE, f"it was skipped though a place was free: {because}")
        elif scenario.when_full is WhenFull.QUEUE and self._was_short(run, patience_s, now):
            flow.watch.report(Rule.LINE, f"it was skipped though fewer than {scenario.max_queued} waited: {because}")

    def _is_wait_over(self, flow: Flow, run: RunRecord, now: float) -> bool:
        """Return True if a run may have waited for as long as it may, so that it is skipped and others begin."""
        waited_s = now - self._queued_at.get(run.id, now)
        return waited_s >= flow.scenario.max_wait_s - 2 * self.skew_s - self.pause_s - 1

    def _was_short(self, run: RunRecord, patience_s: float, now: float) -> bool:
        others = [name for name, one in self._known.items() if name != run.id and one.queued_at is not None]
        lately = [name for name in others if self._known[name].state is RunState.QUEUED]
        lately += [name for name in others if now - self._queued_at.get(name, now) <= patience_s]
        return len({*lately}) < self.flows[0].scenario.max_queued and now - self._long_at > patience_s


def _since(run: RunRecord) -> datetime:
    return run.queued_at or run.created_at


def _is_about_the_line(write: Write) -> bool:
    run_id = write.path.split("/")[1]
    if write.path == run_path(run_id):
        return isinstance(write, Update) and "place" in write.fields
    is_end = write.path == step_path(run_id, END_ID)
    return is_end and isinstance(write, Update) and write.fields.keys() <= {"due_at", "state", "finished_at"}
