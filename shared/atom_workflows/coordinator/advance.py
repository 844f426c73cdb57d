"""Run one invocation's work on a run: submit, save, release and claim in turn until nothing is left to do.

A step whose job ends synchronously is saved together with its dependents' counters. A released step that depends
only on it is claimed in the same commit and submitted next, so a chain of short steps needs no events between its
steps. Other released steps are published before this invocation continues, so that other invocations can work on them
in parallel.

    claim ──► submit ──► save the results ──► release: end barriers and skips, level by level
      ▲                    (and claim sole dependents)          │
      └──────── keep some ready steps, publish the others ◄─────┘
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.close import finish_run
from atom_workflows.coordinator.commits import Decision, Saved, in_parts, save, save_claims
from atom_workflows.coordinator.conditions import body_of_job, judge
from atom_workflows.coordinator.expansion import expand
from atom_workflows.coordinator.gathering import gather
from atom_workflows.coordinator.loading import AT_ONCE, StoredStep, load_steps
from atom_workflows.coordinator.main_part import begin_finally
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.places import hand_on_places, seat_handed
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.stopping import look_up_attempt, resolve_attempt, stop_leftover
from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.counts import Counts, count_end
from atom_workflows.core.endings import end_without_job
from atom_workflows.core.kinds import NodeKind, Release
from atom_workflows.core.outcomes import Outcome, OutcomeKind, outcome_of
from atom_workflows.core.polling import first_wait
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import apply_outcome, claim, defer, record_job, repeat_or_fail
from atom_workflows.core.workflow import JsonValue
from atom_workflows.errors import (
    BusUnavailable,
    ExpressionError,
    JobConflict,
    JobRefused,
    RequestNotAccepted,
    StoreError,
    StoreUnavailable,
    TaskRunnerUnavailable,
)
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


_WITHOUT_JOB: Final = frozenset({Release.BLOCK, Release.SKIP, Release.SUCCEED})

SUBMIT_BUDGET: Final = timedelta(seconds=80)
"""The maximum time for one submission. The client's own limits, including that of a token request, add up to less.

If less than this remains of the lease, another instance might submit the same attempt at the same time.
"""


def submit(services: Services, step: StepRecord) -> StepChange | None:
    """Submit the step's job and return the resulting change.

    Returns None for a step without a job, which is never claimed.
    """
    if step.request is None or step.due_at is None:
        return None
    if step.unresolved or step.leftovers:
        return _submit_after_earlier(services, step)
    if held_back := _reason_to_wait(services, step):
        return _defer(services, step, held_back)
    return _submit_rendered(services, step) if step.templates else _submit(services, step, step.request)


def _submit_after_earlier(services: Services, step: StepRecord) -> StepChange | None:
    """Submit the step's job once the jobs of earlier attempts have ended."""
    # To find out the job of an earlier attempt may be to submit it again, which may start a job. So the jobs that are
    # known end first, and so does each job that was found, before the next attempt is looked for.
    settled = stop_leftover(services, step) if step.leftovers else _resolve(services, step)
    if settled is None or isinstance(settled, StepChange):
        return settled
    change = submit(services, replace(step, **settled))
    return None if change is None else replace(change, fields={**settled, **change.fields})


def _resolve(services: Services, step: StepRecord) -> StepChange | dict[str, Any] | None:
    """Find out the job of the first attempt whose job's id is unknown."""
    settled = look_up_attempt(services, step)
    if settled is not None:
        return settled
    body = _render(services, step)
    if body is None or isinstance(body, StepChange):
        return body
    if held_back := _reason_to_wait(services, step, is_own=False):
        return _defer(services, step, held_back)
    return resolve_attempt(services, step, body)


def _render(services: Services, step: StepRecord) -> Mapping[str, JsonValue] | StepChange | None:
    """Return the job's body, or the change if there is none."""
    if not step.templates:
        return step.request
    try:
        return body_of_job(services, step)
    except ExpressionError as error:
        failed = Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.EXPRESSION, message=str(error))
        return apply_outcome(step, failed, now=services.clock.now())
    except StoreUnavailable as error:
        return _defer(
            services, step, RequestNotAccepted(f"the values that its expressions need could not be read: {error}")
        )


def _submit_rendered(services: Services, step: StepRecord) -> StepChange | None:
    """Evaluate the expressions of the step's task, then submit its job."""
    request = _render(services, step)
    if request is None or isinstance(request, StepChange):
        return request
    # Reading what they need may have taken long.
    if held_back := _reason_to_wait(services, step):
        return _defer(services, step, held_back)
    change = _submit(services, step, request)
    sent = json.dumps(request, separators=(",", ":"), ensure_ascii=False)
    return None if change is None else replace(change, fields={**change.fields, "sent": sent})


def _reason_to_wait(services: Services, step: StepRecord, *, is_own: bool = True) -> RequestNotAccepted | None:
    """Return the reason not to submit anything now, if any.

    `is_own` is False if the submission is not that of the attempt itself, and so waits in its own way.
    """
    now = services.clock.now()
    # While a claim lasts, `due_at` is the end of its lease.
    if step.due_at is None or step.due_at - now < SUBMIT_BUDGET:
        return RequestNotAccepted("it was not called: too little of the step's lease was left")
    return services.breaker.reason_to_wait(step.task_runner_url, now) if is_own else None


def _submit(services: Services, step: StepRecord, request: Mapping[str, JsonValue]) -> StepChange | None:
    """Make the call, and report its result to the circuit breaker."""
    url, began = step.task_runner_url, services.clock.now()
    try:
        change = _call(services, step, request)
    except RequestNotAccepted as error:
        if not error.is_busy:
            services.breaker.record_failure(url, error.reason, began=began, now=services.clock.now())
        return _defer(services, step, error)
    except TaskRunnerUnavailable as error:
        services.breaker.record_failure(url, error.reason, began=began, now=services.clock.now())
        return _repeat_or_fail(services, step, error)
    services.breaker.record_answer(url)
    return change


def _call(services: Services, step: StepRecord, request: Mapping[str, JsonValue]) -> StepChange | None:
    """Make the call and apply the response, which may be a refusal.

    Raises `TaskRunnerUnavailable` if there was no usable response, or `RequestNotAccepted` if nothing was started.
    """
    now = services.clock.now()
    try:
        answer = services.task_runner.submit(
            step.task_runner_url,
            request,
            idempotency_key=step.idempotency_key,
            timeout=(step.attempt_deadline or now + step.policies.timeout) - now,
        )
    except JobConflict as error:
        return _resolve_conflict(services, step, error)
    except JobRefused as error:
        return _fail_refused(services, step, error)
    now = services.clock.now()
    outcome = outcome_of(
        step,
        job_id=answer.job_id,
        job_state=answer.state,
        message=answer.message,
        outputs=answer.outputs,
        outputs_problem=answer.outputs_problem,
        reason=answer.reason,
        logs_url=answer.logs_url,
    )
    if outcome is not None:
        return apply_outcome(step, outcome, now=now)
    if not answer.job_id:
        raise TaskRunnerUnavailable(f"it reported {answer.state} without a usable jobId")
    return record_job(
        step,
        job_id=answer.job_id,
        job_state=answer.state,
        message=answer.message,
        first_poll=now + first_wait(services.settings.check_interval, notifies=answer.notifies),
        logs_url=answer.logs_url,
        notifies=answer.notifies,
    )


def _resolve_conflict(services: Services, step: StepRecord, error: JobConflict) -> StepChange | None:
    """Fail the step after an HTTP 409 response.

    If the step's own earlier submission may be the cause, or if the server asks for a retry, the step is submitted
    again later instead.
    """
    if step.is_unsure:
        reason = f"an earlier submission may still be in progress: {error}"
        return _repeat_or_fail(services, step, TaskRunnerUnavailable(reason, retry_after_s=error.retry_after_s))
    if error.retry_after_s is not None:
        return _defer(services, step, RequestNotAccepted(str(error), retry_after_s=error.retry_after_s))
    return _fail_refused(services, step, error)


def _fail_refused(services: Services, step: StepRecord, error: JobRefused) -> StepChange | None:
    beside = "; an earlier submission of this attempt may have started a job" if step.is_unsure else ""
    refused = Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.REFUSED, message=f"{error}{beside}")
    return apply_outcome(step, refused, now=services.clock.now())


def _repeat_or_fail(services: Services, step: StepRecord, error: TaskRunnerUnavailable) -> StepChange:
    message = f"the submission of step {step.id} may have started a job: {error.reason}"
    log.warning("task_runner.unavailable", message, **step.names)
    now = services.clock.now()
    return repeat_or_fail(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)


def _defer(services: Services, step: StepRecord, error: RequestNotAccepted) -> StepChange:
    message = f"step {step.id} could not be submitted: {error.reason}"
    log.warning("task_runner.unavailable", message, **step.names)
    now = services.clock.now()
    return defer(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s, is_busy=error.is_busy)


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
    # The items that were handed places, and in which round (see places.py).
    _handed: dict[str, int] = field(default_factory=dict)
    _reach: int = 0
    _failure: Exception | None = None

    @classmethod
    def of(cls, outbox: Outbox, run_id: str) -> Advance:
        """Begin the work of an invocation with its full budget."""
        return cls(outbox=outbox, run_id=run_id, budget=Budget.of_invocation(outbox.services))

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
            claimed = self._submit_all(claimed)
        if self._failure is not None:
            raise self._failure

    def _submit_all(self, claimed: Sequence[StoredStep]) -> list[StoredStep]:
        """Submit the steps and save each wave of results.

        Returns the steps that were claimed in the meantime and should be submitted next. While some results are
        outstanding, newly released steps are published rather than kept, so that a slow Task Runner delays only its own
        steps. A wave that cannot be saved does not stop the waves after it.
        """
        services = self.outbox.services
        following: list[StoredStep] = []
        outstanding = len(claimed)
        for wave in waves(
            services.workers,
            self._attempt,
            claimed,
            lane=lambda stored: stored.step.task_runner_url,
        ):
            outstanding -= len(wave)
            decisions = [decision for _, decision in wave if decision is not None]
            self._save_and_go_on(decisions, following, may_keep=outstanding == 0)
        return following

    def _attempt(self, stored: StoredStep) -> Decision | None:
        """Make the attempt of a claimed step, as its kind requires."""
        services, step = self.outbox.services, stored.step
        if step.loop is not None:
            return expand(services, stored, step.loop, self.budget)
        if step.kind is NodeKind.GATHER:
            return gather(services, stored)
        change = submit(services, step)
        return None if change is None else Decision(stored=stored, change=change)

    def _save_and_go_on(self, decisions: Sequence[Decision], following: list[StoredStep], *, may_keep: bool) -> None:
        """Save the decisions, and claim some of the released steps.

        The claimed steps are added to `following`; all steps in that list count towards the number of steps that may
        be kept. An outage is recorded in `_failure`.
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
                judged = judge(self.outbox.services, seat_handed(self._load(ready[:room]), self._handed))
                following += self._claim(judged.to_claim, judged.because)
                decisions = judged.ended
                self.budget.spend(calls=2 * bool(decisions), written=len(decisions))
        except (StoreError, BusUnavailable) as error:
            self._failure = self._failure or error

    def _save(self, decisions: Sequence[Decision], following: list[StoredStep], *, may_claim: bool) -> list[str]:
        """Save the decisions, and claim sole dependents in the same commit.

        Returns the released steps that need a job or a decision.
        """
        claims = self._claims_of_sole_dependents(decisions) if may_claim else []
        saved = save(self.outbox, decisions, claims)
        self.refused += saved.refused
        self._hand_on_expansions([one for one in decisions if one.step.id in saved.versions])
        following += [
            StoredStep(step=apply_change(claim.step, claim.change), version=saved.versions[claim.step.id])
            for claim in claims
            if claim.step.id in saved.versions
        ]
        return self._release(saved)

    def _release(self, saved: Saved) -> list[str]:
        """End released barriers and blocked or skipped steps, level by level.

        Returns the other released steps, which need a job or a decision. Items that were handed places are among them.
        """
        ready: list[str] = []
        while saved.released or saved.freed:
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

    def _hand_on_expansions(self, saved: Sequence[Decision]) -> None:
        """Have another invocation create the rest of a step's items."""
        now = self.outbox.services.clock.now()
        for decision in saved:
            due_at = decision.change.fields.get("due_at")
            if decision.step.loop is not None and not decision.change.is_terminal and due_at and due_at <= now:
                step = ReadyStep(step_id=decision.step.id, attempt=decision.step.attempt)
                self.outbox.add_ready(self.run_id, [step])

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
        """Decide to claim a step.

        `after` is what its only dependency adds to its counters in the same commit, and `because` holds its condition
        and the values that decided it.
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
