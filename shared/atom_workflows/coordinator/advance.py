"""The short path: what one invocation does from a first event until nothing is left that others could not do.

Submitting, saving, releasing and claiming alternate. A step whose answer was terminal at once is settled here, and
one that this releases is claimed in the same commit and submitted next, so that a chain of short steps needs no
event between them. What can be done in parallel is published for other invocations first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from atom_workflows.coordinator.finish import finish_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.saving import Decision, Held, Saved, save
from atom_workflows.coordinator.submit import submit
from atom_workflows.core.decide import StepChange, barrier_passed, claim, skipped
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.documents import change_fields, step_path
from atom_workflows.errors import Conflict
from atom_workflows.events import STEPS_PER_READY, ReadyStep
from atom_workflows.ports import Update


@dataclass(slots=True)
class Advance:
    """One invocation's work on one run.

    `started_at` is when it began, which bounds how long it goes on; `refused` are decisions that came too late.
    """

    outbox: Outbox
    run_id: str
    started_at: datetime
    refused: list[Decision] = field(default_factory=list)

    @classmethod
    def of(cls, outbox: Outbox, run_id: str) -> Advance:
        """Work that begins now."""
        return cls(outbox=outbox, run_id=run_id, started_at=outbox.services.clock.now())

    def dispatch(self, held: Sequence[Held]) -> None:
        """Claim the steps and submit them, then go on with what they release."""
        self._submit_all(self._claim(held))

    def settle(self, decisions: Sequence[Decision]) -> None:
        """Save how attempts ended, then go on with what that releases."""
        self._submit_all(self._save_and_go_on(decisions, []))

    def _submit_all(self, claimed: Sequence[Held]) -> None:
        """Submit, save, release, claim; until nothing is held any more."""
        while claimed:
            following: list[Held] = []
            for wave in self.outbox.services.workers.waves(self._submit, claimed):
                decisions = [Decision(held=held, change=change) for held, change in wave if change is not None]
                following += self._save_and_go_on(decisions, following)
            claimed = following

    def _submit(self, held: Held) -> StepChange | None:
        return submit(self.outbox.services, held.step)

    def _save_and_go_on(self, decisions: Sequence[Decision], following: Sequence[Held]) -> list[Held]:
        if not decisions:
            return []
        claims = self._claims_of_sole_dependents(decisions)
        saved = save(self.outbox, decisions, claims)
        self.refused += saved.refused
        claimed = [
            Held(step=after_claim(decision), version=saved.versions[decision.step.id])
            for decision in claims
            if decision.step.id in saved.versions
        ]
        return claimed + self._go_on(saved, [*following, *claimed])

    def _go_on(self, saved: Saved, following: Sequence[Held]) -> list[Held]:
        """Pass barriers, skip what is doomed, keep a few ready steps for this invocation and publish the others."""
        ready = self._release(saved)
        room = STEPS_PER_READY - len(following) if self._has_time() else 0
        kept, others = ready[: max(room, 0)], ready[max(room, 0) :]
        self.outbox.ready(self.run_id, [ReadyStep(step_id=step_id) for step_id in others])
        self.outbox.flush_ready()
        return self._claim(self._load(kept))

    def _release(self, saved: Saved) -> list[str]:
        """The released steps that have a task; barriers and doomed steps are settled here, level by level."""
        ready: list[str] = []
        while saved.released or saved.doomed:
            ready += [step_id for step_id in saved.released if step_id not in saved.barriers]
            inner = [*saved.doomed, *(step_id for step_id in saved.released if step_id in saved.barriers)]
            ended = END_ID in inner
            saved = save(self.outbox, self._passed(step_id for step_id in inner if step_id != END_ID))
            if ended:
                finish_run(self.outbox, self.run_id)
        return ready

    def _passed(self, step_ids: Iterable[str]) -> list[Decision]:
        now = self.outbox.services.clock.now()
        return [decision for held in self._load(step_ids) if (decision := passed(held, now)) is not None]

    def _claims_of_sole_dependents(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Claims of the steps that wait for one of these alone: they need no event to be woken."""
        if not self._has_time():
            return []
        sole = [
            decision.step.hands_over_to
            for decision in decisions
            if decision.change.state is StepState.SUCCEEDED and decision.step.hands_over_to is not None
        ]
        return [self._claim_on_release(held) for held in self._load(sole) if _waits_for_one(held.step)]

    def _claim_on_release(self, held: Held) -> Decision:
        change = claim(held.step, now=self.outbox.services.clock.now(), lease=self.outbox.services.settings.lease)
        return Decision(held=held, change=replace(change, fields={**change.fields, "remaining": 0}))

    def _claim(self, held: Sequence[Held]) -> list[Held]:
        """Claim the steps, in one commit unless somebody else was quicker with one of them."""
        if not held:
            return []
        now, lease = self.outbox.services.clock.now(), self.outbox.services.settings.lease
        decisions = [Decision(held=one, change=claim(one.step, now=now, lease=lease)) for one in held]
        writes = [
            Update(
                path=step_path(self.run_id, decision.step.id),
                fields=change_fields(decision.change),
                guard=decision.held.version,
            )
            for decision in decisions
        ]
        try:
            results = self.outbox.services.store.commit(writes)
        except Conflict:
            return [] if len(held) == 1 else [one for each in held for one in self._claim([each])]
        return [
            Held(step=after_claim(decision), version=result.version)
            for decision, result in zip(decisions, results, strict=True)
        ]

    def _load(self, step_ids: Iterable[str]) -> list[Held]:
        paths = [step_path(self.run_id, step_id) for step_id in step_ids]
        documents = self.outbox.services.store.get(paths) if paths else []
        return [Held.of(document) for document in documents if document is not None]

    def _has_time(self) -> bool:
        services = self.outbox.services
        return services.clock.now() - self.started_at < services.settings.inline_budget


def passed(held: Held, now: datetime) -> Decision | None:
    """What becomes of a released step that needs no job; None if it needs one, or is not released any more."""
    step = held.step
    if not step.is_released:
        return None
    if step.unsuccessful:
        return Decision(held=held, change=skipped(step, now=now))
    return Decision(held=held, change=barrier_passed(step, now=now)) if step.is_barrier else None


def after_claim(decision: Decision) -> StepRecord:
    """The step as its claim left it."""
    return replace(decision.step, state=decision.change.state, **decision.change.fields)


def _waits_for_one(step: StepRecord) -> bool:
    return step.state is StepState.PENDING and step.remaining == 1 and step.unsuccessful == 0
