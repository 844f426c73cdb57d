"""The short path: what one invocation does from a first event until nothing is left that others could not do.

Submitting, saving, releasing and claiming alternate. A step whose answer was terminal at once is settled here, and
one that this releases is claimed in the same commit and submitted next, so that a chain of short steps needs no
event between them. What can be done in parallel is published for other invocations first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.close import finish_run
from atom_workflows.coordinator.commits import Decision, Saved, in_parts, save, save_claims
from atom_workflows.coordinator.loading import AT_ONCE, Held, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.submit import submit
from atom_workflows.coordinator.waves import waves
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import StepChange, apply_change, claim, end_without_job
from atom_workflows.errors import BusUnavailable, StoreError
from atom_workflows.messages.internal import STEPS_PER_READY, ReadyStep


@dataclass(slots=True)
class Advance:
    """One invocation's work on one run.

    `budget` bounds how long it goes on; `refused` are decisions that came too late.
    `_ahead` are steps that were read before their turn; should one have changed since, its guard no longer holds.
    """

    outbox: Outbox
    run_id: str
    budget: Budget
    refused: list[Decision] = field(default_factory=list)
    _ahead: dict[str, Held] = field(default_factory=dict)
    _reach: int = 0

    @classmethod
    def of(cls, outbox: Outbox, run_id: str) -> Advance:
        """Work that begins now."""
        return cls(outbox=outbox, run_id=run_id, budget=Budget.of_invocation(outbox.services))

    def run(self, *, to_dispatch: Sequence[Held] = (), ended: Sequence[Decision] = ()) -> None:
        """Claim the steps to dispatch and save how others ended; then submit, save, release and claim by turns."""
        claimed = self._claim(to_dispatch)
        claimed += self._save_and_go_on(ended, claimed, may_keep=True)
        while claimed:
            claimed = self._submit_all(claimed)

    def _submit_all(self, claimed: Sequence[Held]) -> list[Held]:
        """Submit the steps and save each wave of answers; answer the steps that were claimed thereby.

        While some answers are still awaited, what others release is published instead of kept: a slow Task Runner
        delays nothing but the steps it is slow with. A wave that cannot be saved does not take the next with it.
        """
        following: list[Held] = []
        failure: Exception | None = None
        awaited = len(claimed)
        for wave in waves(self.outbox.services.workers, self._submit, claimed, lane=_task_runner):
            awaited -= len(wave)
            decisions = [Decision(held=held, change=change) for held, change in wave if change is not None]
            try:
                following += self._save_and_go_on(decisions, following, may_keep=awaited == 0)
            except (StoreError, BusUnavailable) as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return following

    def _submit(self, held: Held) -> StepChange | None:
        return submit(self.outbox.services, held.step)

    def _save_and_go_on(
        self, decisions: Sequence[Decision], following: Sequence[Held], *, may_keep: bool
    ) -> list[Held]:
        """Save the decisions, and claim of what they release what this invocation may keep."""
        if not decisions:
            return []
        may_keep = may_keep and not self.budget.is_spent
        claims = self._claims_of_sole_dependents(decisions) if may_keep else []
        saved = save(self.outbox, decisions, claims)
        self.refused += saved.refused
        claimed = [
            Held(step=apply_change(claim.step, claim.change), version=saved.versions[claim.step.id])
            for claim in claims
            if claim.step.id in saved.versions
        ]
        room = STEPS_PER_READY - len(following) - len(claimed) if may_keep else 0
        return claimed + self._go_on(saved, max(room, 0))

    def _go_on(self, saved: Saved, room: int) -> list[Held]:
        """Pass barriers, skip what is doomed, keep some ready steps for this invocation and publish the others."""
        ready = self._release(saved)
        kept, others = ready[:room], ready[room:]
        self._hand_on(others)
        self.outbox.flush_ready()
        # Somebody who looked after us may have published and another taken them meanwhile.
        return self._claim([held for held in self._load(kept) if held.step.is_released and not held.step.unsuccessful])

    def _release(self, saved: Saved) -> list[str]:
        """Settle barriers and doomed steps, level by level. Return the other released steps."""
        ready: list[str] = []
        while saved.released or saved.doomed:
            ready += [step_id for step_id in saved.released if step_id not in saved.barriers]
            inner = [*saved.doomed, *(step_id for step_id in saved.released if step_id in saved.barriers)]
            saved = self._settle([step_id for step_id in inner if step_id != END_ID])
            self.refused += saved.refused
            if END_ID in inner:
                finish_run(self.outbox, self.run_id)
        return ready

    def _settle(self, step_ids: Sequence[str]) -> Saved:
        """Settle steps that need no job, as far as the budget goes.

        The others are handed on: any dispatcher can settle them.
        """
        saved = Saved()
        for start in range(0, len(step_ids), AT_ONCE):
            together = step_ids[start : start + AT_ONCE]
            if self.budget.is_spent:
                self._hand_on(together)
                continue
            decisions = self._passed(together)
            self.budget.spend()
            for part in in_parts(decisions):
                if self.budget.is_spent:
                    self._hand_on([decision.step.id for decision in part])
                    continue
                done = save(self.outbox, part)
                self.budget.spend(calls=done.commits, written=done.written)
                saved.add(done)
        return saved

    def _hand_on(self, step_ids: Sequence[str]) -> None:
        self.outbox.ready(self.run_id, [ReadyStep(step_id=step_id) for step_id in step_ids])

    def _passed(self, step_ids: Iterable[str]) -> list[Decision]:
        now = self.outbox.services.clock.now()
        changes = [(held, end_without_job(held.step, now=now)) for held in self._load(step_ids)]
        return [Decision(held=held, change=change) for held, change in changes if change is not None]

    def _claims_of_sole_dependents(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Claims of the steps that wait for one of these alone: they need no event to be woken."""
        ended = [decision.step for decision in decisions if decision.change.state is StepState.SUCCEEDED]
        claims = [self._claim_of(held) for held in self._sole_dependents(ended) if _waits_for_one(held.step)]
        return [
            replace(claim, change=replace(claim.change, fields={**claim.change.fields, "remaining": 0}))
            for claim in claims
        ]

    def _sole_dependents(self, ended: Sequence[StepRecord]) -> list[Held]:
        """The steps that wait for one of these alone.

        What follows them in line is read in the same call, the more of it the longer steps have ended at once: a long
        chain then needs one call for eight steps, and a job that goes on leaves little that was read in vain.
        """
        unread = [step for step in ended if step.hands_over_to is not None and step.hands_over_to not in self._ahead]
        wanted = [name for step in unread for name in (step.hands_over_to, *step.heirs[: self._reach]) if name]
        self._ahead |= {held.step.id: held for held in self._load(wanted)}
        self._reach += len(unread) and self._reach + 1
        return [self._ahead.pop(name) for step in ended if (name := step.hands_over_to) in self._ahead and name]

    def _claim(self, held: Sequence[Held]) -> list[Held]:
        return save_claims(self.outbox, [self._claim_of(one) for one in held])

    def _claim_of(self, held: Held) -> Decision:
        services = self.outbox.services
        return Decision(held=held, change=claim(held.step, now=services.clock.now(), lease=services.settings.lease))

    def _load(self, step_ids: Iterable[str]) -> list[Held]:
        return load_steps(self.outbox.services, self.run_id, step_ids)


def _task_runner(held: Held) -> str:
    return held.step.task_runner_url


def _waits_for_one(step: StepRecord) -> bool:
    return step.state is StepState.PENDING and step.remaining == 1 and step.unsuccessful == 0
