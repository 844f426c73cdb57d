"""Looks at every commit, submission and message as it happens, and knows what none of them may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.coordinator.advance import SUBMIT_BUDGET
from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import OnLost
from atom_workflows.documents import run_path, run_record, step_path, step_record, steps_path
from atom_workflows.ports import Document, Message, Write
from simulation import run_rules
from simulation.evidence import Evidence, Reply, Submission, Try
from simulation.findings import Findings, Rule
from simulation.machine import true_time
from simulation.scenario import Scenario
from simulation.step_rules import StepRules

_ROUNDING: Final = timedelta(seconds=0.01)
_AUDIT_S: Final = 450.0
"""In calm weather, the longest until a run is looked at: the audit's own interval, a tick, the lease of a burst."""


class Watch:
    """A run and its steps as they stand in the store, and what was found wrong with how they came there.

    `skew_s` and `pause_s` are how far clocks may be off and how long a handler may rest between two calls, `pace` how
    many minutes lie between two ticks.
    `scenario` is the version of its file that the run was started from. `gone` are steps whose documents somebody
    deleted; what is known of them is how they stood then. `forgotten` are those whose due times somebody deleted.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that it looks at
        self,
        *,
        scenario: Scenario,
        memory: MemoryStore,
        evidence: Evidence,
        findings: Findings,
        skew_s: float,
        pause_s: float,
        pace: float,
    ) -> None:
        self.scenario = scenario
        self.run: RunRecord | None = None
        self.steps: dict[str, StepRecord] = {}
        self.untold: set[str] = set()
        self.gone: set[str] = set()
        self.forgotten: set[str] = set()
        self.cancel_was_asked = False
        self.pace = pace
        self.evidence = evidence
        self.skew = timedelta(seconds=skew_s)
        self._findings = findings
        self._miscounted: set[str] = set()
        self._left_to_audit: dict[str, float] = {}
        self._pause = timedelta(seconds=pause_s)
        self._memory = memory
        self._run_path = run_path(scenario.run_id)
        self._steps_path = steps_path(scenario.run_id)
        self._step_rules = StepRules(self)

    @property
    def now(self) -> datetime:
        """The true time."""
        return true_time(self.evidence.scheduler)

    @property
    def latest_now(self) -> datetime:
        """The time on the clock that is furthest ahead."""
        return self.now + self.skew

    @property
    def excused(self) -> Mapping[str, StepState]:
        """Steps that faults rightly made end otherwise than their script says."""
        return {name: self.steps[name].state for name in self._step_rules.excused}

    def found(self, rule: Rule, text: str) -> None:
        """A rule was broken."""
        self._findings.found(rule, f"{self.scenario.mark}{text}")

    # -- commits ---------------------------------------------------------------------------------------------------

    def on_commit(self, writes: Sequence[Write]) -> None:
        """A commit took effect."""
        run_before, before = self.run, dict[str, StepRecord | None]()
        for write in writes:
            if write.path == self._run_path:
                self._see_run(run_record(self._read(write.path)))
            elif write.path.startswith(f"{self._steps_path}/"):
                step = step_record(self._read(write.path))
                before[step.id] = self.steps.get(step.id)
                self.steps[step.id] = step
                self.evidence.records(step)
                self._is_there_again(step.id)
        if self.run is None:
            return
        for name, step_before in before.items():
            self._step_rules.check(step_before, self.steps[name])
        if run_before is None or run_before != self.run:
            run_rules.check(self, run_before, self.run)
        opened = self.run.state is RunState.RUNNING and (run_before is None or run_before.state is not self.run.state)
        self._counters(self.steps if opened else self._concerned(before))
        self._released(dict.fromkeys(self.steps) if opened else before)

    # -- meddling --------------------------------------------------------------------------------------------------

    def was_miscounted(self, name: str) -> None:
        """Somebody made a counter of the step too high: it waits until that is mended."""
        self.steps[name] = step_record(self._read(step_path(self.scenario.run_id, name)))
        self._miscounted.add(name)

    def was_deleted(self, name: str) -> None:
        """Somebody deleted the step's document."""
        self.gone.add(name)
        self.untold.discard(name)

    def was_forgotten(self, name: str) -> None:
        """Somebody deleted the time at which the checker is to look at it."""
        self.steps[name] = step_record(self._read(step_path(self.scenario.run_id, name)))
        self.forgotten.add(name)

    @property
    def is_meddled_with(self) -> bool:
        """Whether something may still have to be mended."""
        return bool(self._miscounted or self.gone or self.forgotten)

    def _is_there_again(self, name: str) -> None:
        """Who still seeds the run may write a step that was deleted, as it was in the beginning."""
        if name in self.gone:
            self.gone.remove(name)
            self._miscounted.add(name)

    def _is_miscounted(self, step: StepRecord) -> bool:
        """Whether its counters are wrong still; whoever mends them may die before it publishes what that releases."""
        if step.id not in self._miscounted:
            return False
        if step.state is StepState.PENDING and (step.remaining, step.unsuccessful) != self.implied(step):
            return True
        self._miscounted.remove(step.id)
        self.leave_to_audit([step.id])
        return False

    def _see_run(self, run: RunRecord) -> None:
        is_new = self.run is None or self.run.state is RunState.INVALID
        if is_new and run.state is not RunState.INVALID:
            started_from = self.scenario.versions.get(run.digest)
            if started_from is None:
                self.found(Rule.RUN_STATE, f"the run is of a definition that nobody gave: {run.digest}")
            self.scenario = started_from or self.scenario
        self.run = run

    def _read(self, path: str) -> Document:
        """The stored document itself; nobody here changes it, so it need not be copied."""
        record = self._memory.database.get([path])[0][0]
        assert record is not None
        return Document(path=path, fields=record.fields, version=record.updated)

    def _concerned(self, before: Mapping[str, StepRecord | None]) -> set[str]:
        """The steps whose counters a commit may have made wrong: those written, and dependents of those that ended."""
        concerned = set(before)
        for name, old in before.items():
            if old is None or old.state.is_terminal is not self.steps[name].state.is_terminal:
                concerned.update(self.steps[name].dependents)
        return concerned

    def _counters(self, names: Iterable[str]) -> None:
        run = self.run
        if run is None or run.state is not RunState.RUNNING or run.stop is not None:
            return
        for name in names:
            step = self.steps.get(name)
            if name in self.gone:
                continue
            if step is None or any(need not in self.steps for need in step.depends_on):
                self.found(Rule.COUNTERS, f"the run is RUNNING, and {name} or what it depends on is not there")
            elif self._is_miscounted(step) or step.state is not StepState.PENDING:
                continue
            elif (step.remaining, step.unsuccessful) != self.implied(step):
                told = f"{step.remaining} remaining, {step.unsuccessful} unsuccessful"
                self.found(Rule.COUNTERS, f"{name} has {told}; its dependencies say {self.implied(step)}")

    def implied(self, step: StepRecord) -> tuple[int, int]:
        """What the states of its dependencies make of a step's two counters."""
        states = [self.steps[need].state for need in step.depends_on]
        unsuccessful = sum(state.is_terminal and state is not StepState.SUCCEEDED for state in states)
        return sum(not state.is_terminal for state in states), unsuccessful

    # -- messages --------------------------------------------------------------------------------------------------

    def on_accepted(self, message: Message) -> None:
        """A message was published; whether it arrives is another matter."""
        if message.body.get("type") == "step.ready":
            self.untold.difference_update(step["id"] for step in message.body["steps"])

    def when_quiet(self) -> None:
        """No handler is at the run and no event of it on its way: every released step must have been published."""
        run = self.run
        if run is None or run.state is not RunState.RUNNING or run.stop is not None or END_ID in self.forgotten:
            return
        waiting = self.untold - self._miscounted - self.gone
        if late := {name for name in waiting if not self._may_wait_for_audit(name)}:
            self.found(Rule.TOLD, f"nobody was told of {sorted(late)}")

    def leave_to_audit(self, names: Iterable[str]) -> None:
        """What a fault did to these steps rightly waits for the audit of their run, and so does what they release."""
        now = self.evidence.scheduler.now
        for name in names:
            step = self.steps.get(name)
            self._left_to_audit.update(dict.fromkeys([name, *(step.dependents if step else ())], now))

    def leave_all_to_audit(self) -> None:
        """The same for all steps."""
        self.leave_to_audit(list(self.steps))

    def leave_below_to_audit(self, names: Iterable[str]) -> None:
        """The same for these steps and all below them: who handles an event of some may have come that far."""
        below, found = list(names), set[str]()
        while below:
            name = below.pop()
            if name not in found and name in self.steps:
                found.add(name)
                below += self.steps[name].dependents
        self.leave_to_audit(found)

    def _may_wait_for_audit(self, name: str) -> bool:
        calm_at = self.evidence.calm_at
        since = self._left_to_audit.get(name)
        if since is None or calm_at is None:
            return since is not None
        return self.evidence.scheduler.now <= max(since, calm_at) + _AUDIT_S * self.pace

    def _released(self, before: Mapping[str, StepRecord | None]) -> None:
        """Steps that were released just now wait to be published; of others nobody need be told (again)."""
        if self.run is None or self.run.state is not RunState.RUNNING:
            return
        self.untold -= {name for name in before if not self.steps[name].is_released}
        was_not = {name for name, old in before.items() if old is None or not old.is_released}
        self.untold |= {name for name in was_not if self.steps[name].is_released}

    # -- submissions -----------------------------------------------------------------------------------------------

    def on_submit(self, submission: Submission, body: Mapping[str, Any]) -> None:
        """A job is asked for."""
        key, of = submission.key, submission.of
        plan, step = self.scenario.by_id[of.step], self.steps[of.step]
        open_needs = [need for need in plan.depends_on if self.steps[need].state is not StepState.SUCCEEDED]
        if open_needs:
            self.found(Rule.DEPENDENCIES, f"{key} was submitted before {open_needs}")
        asked = (body["labels"]["workflow"], body["job_name"])
        if asked != (self.scenario.name, of.step):
            self.found(Rule.HELD, f"{key} was submitted with the body of {asked}")
        is_held = step.state is StepState.DISPATCHING and step.attempt == of.attempt
        if not is_held and of not in self._step_rules.overtaken:
            self.found(Rule.HELD, f"{key} was submitted while the step is {step.state} at {step.attempt}")
        lease = self.evidence.leases.get((key, submission.by))
        if lease is None:
            self.found(Rule.LEASE, f"{key} was submitted by one that did not claim it")
        elif self.now > lease - SUBMIT_BUDGET + self.skew + self._pause + _ROUNDING:
            self.found(Rule.WINDOW, f"{key} was submitted with {lease - self.now} of its lease left")
        for earlier in self.evidence.submissions_of(of):
            if not self._may_repeat(earlier, of, plan.on_lost):
                told = f"{earlier.key} was submitted before, by {earlier.by.name}, and its answer is {earlier.reply}"
                self.found(Rule.ONCE, f"{key} was submitted, with onLost {plan.on_lost}, though {told}")

    def _may_repeat(self, earlier: Submission, of: Try, on_lost: OnLost) -> bool:
        """Whether another job may be asked for, for the same attempt or a later one."""
        if earlier.reply is Reply.NOT_ACCEPTED:
            return True
        if earlier.of != of:
            # It may have a job that nobody knows, unless somebody wrote down what came of it.
            return on_lost is OnLost.RETRY or (earlier.reply is Reply.GIVEN and earlier.is_recorded)
        lease = self.evidence.leases.get((earlier.key, earlier.by))
        was_slow = lease is not None and lease <= self.latest_now
        return on_lost is OnLost.RETRY and (earlier.reply is Reply.LOST or earlier.by.gave_up or was_slow)

    # -- the end ---------------------------------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether the run is terminal and with it all its steps; its end may be left by a retry that came too late."""
        return (
            self.run is not None
            and self.run.state.is_terminal
            and all(
                step.state.is_terminal or name == END_ID for name, step in self.steps.items() if name not in self.gone
            )
        )

    def open_steps(self) -> dict[str, str]:
        """What has not ended, for a person to read."""
        return {
            name: f"{step.state} {step.remaining}/{step.unsuccessful}"
            for name, step in self.steps.items()
            if not step.state.is_terminal and name not in self.gone
        }

    def users_steps(self) -> dict[str, StepRecord]:
        """The steps without those that the compiler added."""
        return {name: step for name, step in self.steps.items() if not is_internal(name)}
