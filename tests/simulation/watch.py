"""Checks every commit, submission and message as it happens against what none of them may do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.coordinator.submission import SUBMIT_BUDGET
from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import OnLost
from atom_workflows.documents import outputs_collection, run_path, step_path, steps_path
from atom_workflows.ports import Document, Message, Write
from atom_workflows.run_documents import run_record
from atom_workflows.step_documents import step_record
from simulation import run_rules
from simulation.evidence import Evidence, Reply, Submission, Try
from simulation.findings import Findings, Rule
from simulation.machine import true_time
from simulation.oracle import End, Fate, values
from simulation.scenario import LEASE_S, Scenario, StepPlan
from simulation.standing import Standing
from simulation.step_rules import StepRules

_ROUNDING: Final = timedelta(seconds=0.01)
_AUDIT_S: Final = 450.0
"""In calm weather, the longest until a run is looked at: the audit's own interval, a tick, the lease of a burst."""


class Watch(Standing):
    """What was wrong with how a run and its steps came to stand as they do.

    `skew_s` and `pause_s` are how far clocks may be off and how long a handler may rest between two calls, `pace` how
    many minutes lie between two ticks.

    `forgotten` are steps whose due times the meddler deleted.
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
        super().__init__(scenario)
        self.unpublished: set[str] = set()
        self.forgotten: set[str] = set()
        self.cancel_was_asked = False
        self.pace = pace
        self.expansions: Counter[str] = Counter({plan.id: 1 for plan in scenario.all_steps})
        self.evidence = evidence
        self.skew = timedelta(seconds=skew_s)
        self._findings = findings
        self._miscounted: set[str] = set()
        self._left_to_audit: dict[str, float] = {}
        self._pause = timedelta(seconds=pause_s)
        self._memory = memory
        self._run_path = run_path(scenario.run_id)
        self._steps_path = steps_path(scenario.run_id)
        self._outputs_path = outputs_collection(scenario.run_id)
        self._step_rules = StepRules(self)

    @property
    def now(self) -> datetime:
        """The true time."""
        return true_time(self.evidence.scheduler)

    @property
    def is_refusable(self) -> bool:
        """True if the run is rightly INVALID."""
        return self.scenario.path in self.evidence.gone

    def is_kept(self, _step: StepRecord) -> bool:
        """Return True if a node rightly begins as it ended in another run."""
        return False

    @property
    def latest_now(self) -> datetime:
        """The time on the clock that is furthest ahead."""
        return self.now + self.skew

    @property
    def excused(self) -> Mapping[str, End]:
        """Steps that faults rightly made end otherwise than their script says."""
        ends = {name: self.end_of(name) for name in self._step_rules.excused}
        return {name: end for name, end in ends.items() if end is not None}

    def report(self, rule: Rule, text: str) -> None:
        """Record that a rule was broken."""
        self._findings.report(rule, f"{self.scenario.mark}{text}")

    # -- commits ---------------------------------------------------------------------------------------------------

    def on_commit(self, writes: Sequence[Write]) -> None:
        """Check a commit that took effect."""
        run_before, before = self.run, dict[str, StepRecord | None]()
        for write in writes:
            if write.path == self._run_path:
                self._see_run(run_record(self._read(write.path)))
            elif write.path.startswith(f"{self._steps_path}/"):
                step = step_record(self._read(write.path))
                before[step.id] = self.steps.get(step.id)
                self.steps[step.id] = step
                self.evidence.record_write(step)
                self._on_rewritten(step.id)
            elif write.path.startswith(f"{self._outputs_path}/"):
                self.see_outputs(self._read(write.path))
        if self.run is None:
            return
        if run_before != self.run:
            self.see_round(run_before, self.run)
        for name, step_before in before.items():
            self._step_rules.check(step_before, self.steps[name])
        self._check_outputs(before)
        self._check_places(before)
        self._check_loops(before)
        if run_before != self.run:
            run_rules.check(self, run_before, self.run)
        opened = self.run.state is RunState.RUNNING and (run_before is None or run_before.state is not self.run.state)
        self._check_counters(self.steps if opened else self._affected_steps(before))
        self._note_released(dict.fromkeys(self.steps) if opened else before)

    def _check_places(self, names: Iterable[str]) -> None:
        """Check that no more items of a loop are under way than it has places."""
        for loop_id in {self.steps[name].each for name in names if self.steps[name].index is not None}:
            plan = self.scenario.by_id.get(loop_id)
            limit = None if plan is None or plan.loop is None else plan.loop.max_parallel
            if limit is not None and len(found := self.under_way(loop_id)) > limit:
                self.report(Rule.PLACES, f"of {loop_id}, {found} are under way; there are {limit} places")
            # A stop ends items, and with them their loop, without counting them in the places.
            is_stopped = self.was_stopped and self.end_of(loop_id) is not None
            if self.run is not None and self.run.state is RunState.RUNNING and not (self.run.stop or is_stopped):
                for miscount in self.miscounted_places(loop_id):
                    self.report(Rule.PLACES, miscount)

    def _check_outputs(self, names: Iterable[str]) -> None:
        """Check the outputs of steps that were written."""
        for name in names:
            step, found = self.steps[name], self.outputs.get(name)
            plan = self.plan_of(name)
            has_outputs = plan is not None and plan.numbers and step.state is StepState.SUCCEEDED
            due = self.evidence.returned.get(step.job_id) if has_outputs else None
            if has_outputs and step.kind is NodeKind.GATHER:
                due = self.end_due(name).outputs
            if step.is_marked and has_outputs:
                given = [wish.outputs for wish in self.marks if wish.step == shown_id(name) and wish.outputs]
                due = found if found in given else next(iter(given), None)
            if found != due:
                self.report(Rule.OUTPUTS, f"{name} is {step.state} with the outputs {found}; they should be {due}")

    def _check_loops(self, before: Mapping[str, StepRecord | None]) -> None:
        """Check the items of loops whose lists are known since this commit."""
        for name, old in before.items():
            step = self.steps[name]
            if step.kind is not NodeKind.EXPAND:
                continue
            if old is not None and step.retries > old.retries:
                self.expansions[step.each] += 1
            if self.run is None or self.run.started_at is None:
                # Who goes on with seeding may write the node anew, as nothing has come of it yet.
                self.expansions[step.each] = step.expansion
            if step.expansion != self.expansions[step.each]:
                due = self.expansions[step.each]
                self.report(Rule.ITEMS, f"{step.each} is at its list number {step.expansion}, not {due}")
            if step.state is StepState.SUCCEEDED and (old is None or not old.state.is_terminal):
                self._check_items(step)

    def _check_items(self, expander: StepRecord) -> None:
        each, due = expander.each, self.items_due(expander.each)
        if self.fate_of(each) is Fate.FAILS or self.gone & self.scenario.by_id[each].reads:
            return
        if (due is None) is not bool(expander.problem):
            self.report(Rule.ITEMS, f"the list of {each} is {due}, and its problem {expander.problem!r}")
        found = [json.loads(item.item) for item in self.items_of(each) or ()]
        if found != (due or []) or expander.items != len(due or []):
            self.report(Rule.ITEMS, f"{each} has {expander.items} items, {found}; they should be {due}")

    # -- meddling --------------------------------------------------------------------------------------------------

    def was_miscounted(self, name: str) -> None:
        """Note that a counter of the step was made too high.

        The step waits until that is repaired.
        """
        self.steps[name] = step_record(self._read(step_path(self.scenario.run_id, name)))
        self._miscounted.add(name)

    def was_deleted(self, name: str) -> None:
        """Note that the step's document was deleted."""
        self.gone.add(name)
        self.unpublished.discard(name)

    def was_forgotten(self, name: str) -> None:
        """Note that the step's due time was deleted."""
        self.steps[name] = step_record(self._read(step_path(self.scenario.run_id, name)))
        self.forgotten.add(name)

    @property
    def may_need_repair(self) -> bool:
        """True while something that was changed may still need a repair."""
        return bool(self._miscounted or self.gone or self.forgotten)

    def _on_rewritten(self, name: str) -> None:
        """Note that a deleted step is there again.

        A start that still seeds the run may write it as it was in the beginning.
        """
        if name in self.gone:
            self.gone.remove(name)
            self._miscounted.add(name)

    def _still_miscounted(self, step: StepRecord) -> bool:
        """Return True while a counter that was changed is wrong.

        Once it is right, the step is left to the audit, as the repairer may die before it publishes what that releases.
        """
        if step.id not in self._miscounted:
            return False
        if step.state is StepState.PENDING and self.miscount(step):
            return True
        self._miscounted.remove(step.id)
        self.leave_to_audit([step.id])
        return False

    def _see_run(self, run: RunRecord) -> None:
        is_new = self.run is None or self.run.state is RunState.INVALID
        if is_new and run.state is not RunState.INVALID:
            started_from = self.scenario.versions.get(run.digest)
            if started_from is None:
                self.report(Rule.RUN_STATE, f"the run is of a definition that no one gave: {run.digest}")
            self.scenario = started_from or self.scenario
        self.run = run

    def _read(self, path: str) -> Document:
        """Return the stored document itself.

        No one changes it here, so it need not be copied.
        """
        record = self._memory.database.get([path])[0][0]
        assert record is not None
        return Document(path=path, fields=record.fields, version=record.updated)

    def _affected_steps(self, before: Mapping[str, StepRecord | None]) -> set[str]:
        """Return the steps whose counters a commit may have changed.

        Those written, and the dependents of those that ended.
        """
        concerned = set(before)
        for name, old in before.items():
            step = self.steps[name]
            if self.is_current(step) and (old is None or old.state.is_terminal is not step.state.is_terminal):
                concerned.update(step.dependents)
        return concerned

    def _check_counters(self, names: Iterable[str]) -> None:
        run = self.run
        if run is None or run.state is not RunState.RUNNING or run.stop is not None:
            return
        for name in names:
            step = self.steps.get(name)
            if name in self.gone or (step is not None and not self.is_current(step)):
                continue
            if step is None or any(need not in self.steps for need in step.depends_on):
                self.report(Rule.COUNTERS, f"the run is RUNNING, and {name} or what it depends on is not there")
            elif self._still_miscounted(step) or step.state is not StepState.PENDING:
                continue
            elif miscount := self.miscount(step):
                self.report(Rule.COUNTERS, miscount)

    # -- messages --------------------------------------------------------------------------------------------------

    def on_accepted(self, message: Message) -> None:
        """Note a published message.

        It may still get lost.
        """
        if message.body.get("type") == "step.ready":
            self.unpublished.difference_update(step["id"] for step in message.body["steps"])

    def check_published(self) -> None:
        """Report released steps that were never published.

        To be called when no handler is at the run and no event of it is on its way.
        """
        run = self.run
        if run is None or run.state is not RunState.RUNNING or run.stop is not None or END_ID in self.forgotten:
            return
        waiting = self.unpublished - self._miscounted - self.gone
        if MAIN_END_ID in waiting and self.gone & {*self.steps[MAIN_END_ID].dependents}:
            # The steps under `finally` cannot begin; the audit finds out why.
            waiting.remove(MAIN_END_ID)
        if late := {name for name in waiting if not self._may_wait_for_audit(name)}:
            self.report(Rule.PUBLISHED, f"these were released and never published: {sorted(late)}")

    def leave_to_audit(self, names: Iterable[str]) -> None:
        """Allow these steps to wait for the audit of their run.

        A fault hit them, so what they release may wait, too.
        """
        now = self.evidence.scheduler.now
        for name in names:
            step = self.steps.get(name)
            self._left_to_audit.update(dict.fromkeys([name, *(step.dependents if step else ())], now))

    def leave_all_to_audit(self) -> None:
        """Allow all steps to wait for the audit."""
        self.leave_to_audit(list(self.steps))

    def leave_below_to_audit(self, names: Iterable[str]) -> None:
        """Allow these steps and all below them to wait for the audit.

        A handler of their event may have come that far.
        """
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

    def _note_released(self, before: Mapping[str, StepRecord | None]) -> None:
        """Note which steps were released and have to be published.

        Steps that were released before need not be published again.
        """
        if self.run is None or self.run.state is not RunState.RUNNING:
            return
        self.unpublished -= {name for name in before if not self.steps[name].is_released}
        was_not = {name for name, old in before.items() if old is None or not old.is_released}
        released = {name for name in was_not if self.steps[name].is_released and self.is_current(self.steps[name])}
        self.unpublished |= released

    # -- submissions -----------------------------------------------------------------------------------------------

    def on_submit(self, submission: Submission, body: Mapping[str, Any]) -> None:
        """Check a submission."""
        key, of = submission.key, submission.of
        step = self.steps[of.step]
        plan = self.plan_of(of.step)
        assert plan is not None
        self._check_turn(submission, step, plan)
        if step.is_marked and submission.of not in self._step_rules.overtaken:
            self.report(Rule.MARKED, f"{key} was submitted, though the step is marked")
        asked = (body["labels"]["workflow"], body["job_name"])
        if asked != (self.scenario.label, plan.id):
            self.report(Rule.HELD, f"{key} was submitted with the body of {asked}")
        if (key, submission.by) in self.evidence.searches:
            self._check_search(submission, plan)
            return
        is_held = step.state is StepState.DISPATCHING and step.attempt == of.attempt
        if not is_held and of not in self._step_rules.overtaken:
            self.report(Rule.HELD, f"{key} was submitted while the step is {step.state} at {step.attempt}")
        if is_held:
            self._check_args(submission, plan, body.get("args"))
        lease = self.evidence.leases.get((key, submission.by))
        if lease is None:
            self.report(Rule.LEASE, f"{key} was submitted by one that did not claim it")
        elif self.now > lease - SUBMIT_BUDGET + self.skew + self._pause + _ROUNDING:
            self.report(Rule.WINDOW, f"{key} was submitted with {lease - self.now} of its lease left")
        for earlier in self.evidence.submissions_of(of):
            if not self._may_repeat(earlier, of, plan.on_lost):
                actual = f"{earlier.key} was submitted before, by {earlier.by.name}, and its answer is {earlier.reply}"
                self.report(Rule.ONCE, f"{key} was submitted, with onLost {plan.on_lost}, though {actual}")

    def _check_turn(self, submission: Submission, step: StepRecord, plan: StepPlan) -> None:
        """Check that a job was due: nothing before it is open, and its item is one of the newest list."""
        if not self.is_current(step) and submission.of not in self._step_rules.overtaken:
            self.report(Rule.ITEMS, f"{submission.key} was submitted for an item of a list that is over")
        open_needs = [need for need in plan.depends_on if self.end_of(need) is None]
        if open_needs:
            self.report(Rule.DEPENDENCIES, f"{submission.key} was submitted before {open_needs}")

    def _check_search(self, submission: Submission, plan: StepPlan) -> None:
        """Check a submission that is to find out the job of an earlier attempt.

        With `onLost: fail`, nothing else could find it out, and whoever submitted it before works no more.
        """
        if plan.on_lost is OnLost.RETRY:
            return
        key = submission.key
        waited_s = (self.latest_now - self.evidence.searches[key, submission.by]).total_seconds()
        can_look_up = self.scenario.looks_up and key not in self.evidence.unheard_keys
        if can_look_up or waited_s < LEASE_S:
            how = "its Task Runner looks keys up" if can_look_up else f"only {waited_s:.0f} s had passed"
            self.report(Rule.ONCE, f"{key} was submitted again, with onLost {plan.on_lost}, though {how}")

    def _check_args(self, submission: Submission, plan: StepPlan, args: object) -> None:
        """Check the arguments of a job, which only the step, its run and what stands behind it decide."""
        key, of = submission.key, submission.of
        known = [self.facts(plan, last, of.attempt) for last in self._step_rules.lasts[of.step]]
        right = [values(plan.args, facts) for facts in known if facts is not None]
        if plan.args and right and args not in right:
            self.report(Rule.BODY, f"{key} was submitted with the arguments {args}; they should be {right[0]}")

    def _may_repeat(self, earlier: Submission, of: Try, on_lost: OnLost) -> bool:
        """Return True if another job may be submitted.

        For the same attempt or a later one.
        """
        if earlier.reply is Reply.NOT_ACCEPTED:
            return True
        if earlier.of != of:
            # It may have a job that no one knows, unless its outcome was written down.
            return on_lost is OnLost.RETRY or (earlier.reply is Reply.GIVEN and earlier.is_recorded)
        if (earlier.key, earlier.by) in self.evidence.searches:
            # A later attempt looked for its job before a slow dispatcher came to submit it. With its key taken, that
            # starts no other job; the one that claimed it cannot know.
            return on_lost is OnLost.RETRY
        lease = self.evidence.leases.get((earlier.key, earlier.by))
        was_slow = lease is not None and lease <= self.latest_now
        return on_lost is OnLost.RETRY and (earlier.reply is Reply.LOST or earlier.by.gave_up or was_slow)

    def on_hint_poll(self, of: Try) -> None:
        """Check a status call that a hint has caused."""
        self._step_rules.on_hint_poll(of)

    # -- the end ---------------------------------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """True if the run and its steps are terminal; a retry that came too late may leave its end open."""
        return (
            self.run is not None
            and self.run.state.is_terminal
            and all(
                step.state.is_terminal or name == END_ID or not self.is_current(step)
                for name, step in self.steps.items()
                if name not in self.gone
            )
        )

    def open_steps(self) -> dict[str, str]:
        """Return what has not ended, for a person to read."""
        return {
            name: f"{step.state} {step.remaining}/{step.unsuccessful}"
            for name, step in self.steps.items()
            if not step.state.is_terminal and name not in self.gone and self.is_current(step)
        }
