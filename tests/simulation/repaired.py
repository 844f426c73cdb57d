"""Checks a run that keeps steps of an ended one: these and no others, as they ended, and without a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import EXPANDER_PREFIX
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.ports import Write
from simulation.edits import kept_steps, may_be_refused
from simulation.evidence import Submission
from simulation.findings import Rule
from simulation.oracle import End
from simulation.standing import Standing
from simulation.watch import Watch


class RepairWatch(Watch):
    """A watch that knows what is kept, once the run that is repaired has ended for good (`begin`)."""

    before: Standing | None = None

    def begin(self, before: Standing) -> None:
        """Note what the run has to keep of the ended one."""
        self.before = before
        self.kept = kept_steps(self.scenario, before)

    @property
    def is_refusable(self) -> bool:
        """True if there is nothing that it could repair."""
        return self.before is not None and may_be_refused(self.scenario, self.before)

    def is_kept(self, step: StepRecord) -> bool:
        """Return True if the node is a kept step, creates items for one, or stands for kept steps alone."""
        owner = self._owner(step.id)
        if owner is not None:
            return owner in self.kept and step.state.is_terminal
        return (
            is_internal(step.id)
            and step.state is StepState.SUCCEEDED
            and all(map(self._stands_for_kept, step.depends_on))
        )

    def end_of(self, name: str) -> End | None:
        """Return how a step ended; the items of a kept loop are with the other run."""
        end = super().end_of(name)
        return self.kept[name] if end is not None and self._still_kept(name) else end

    def miscount(self, step: StepRecord) -> str:
        """Return how a step's counters contradict its dependencies; a kept loop counts items that are not there."""
        return "" if step.kind is NodeKind.GATHER and self._still_kept(step.id) else super().miscount(step)

    def on_commit(self, writes: Sequence[Write]) -> None:
        """Check a commit, and all that is kept when the run begins."""
        before = self.run
        super().on_commit(writes)
        begins = before is not None and before.state is RunState.SEEDING
        if begins and self.run is not None and self.run.state is RunState.RUNNING and not self.run.retries:
            self._check_kept()

    def on_submit(self, submission: Submission, body: Mapping[str, Any]) -> None:
        """Check a submission, which is never one of a kept step."""
        owner = self.steps[submission.of.step].each or submission.of.step
        if self._still_kept(owner):
            self.report(Rule.RERUN, f"{submission.key} was submitted, though the step is kept")
        super().on_submit(submission, body)

    def _check_kept(self) -> None:
        assert self.before is not None
        for name, step in self.users_steps().items():
            old = self.before.steps.get(name)
            if name not in self.kept:
                if step.kept_from or step.state is not StepState.PENDING:
                    self.report(Rule.RERUN, f"{name} is {step.state}, kept from {step.kept_from}, and should run again")
                continue
            assert old is not None
            found, due = ((one.state, one.job_id, one.finished_at, one.by_choice) for one in (step, old))
            if found != due or step.kept_from != old.run_id:
                self.report(Rule.RERUN, f"{name} is {found}, from {step.kept_from}; it should be {due}")
            is_unread = self.scenario.by_id[name].loop is not None and not self.scenario.gathers[name]
            outputs = None if is_unread else self.before.outputs.get(name)
            if self.outputs.get(name) != outputs:
                self.report(Rule.OUTPUTS, f"{name} is kept with {self.outputs.get(name)}; it returned {outputs}")

    def _check_outputs(self, names: Iterable[str]) -> None:
        # The outputs of kept steps are checked when the run begins: until then they may be written in any order.
        super()._check_outputs([name for name in names if not self._still_kept(name)])

    def _check_items(self, expander: StepRecord) -> None:
        if not expander.kept_from:
            super()._check_items(expander)

    def _still_kept(self, name: str) -> bool:
        """Return True unless a retry has reset the step."""
        step = self.steps.get(name)
        return self.before is not None and name in self.kept and step is not None and bool(step.kept_from)

    def _owner(self, node_id: str) -> str | None:
        name = node_id.removeprefix(EXPANDER_PREFIX)
        return name if name in self.scenario.by_id else None

    def _stands_for_kept(self, node_id: str) -> bool:
        owner = self._owner(node_id)
        if owner is not None:
            return owner in self.kept
        step = self.steps.get(node_id)
        # It may be written later than what it is before.
        return is_internal(node_id) and (step is None or self.is_kept(step))
