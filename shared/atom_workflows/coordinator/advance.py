"""Run one invocation's work on a run until nothing is left.

The invocation submits, saves, releases and claims in turn. A step whose job ends synchronously is saved together with
its dependents' counters. A released step that depends only on it is claimed in the same commit and submitted next, so a
chain of short steps needs no events between its steps. Other released steps are published before this invocation
continues, so that other invocations can work on them in parallel.

    claim ──► submit ──► save the results ──► release: end barriers and skips, level by level
      ▲                    (and claim sole dependents)          │
      └──────── keep some ready steps, publish the others ◄─────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from atom_workflows.coordinator.close import finish_run
from atom_workflows.coordinator.commits import Decision, Saved, in_parts, save, save_claims
from atom_workflows.coordinator.conditions import evaluate_conditions
from atom_workflows.coordinator.expansion import expand
from atom_workflows.coordinator.gathering import gather
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import AT_ONCE, StoredStep, load_steps
from atom_workflows.coordinator.main_part import begin_finally
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.places import hand_on_places, seat_handed
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.submission import submit
from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.counts import Counts, count_end
from atom_workflows.core.endings import end_without_job, skip_idle
from atom_workflows.core.graph import MAIN_END_ID
from atom_workflows.core.kinds import NodeKind, Release
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import claim
from atom_workflows.errors import BusUnavailable, StoreError
from atom_workflows.messages.internal import STEPS_PER_READY, ReadyStep
from atom_workflows.ports import Answer, Item, Workers


def waves(
    workers: Workers,
    call: Callable[[Item], Answer],
    items: Sequence[Item],
    *,
    lane: Callable[[Item], str] | None = None,
) -> Iterator[list[tuple[Item, Answer]]]:
    """Make a call for each item and yield lists of (item, result).

    Each list holds the results that became available together; each item appears once. An error in a call is re-raised
    here once the other calls have ended. For `lane`, see `ports.Workers.calls`.
    """
    if len(items) == 1:
        # Handing a single call to a thread would take longer than all the other overhead of the call.
        yield [(items[0], call(items[0]))]
        return
    calls = workers.calls(call, lane=lane)
    calls.begin(items)
    while calls.pending:
        if wave := calls.wave():
            yield wave
    calls.wave()


@dataclass(slots=True)
class Judged:
    """Released steps, sorted by what happens to them.

    `ended` are decisions that end steps without a job. `to_claim` are steps that need a job, and `because` holds the
    values that decided their conditions, by step id.
    """

    ended: list[Decision] = field(default_factory=list)
    to_claim: list[StoredStep] = field(default_factory=list)
    because: dict[str, str] = field(default_factory=dict)


def judge(services: Services, steps: Sequence[StoredStep]) -> Judged:
    """Decide what happens to each released step, evaluating conditions where needed.

    Steps that are not (or no longer) released are left out.
    """
    judged = Judged()
    # By their counters alone, steps under `finally` would run even if no step of their run was started.
    idle = {one.step.id for one in steps if one.step.may_be_idle}
    if idle and not any(one.step.by_choice for one in load_steps(services, steps[0].step.run_id, [MAIN_END_ID])):
        idle = set()
    asked = [one.step for one in steps if one.step.awaits_condition and one.step.id not in idle]
    verdicts = evaluate_conditions(services, asked) if asked else {}
    now = services.clock.now()
    for stored in steps:
        verdict = verdicts.get(stored.step.id)
        if stored.step.id in idle:
            change: StepChange | None = skip_idle(stored.step, now=now)
        else:
            change = end_without_job(stored.step, now=now, verdict=verdict)
        if change is not None:
            judged.ended.append(Decision(stored=stored, change=change))
        elif stored.step.release is Release.CLAIM:
            judged.to_claim.append(stored)
            if verdict is not None:
                judged.because[stored.step.id] = verdict.because
    return judged


_WITHOUT_JOB: Final = frozenset({Release.BLOCK, Release.SKIP, Release.SUCCEED})


@dataclass(slots=True)
class Advance:
    """One invocation's work on one run.

    `budget` limits how long the work continues. `refused` holds decisions that came too late, because another instance
    had already changed the step. After an outage, no more steps are claimed, but steps that are already claimed are
    still submitted: no other instance can do that before their leases end.
    """

    outbox: Outbox
    run_id: str
    budget: Budget
    refused: list[Decision] = field(default_factory=list)
    # Steps that were read ahead of time. If a step has changed since then, its guard fails and nothing is written.
    _ahead: dict[str, StoredStep] = field(default_factory=dict)
    # The items that were given places, and in which round (see places.py).
    _handed: dict[str, int] = field(default_factory=dict)
    _reach: int = 0
    _failure: Exception | None = None

    @classmethod
    def of(cls, outbox: Outbox, run_id: str) -> Advance:
        """Begin the work of an invocation with its full budget."""
        return cls(
            outbox=outbox,
            run_id=run_id,
            budget=Budget.of_invocation(outbox.services.clock, outbox.services.settings.inline_budget),
        )

    def run(
        self,
        *,
        to_dispatch: Sequence[StoredStep] = (),
        ended: Sequence[Decision] = (),
        because: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Dispatch steps, save outcomes, and continue with the released steps.

        `ended` are decisions that end other steps. `because` holds, by step id, the values that decided the conditions
        of the dispatched steps. Raises the first outage that occurred, once the work is done.
        """
        claimed = self._claim(to_dispatch, because)
        self._save_and_go_on(ended, claimed, may_keep=True)
        while claimed:
            # The steps that are claimed in the meantime are submitted next.
            following: list[StoredStep] = []
            outstanding = len(claimed)
            workers = self.outbox.services.workers
            for wave in waves(workers, self._attempt, claimed, lane=lambda stored: stored.step.task_runner_url):
                outstanding -= len(wave)
                decisions = [decision for _, decision in wave if decision is not None]
                # While some results are outstanding, released steps are published rather than kept, so that a slow Task
                # Runner delays only its own steps. A wave that cannot be saved does not stop the waves after it.
                self._save_and_go_on(decisions, following, may_keep=outstanding == 0)
            claimed = following
        if self._failure is not None:
            raise self._failure

    def _attempt(self, stored: StoredStep) -> Decision | None:
        """Expand, gather or submit a claimed step, depending on its kind."""
        services, step = self.outbox.services, stored.step
        if step.loop is not None:
            return expand(services, stored, step.loop, self.budget)
        if step.kind is NodeKind.GATHER:
            return gather(services, stored)
        change = submit(services, step)
        return None if change is None else Decision(stored=stored, change=change)

    def _save_and_go_on(self, decisions: Sequence[Decision], following: list[StoredStep], *, may_keep: bool) -> None:
        """Save the decisions, and claim some of the released steps.

        The claimed steps are added to `following`; all steps in that list count toward the limit on the steps that
        this invocation may keep. An outage is recorded in `_failure`.
        """
        try:
            # Steps that their conditions skip or fail are saved in the next pass, and may release other steps.
            while decisions:
                keeps = may_keep and self._failure is None and not self.budget.is_spent
                ready = self._save(decisions, following, may_claim=keeps)
                room = max(STEPS_PER_READY - len(following), 0) if keeps else 0
                self._hand_on(ready[room:])
                self.outbox.flush_ready()
                # A redelivery or an audit may have published the kept steps too, and another instance taken them.
                kept = self._load(ready[:room])
                judged = judge(self.outbox.services, seat_handed(kept, self._handed) if self._handed else kept)
                following += self._claim(judged.to_claim, judged.because)
                decisions = judged.ended
                self.budget.spend(calls=2 * bool(decisions), written=len(decisions))
        except (StoreError, BusUnavailable) as error:
            self._failure = self._failure or error

    def _save(self, decisions: Sequence[Decision], following: list[StoredStep], *, may_claim: bool) -> list[str]:
        """Save the decisions, and claim some released steps in the same commit.

        The claimed steps, each with only one dependency, are added to `following`. Returns the other released steps
        that need a job or a decision.
        """
        claims = self._claims_of_sole_dependents(decisions) if may_claim else []
        saved = save(self.outbox, decisions, claims)
        self.refused += saved.refused
        now = self.outbox.services.clock.now()
        for step, change in ((one.step, one.change) for one in decisions if one.step.id in saved.versions):
            due_at = change.fields.get("due_at")
            if step.loop is not None and not change.is_terminal and due_at and due_at <= now:
                # Another invocation creates the rest of the step's items.
                self.outbox.add_ready(self.run_id, [ReadyStep(step_id=step.id, attempt=step.attempt)])
        following += [
            StoredStep(step=apply_change(claim.step, claim.change), version=saved.versions[claim.step.id])
            for claim in claims
            if claim.step.id in saved.versions
        ]
        return self._release(saved)

    def _release(self, saved: Saved) -> list[str]:
        """End released barriers and blocked or skipped steps, level by level.

        Returns the other released steps, which need a job or a decision. Items that were given places are among them.
        """
        ready: list[str] = []
        while saved.released or saved.freed:
            if saved.freed:
                handed = hand_on_places(self.outbox, saved.freed)
                self._handed |= handed
                ready += handed
            released = saved.released
            ready += [step_id for step_id, release in released.items() if release in {Release.CLAIM, Release.DECIDE}]
            # Each level may release the next one.
            saved = self._end_without_jobs(
                [step_id for step_id, release in released.items() if release in _WITHOUT_JOB]
            )
            self.refused += saved.refused
            if Release.BEGIN_FINALLY in released.values():
                begin_finally(self.outbox, self.run_id)
            if Release.CLOSE in released.values():
                finish_run(self.outbox, self.run_id)
        return ready

    def _end_without_jobs(self, step_ids: Sequence[str]) -> Saved:
        """End steps that need no job, as far as the budget allows.

        The remaining steps are handed off, since any dispatcher can end them.
        """
        saved = Saved()
        for start in range(0, len(step_ids), AT_ONCE):
            together = step_ids[start : start + AT_ONCE]
            if self.budget.is_spent:
                self._hand_on(together)
                continue
            now = self.outbox.services.clock.now()
            changes = [(stored, end_without_job(stored.step, now=now)) for stored in self._load(together)]
            self.budget.spend()
            for part in in_parts([Decision(stored=one, change=change) for one, change in changes if change]):
                if self.budget.is_spent:
                    self._hand_on([decision.step.id for decision in part])
                    continue
                done = save(self.outbox, part)
                self.budget.spend(calls=done.commits, written=done.written)
                saved.add(done)
        return saved

    def _hand_on(self, step_ids: Sequence[str]) -> None:
        self.outbox.add_ready(self.run_id, [ReadyStep(step_id=step_id) for step_id in step_ids])

    def _claims_of_sole_dependents(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Claim the steps whose only dependency succeeds according to these decisions.

        Each claim is part of the commit that releases the step, so it contains the counters that the step will have
        after that commit.
        """
        ended = [decision.step for decision in decisions if decision.change.state is StepState.SUCCEEDED]
        unread = [step for step in ended if step.hands_over_to is not None and step.hands_over_to not in self._ahead]
        # The same call reads the steps that follow them in a chain. Read-ahead doubles while jobs finish synchronously:
        # a long chain then needs one call for eight steps, and few reads are wasted if a job keeps running.
        wanted = [name for step in unread for name in (step.hands_over_to, *step.heirs[: self._reach]) if name]
        self._ahead |= {stored.step.id: stored for stored in self._load(wanted)}
        self._reach += len(unread) and self._reach + 1
        claims: list[Decision] = []
        for decision in decisions:
            name = decision.step.hands_over_to
            if decision.change.state is not StepState.SUCCEEDED or name is None or name not in self._ahead:
                continue
            stored, after = self._ahead.pop(name), count_end(decision.step, decision.change)
            # An internal barrier succeeds even if the steps that it represents were skipped; its dependent is then
            # skipped as well.
            if stored.step.release_after(after.unsuccessful, after.skipped, after.total) is Release.CLAIM:
                claims.append(self._claim_of(stored, after=after))
        return claims

    def _claim(self, steps: Sequence[StoredStep], because: Mapping[str, str]) -> list[StoredStep]:
        claims = [self._claim_of(stored, because=because.get(stored.step.id, "")) for stored in steps]
        return save_claims(self.outbox, claims)

    def _claim_of(self, stored: StoredStep, *, after: Counts | None = None, because: str = "") -> Decision:
        """Return the decision to claim a step.

        `after` is what the step's only dependency adds to the step's counters in the same commit. `because` holds the
        step's condition and the values that decided it.
        """
        services, step = self.outbox.services, stored.step
        counters: dict[str, int] = {}
        if after is not None:
            counters = {name: count for name, count in after.counters(step.schema).items() if count} | {"remaining": 0}
        lease = services.settings.lease
        change = claim(step, now=services.clock.now(), lease=lease, because=because, counters=counters)
        return Decision(stored=stored, change=change)

    def _load(self, step_ids: Iterable[str]) -> list[StoredStep]:
        return load_steps(self.outbox.services, self.run_id, step_ids)
