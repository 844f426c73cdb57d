"""One run of a simulation: its workflow, what it may still have done to it, and how it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from atom_workflows.core.states import RunState
from atom_workflows.documents import steps_path
from atom_workflows.ports import Message, Write
from simulation.oracle_runs import finally_s, longest_path_s
from simulation.scenario import LEASE_S, STOP_TIMEOUT_S, Scenario, Stops
from simulation.watch import Watch

_UNTIL_REPAIRED_S = 600.0
_NOTICE_S = 400.0
"""How long the end of a job is not noticed if its report gets lost: a poll and a tick."""
_RETRIED = frozenset({RunState.FAILED, RunState.CANCELLED})


@dataclass(slots=True, kw_only=True)
class Flow:
    """A run; it `must_end_by` then, once the faults have stopped."""

    scenario: Scenario
    watch: Watch
    # The run that it repairs; it is asked for once that one is over.
    repairs: Flow | None = None
    is_started: bool = False
    must_end_by: float = float("inf")
    cancels: int = field(init=False)
    retries: int = field(init=False)
    selections: int = field(init=False)
    marks: int = field(init=False)
    doctors: int = field(init=False)
    next_doctor: float = 0.0

    def __post_init__(self) -> None:
        self.cancels, self.retries, self.doctors = self.scenario.cancels, self.scenario.retries, self.scenario.doctors
        # In a group, the others would have to wait; what was deleted or has expired cannot run again.
        self.selections = 0 if self.scenario.limit else self.scenario.selections
        self.marks = 0 if self.scenario.limit else self.scenario.marks

    @property
    def run_id(self) -> str:
        """The id of the run that it is, or will be."""
        return self.scenario.run_id

    @property
    def awaits_end(self) -> bool:
        """True if the run that it repairs has yet to end."""
        return self.repairs is not None and not self.is_started

    @property
    def wants_retry(self) -> bool:
        """True if its users will retry it."""
        run = self.watch.run
        return bool(self.retries) and run is not None and run.state in _RETRIED

    @property
    def may_select(self) -> bool:
        """True if its users may name steps of it that are to run again."""
        run, watch = self.watch.run, self.watch
        is_whole = run is not None and run.started_at is not None and not (watch.gone or watch.forgotten)
        return bool(self.selections) and run is not None and is_whole and run.state in {*_RETRIED, RunState.SUCCEEDED}

    @property
    def may_mark(self) -> bool:
        """True if its users may mark steps of it."""
        run, watch = self.watch.run, self.watch
        is_whole = run is not None and run.started_at is not None and not (watch.gone or watch.forgotten)
        return bool(self.marks) and is_whole

    def may_retry(self, now: datetime) -> bool:
        """Return True once the users have decided to retry the run."""
        run = self.watch.run
        if not self.wants_retry or run is None:
            return False
        return now >= (run.finished_at or run.created_at) + timedelta(seconds=self.scenario.retry_after_s)

    @property
    def is_over(self) -> bool:
        """True once nothing will happen to it any more."""
        return self.watch.has_ended and not self.wants_retry

    def set_end(self, now: float, *, left_over_s: float, slack_s: float) -> None:
        """Set the time by which the run has to end.

        That is as long as its script takes on the longest way, and what is left over takes.
        """
        slack_s += _more_slack_s(self.watch.scenario)
        work_s = longest_path_s(self.watch.scenario, slack_s)
        if self.watch.may_need_repair:
            # What was held up goes on only when all the rest has ended.
            work_s += work_s + _UNTIL_REPAIRED_S
        if self.scenario.timeout_s is not None:
            # It ends the main part.
            work_s = min(work_s, self.scenario.timeout_s + finally_s(self.scenario, slack_s))
        self.must_end_by = now + left_over_s + work_s

    def on_false_conflict(self, writes: Iterable[Write]) -> None:
        """Leave what follows these steps to the audit.

        Their writer was wrongly answered that another one had changed them, so it leaves what follows to that one.
        """
        prefix = f"{steps_path(self.run_id)}/"
        self.watch.leave_to_audit(
            [write.path.removeprefix(prefix) for write in writes if write.path.startswith(prefix)]
        )

    def on_given_up(self, message: Message) -> None:
        """Leave the steps of a given-up event to the audit."""
        parts = [*message.body.get("steps", ()), *message.body.get("outcomes", ())]
        names = [part.get("id") or part["step"] for part in parts]
        if names:
            self.watch.leave_below_to_audit(names)
        else:
            self.watch.leave_all_to_audit()


def _more_slack_s(scenario: Scenario) -> float:
    """Return what the ways of its Task Runner may add to each attempt, in seconds."""
    stopping_s = 0.0 if scenario.stops is Stops.CANNOT else 2 * STOP_TIMEOUT_S + LEASE_S + scenario.stop_after_s
    return stopping_s + (_NOTICE_S if scenario.notifies else 0.0)
