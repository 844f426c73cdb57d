"""Saving what was decided of steps: guarded commits, counters of dependents, and who got released by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import StepChange, apply_change
from atom_workflows.documents import SCHEMA, change_fields, step_path
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.ports import Create, Document, Fields, Update, Version, WriteResult

MAX_WRITES: Final = 250
"""Documents in one commit: a step with its (at most 200) dependents and as many more as go with it."""

MAX_BYTES: Final = 900_000
"""What one commit may take, by its texts: no request is over a megabyte."""

_DOCUMENT_BYTES: Final = 600
"""About what a written document takes without the texts that come from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided of a step, not yet saved."""

    held: Held
    change: StepChange

    @property
    def step(self) -> StepRecord:
        """The step as it was when it was decided."""
        return self.held.step


@dataclass(slots=True)
class Saved:
    """What a commit did: versions of the changed steps, and dependents with nothing left to wait for.

    `doomed` are those released dependents of which a dependency did not succeed. `refused` are decisions that came
    too late: another instance had changed the step. `commits` were tried, and `written` documents took effect.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    doomed: list[str] = field(default_factory=list)
    barriers: set[str] = field(default_factory=set)
    refused: list[Decision] = field(default_factory=list)
    commits: int = 0
    written: int = 0

    def add(self, other: Saved) -> None:
        """Join what another commit did."""
        self.versions.update(other.versions)
        self.released += other.released
        self.doomed += other.doomed
        self.barriers |= other.barriers
        self.refused += other.refused
        self.commits += other.commits
        self.written += other.written


def save(outbox: Outbox, decisions: Sequence[Decision], claims: Sequence[Decision] = ()) -> Saved:
    """Save the decisions of one run's steps, each exactly once or not at all, and count down their dependents.

    `claims` are dependents to be claimed in the commit that releases them; each depends on one of the decided steps
    alone. If any guard no longer holds, every decision is tried by itself, without the claims.
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


def save_claims(outbox: Outbox, claims: Sequence[Decision]) -> list[Held]:
    """Save claims of one run's steps and answer those that are ours now: in one commit, or each by itself."""
    if not claims:
        return []
    writes = [_guarded_write(claim) for claim in claims]
    try:
        results = outbox.services.store.commit(writes)
    except Conflict:
        return [] if len(claims) == 1 else [held for claim in claims for held in save_claims(outbox, [claim])]
    return [
        Held(step=apply_change(claim.step, claim.change), version=result.version)
        for claim, result in zip(claims, results, strict=True)
    ]


def save_with(outbox: Outbox, companion: Held, decisions: Sequence[Decision], budget: Budget) -> bool:
    """Save the decisions in their order, every commit of them with a change of the companion; whether all were saved.

    With the budget spent, the rest is not.
    Each commit checks the companion's version and renews it. So whoever decides something by that version does so
    before the first of these decisions or after the last, or is refused. One of them may be the companion's own, which
    comes first.
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
            outbox.step_changed(decision.step, decision.change)
            _log_change(decision)
    return True


def save_document(services: Services, path: str, read: Document | None, fields: Fields) -> Document | None:
    """Change a document as it was read, or create it. Return None if someone else was faster."""
    fields = {"schema": SCHEMA, **fields}
    write = Create(path=path, fields=fields) if read is None else Update(path=path, fields=fields, guard=read.version)
    try:
        (result,) = services.store.commit([write])
    except (AlreadyExists, Conflict):
        return None
    return Document(path=path, fields=fields, version=result.version)


def save_alone(outbox: Outbox, decisions: Sequence[Decision]) -> Saved:
    """Save the decisions without counting down dependents: polls, and steps of a run that is closed."""
    saved = Saved()
    for part in in_parts(decisions, counting=False):
        saved.add(_save_part(outbox, part, counting=False))
    return saved


def _save_part(outbox: Outbox, decisions: Sequence[Decision], *, counting: bool = True) -> Saved:
    try:
        return _commit(outbox, decisions, (), counting=counting)
    except Conflict:
        if len(decisions) == 1:
            _log_refused(decisions[0])
            return Saved(refused=list(decisions), commits=1)
    saved = Saved(commits=1)
    for decision in decisions:
        saved.add(_save_part(outbox, [decision], counting=counting))
    return saved


def _commit(
    outbox: Outbox, decisions: Sequence[Decision], claims: Sequence[Decision], *, counting: bool = True
) -> Saved:
    """One atomic commit; raises `Conflict` if any guard no longer holds."""
    counts = _counts(decisions, {claim.step.id for claim in claims}) if counting else {}
    guarded = [*decisions, *claims]
    run_id = decisions[0].step.run_id
    writes = [_guarded_write(decision) for decision in guarded]
    writes += [count.write(run_id, step_id) for step_id, count in counts.items()]
    results = outbox.services.store.commit(writes)
    for decision in guarded:
        outbox.step_changed(decision.step, decision.change)
        _log_change(decision)
    return _saved(guarded, counts, results)


def _guarded_write(decision: Decision) -> Update:
    step = decision.step
    return Update(
        path=step_path(step.run_id, step.id), fields=change_fields(decision.change), guard=decision.held.version
    )


@dataclass(slots=True)
class _Count:
    """What a commit takes off a dependent's counters."""

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


def _counts(decisions: Iterable[Decision], claimed: set[str]) -> dict[str, _Count]:
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
                count.cause = (step.cause if change.state is StepState.SKIPPED else None) or step.id
    return counts


def _saved(guarded: Sequence[Decision], counts: dict[str, _Count], results: Sequence[WriteResult]) -> Saved:
    saved = Saved(commits=1, written=len(results))
    for decision, result in zip(guarded, results, strict=False):
        saved.versions[decision.step.id] = result.version
    for (step_id, count), result in zip(counts.items(), results[len(guarded) :], strict=True):
        if result.increments["remaining"] > 0:
            continue
        (saved.doomed if result.increments["unsuccessful"] else saved.released).append(step_id)
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
    log.decided(
        f"step.{change.event}",
        f"step {step.id} is {change.state}",
        run_id=step.run_id,
        step_id=step.id,
        attempt=change.fields.get("attempt", step.attempt),
        job_id=change.fields.get("job_id") or step.job_id,
        reason=change.fields.get("message"),
    )


def _log_refused(decision: Decision) -> None:
    step = decision.step
    log.dropped(
        f"step.{decision.change.event}.refused",
        f"step {step.id} was changed by another, so nothing was written",
        **step.names,
    )
