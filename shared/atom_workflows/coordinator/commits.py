"""Save decisions about steps: guarded commits that also count down dependents, and report which of these are released.

This is how a dependency is honoured without locks. Each step counts the dependencies it still waits for (`remaining`)
and those that did not succeed (`unsuccessful`). The commit that ends a step also increments the counters of all its
dependents, atomically. A guard on the ended step's version makes that happen once: of two instances that handle the
same outcome, one fails the guard. The store returns the counters after the increments, so the commit that brings
`remaining` to 0 knows it, and its instance releases the dependent. If that instance dies first, redelivery or the
checker's audit finds the released step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import StepChange, apply_change
from atom_workflows.documents import SCHEMA, change_fields, step_path
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.ports import Create, Document, Fields, Update, Version, WriteResult

MAX_WRITES: Final = 250
"""Documents in one commit: enough for a step with its dependents, of which it has at most 200."""

MAX_BYTES: Final = 900_000
"""The size of one commit, estimated from its texts: no request may exceed a megabyte."""

_DOCUMENT_BYTES: Final = 600
"""The approximate size of a written document without texts from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A change of a step that was decided and not yet saved."""

    stored: StoredStep
    change: StepChange

    @property
    def step(self) -> StepRecord:
        """The step as it was read."""
        return self.stored.step


@dataclass(slots=True)
class Saved:
    """The result of one or more commits.

    `versions` are those of the changed steps. `released` and `to_skip` are dependents with nothing left to wait for;
    those to skip have a dependency that did not succeed. `barriers` are the ones among them without a task. `refused`
    are decisions that came too late, as another instance had changed the step. `commits` were tried, and `written`
    documents took effect.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    to_skip: list[str] = field(default_factory=list)
    barriers: set[str] = field(default_factory=set)
    refused: list[Decision] = field(default_factory=list)
    commits: int = 0
    written: int = 0

    def add(self, other: Saved) -> None:
        """Add the result of another commit."""
        self.versions.update(other.versions)
        self.released += other.released
        self.to_skip += other.to_skip
        self.barriers |= other.barriers
        self.refused += other.refused
        self.commits += other.commits
        self.written += other.written


def save(outbox: Outbox, decisions: Sequence[Decision], claims: Sequence[Decision] = ()) -> Saved:
    """Save decisions about one run's steps, and count down their dependents.

    Each is saved exactly once or not at all. `claims` are dependents to claim in the commit that releases them; each
    depends on one of the decided steps alone. If any guard fails, every decision is tried by itself, without claims.
    """
    saved = Saved()
    parts = list(in_parts(decisions))
    if claims and len(parts) == 1:
        try:
            return _commit(outbox, decisions, claims)
        except Conflict:
            pass
    for part in parts:
        saved.add(_save_part(outbox, part))
    return saved


def save_claims(outbox: Outbox, claims: Sequence[Decision]) -> list[StoredStep]:
    """Save claims of one run's steps.

    Returns the steps that this invocation has now. It takes one commit, or one for each claim if another instance was
    faster with some.
    """
    if not claims:
        return []
    writes = [_guarded_write(claim) for claim in claims]
    try:
        results = outbox.services.store.commit(writes)
    except Conflict:
        return [] if len(claims) == 1 else [stored for claim in claims for stored in save_claims(outbox, [claim])]
    return [
        StoredStep(step=apply_change(claim.step, claim.change), version=result.version)
        for claim, result in zip(claims, results, strict=True)
    ]


def save_with(outbox: Outbox, companion: StoredStep, decisions: Sequence[Decision], budget: Budget) -> bool:
    """Save the decisions in order, changing the companion in every commit.

    Returns False if a guard failed, or if the budget was spent before all were saved. Each commit checks the
    companion's version and renews it, so anything else that is guarded by that version happens before the first of
    these decisions, after the last, or not at all. One decision may be about the companion itself; it comes first.
    """
    own = [decision for decision in decisions if decision.step.id == companion.step.id]
    others = [decision for decision in decisions if decision.step.id != companion.step.id]
    version = companion.version
    for start in range(0, max(len(others), len(own)), MAX_WRITES):
        if start and budget.is_spent:
            return False
        part = others[start : start + MAX_WRITES]
        first = own if start == 0 else []
        touch = Update(
            path=step_path(companion.step.run_id, companion.step.id),
            fields=change_fields(first[0].change) if first else {},
            increments={"touches": 1},
            guard=version,
        )
        try:
            version = outbox.services.store.commit([touch, *map(_guarded_write, part)])[0].version
        except Conflict:
            return False
        budget.spend(written=len(part) + 1)
        for decision in (*first, *part):
            outbox.report_step(decision.step, decision.change)
            _log_change(decision)
    return True


def save_document(services: Services, path: str, read: Document | None, fields: Fields) -> Document | None:
    """Change a document as it was read, or create it.

    Returns None if someone else was faster.
    """
    fields = {"schema": SCHEMA, **fields}
    write = Create(path=path, fields=fields) if read is None else Update(path=path, fields=fields, guard=read.version)
    try:
        (result,) = services.store.commit([write])
    except (AlreadyExists, Conflict):
        return None
    return Document(path=path, fields=fields, version=result.version)


def save_alone(outbox: Outbox, decisions: Sequence[Decision]) -> Saved:
    """Save decisions without counting down dependents.

    That is for polls, and for steps of a run that is being closed.
    """
    saved = Saved()
    for part in in_parts(decisions, counting=False):
        saved.add(_save_part(outbox, part, counting=False))
    return saved


def _save_part(outbox: Outbox, decisions: Sequence[Decision], *, counting: bool = True) -> Saved:
    try:
        return _commit(outbox, decisions, (), counting=counting)
    except Conflict:
        if len(decisions) == 1:
            step = decisions[0].step
            log.debug(
                f"step.{decisions[0].change.event}.refused",
                f"step {step.id} was changed by another instance, so nothing was written",
                **step.names,
            )
            return Saved(refused=list(decisions), commits=1)
    # A guard failed. Save each decision alone, so that only the outdated ones are refused.
    saved = Saved(commits=1)
    for decision in decisions:
        saved.add(_save_part(outbox, [decision], counting=counting))
    return saved


def _commit(
    outbox: Outbox, decisions: Sequence[Decision], claims: Sequence[Decision], *, counting: bool = True
) -> Saved:
    """Commit the decisions atomically.

    Raises `Conflict` if any guard failed.
    """
    counts = _count_dependents(decisions, {claim.step.id for claim in claims}) if counting else {}
    # Claimed dependents are written with their new counter, the other ones are incremented.
    guarded = [*decisions, *claims]
    run_id = decisions[0].step.run_id
    writes = [_guarded_write(decision) for decision in guarded]
    writes += [count.write(run_id, step_id) for step_id, count in counts.items()]
    results = outbox.services.store.commit(writes)
    for decision in guarded:
        outbox.report_step(decision.step, decision.change)
        _log_change(decision)
    return _result_of(guarded, counts, results)


def _guarded_write(decision: Decision) -> Update:
    step = decision.step
    return Update(
        path=step_path(step.run_id, step.id), fields=change_fields(decision.change), guard=decision.stored.version
    )


@dataclass(slots=True)
class _Count:
    """The change of one dependent's counters in one commit."""

    ended: int = 0
    unsuccessful: int = 0
    cause: str | None = None
    is_barrier: bool = False

    def write(self, run_id: str, step_id: str) -> Update:
        return Update(
            path=step_path(run_id, step_id),
            fields={"cause": self.cause} if self.cause else {},
            increments={"remaining": -self.ended, "unsuccessful": self.unsuccessful},
        )


def _count_dependents(decisions: Iterable[Decision], claimed: set[str]) -> dict[str, _Count]:
    counts: dict[str, _Count] = {}
    for decision in decisions:
        step, change = decision.step, decision.change
        if not change.is_terminal:
            continue
        for dependent in step.dependents:
            if dependent in claimed:
                continue
            count = counts.setdefault(dependent, _Count())
            count.ended += 1
            count.is_barrier = dependent in step.barriers
            if change.state is not StepState.SUCCEEDED:
                count.unsuccessful += 1
                # A skipped step passes on the failure that it was skipped for.
                count.cause = (step.cause if change.state is StepState.SKIPPED else None) or step.id
    return counts


def _result_of(guarded: Sequence[Decision], counts: dict[str, _Count], results: Sequence[WriteResult]) -> Saved:
    saved = Saved(commits=1, written=len(results))
    for decision, result in zip(guarded, results, strict=False):
        saved.versions[decision.step.id] = result.version
    for (step_id, count), result in zip(counts.items(), results[len(guarded) :], strict=True):
        if result.increments["remaining"] > 0:
            continue
        (saved.to_skip if result.increments["unsuccessful"] else saved.released).append(step_id)
        if count.is_barrier:
            saved.barriers.add(step_id)
    return saved


def in_parts(decisions: Sequence[Decision], *, counting: bool = True) -> Iterator[list[Decision]]:
    """Yield the decisions in parts that one commit can hold."""
    part: list[Decision] = []
    touched: set[str] = set()
    texts = 0
    for decision in decisions:
        counts_down = counting and decision.change.is_terminal
        touches = {decision.step.id, *(decision.step.dependents if counts_down else ())}
        text = len(str(decision.change.fields.get("message", "")).encode())
        # A dependent that several steps share is written once.
        together = touched | touches
        if part and (len(together) > MAX_WRITES or len(together) * _DOCUMENT_BYTES + texts + text > MAX_BYTES):
            yield part
            part, together, texts = [], touches, 0
        part.append(decision)
        touched = together
        texts += text
    if part:
        yield part


def _log_change(decision: Decision) -> None:
    step, change = decision.step, decision.change
    log.info(
        f"step.{change.event}",
        f"step {step.id} is {change.state}",
        run_id=step.run_id,
        step_id=step.id,
        attempt=change.fields.get("attempt", step.attempt),
        job_id=change.fields.get("job_id") or step.job_id,
        reason=change.fields.get("message"),
    )
