"""Save decisions about steps in guarded commits, and release their dependents.

This is how dependencies are enforced without locks. Each step counts the dependencies it still waits for (`remaining`)
and those that did not succeed (`unsuccessful`). The commit that ends a step also increments the counters of all its
dependents, atomically. A guard on the ended step's version ensures that this happens only once: of two instances that
handle the same outcome, only one passes the guard. The store returns the counters after the increments, so the
instance whose commit brings `remaining` to 0 sees this and releases the dependent. If that instance dies first,
redelivery or the checker's audit finds the released step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.counts import count_dependents, count_end
from atom_workflows.core.graph import kind_of
from atom_workflows.core.kinds import Counters, NodeKind, Release, decide_release
from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.core.places import NUMBERS, Shard, read_shard
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent
from atom_workflows.core.transitions import apply_outcome
from atom_workflows.documents import SCHEMA, estimate_bytes, outputs_path, step_path
from atom_workflows.errors import AlreadyExists, Conflict, NotStorable
from atom_workflows.ports import Create, Document, Fields, Update, Upsert, Version, WriteResult
from atom_workflows.step_documents import change_fields, outputs_fields

MAX_WRITES: Final = 250
"""The maximum number of documents in one commit. It is enough for a step and its dependents (at most 200)."""

MAX_BYTES: Final = 900_000
"""The maximum size of one commit, estimated from its text. No request may exceed a megabyte."""

_DOCUMENT_BYTES: Final = 600
"""The approximate size of a written document, not counting what `Decision.text_bytes` covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Fields and dependencies that a step's end adds to a dependent."""

    dependencies: int = 0
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A change to a step, decided but not saved yet.

    `companions` are a few writes to other documents, such as the step's outputs, which take effect with the change or
    not at all. None of them writes to a step of the run. The step's guard protects them as well; an `Update` may have
    its own guard. `additions` holds what is added to each dependent, by id, if the change ends the step.
    """

    stored: StoredStep
    change: StepChange
    companions: Sequence[Update | Upsert] = ()
    additions: Mapping[str, Addition] = field(default_factory=dict)

    def __post_init__(self) -> None:
        because = self.change.fields.get("because")
        if self.step.kind is NodeKind.EXPAND and self.change.is_terminal and because:
            # Users see the step, and not the node whose condition was evaluated. If that was marked, the step is.
            marked = self.change.event is StepEvent.MARK_SKIPPED
            mark = {"mark": self.change.fields["mark"]} if marked else {}
            object.__setattr__(self, "additions", {self.step.each: Addition(fields={"because": because, **mark})})
        if self.change.outputs is not None:
            path = outputs_path(self.step.run_id, self.step.id)
            own = Upsert(path=path, fields=outputs_fields(self.step, self.change.outputs))
            object.__setattr__(self, "companions", (*self.companions, own))

    @property
    def step(self) -> StepRecord:
        """The step as it was read."""
        return self.stored.step

    @property
    def frees_place(self) -> bool:
        """True if the decision ends a step that holds a place."""
        return bool(self.step.shard) and not self.step.waits_at and self.change.is_terminal

    def documents(self, *, counting: bool) -> set[str]:
        """Return the step ids and companion paths that will be written.

        With `counting`, this includes the dependents.
        """
        counted = self.step.dependents if counting and self.change.is_terminal else ()
        counted += (self.step.shard,) if counting and self.frees_place else ()
        return {self.step.id, *counted, *(one.path for one in self.companions)}

    @property
    def text_bytes(self) -> int:
        """The approximate size of the decision's text, in addition to `_DOCUMENT_BYTES` for each document."""
        fields = self.change.fields
        own = len(f"{fields.get('message', '')}{fields.get('sent', '')}{fields.get('attempts', '')}".encode())
        return own + sum([estimate_bytes(one.fields) for one in self.companions])


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """The places of one shard that a commit handed on.

    `shard` is the shard after the commit, and `step` is one of the items that gave up these places.
    """

    step: StepRecord
    shard: Shard
    count: int
    failed: int


@dataclass(slots=True)
class Saved:
    """The result of one or more commits.

    `versions` holds the new versions of the changed steps. `released` holds the dependents whose dependencies have all
    ended, and what happens to each. `freed` holds the places that were handed on. `companions` holds the results of
    companion writes by path. `refused` holds the decisions that came too late, because another instance had already
    changed the step. `commits` is the number of attempted commits, and `written` the number of documents written.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    released: dict[str, Release] = field(default_factory=dict)
    freed: list[Freed] = field(default_factory=list)
    companions: dict[str, WriteResult] = field(default_factory=dict)
    refused: list[Decision] = field(default_factory=list)
    commits: int = 0
    written: int = 0

    def add(self, other: Saved) -> None:
        """Add the result of another commit."""
        self.versions.update(other.versions)
        self.released.update(other.released)
        self.freed += other.freed
        self.companions.update(other.companions)
        self.refused += other.refused
        self.commits += other.commits
        self.written += other.written


def save(outbox: Outbox, decisions: Sequence[Decision], claims: Sequence[Decision] = ()) -> Saved:
    """Save decisions about one run's steps, and update their dependents' counters.

    Each decision is saved exactly once or not at all. `claims` holds decisions to claim dependents in the commit that
    releases them; each of these dependents depends on only one step, which is among those decided. If any guard fails,
    each decision is tried on its own, without claims. An attempt whose result can never be stored fails.
    """
    if claims and len(list(in_parts([*decisions, *claims]))) == 1:
        try:
            return _commit(outbox, decisions, claims)
        except (Conflict, NotStorable):
            pass
    saved = Saved()
    for part in in_parts(decisions):
        saved.add(_save_part(outbox, part))
    return saved


def save_claims(outbox: Outbox, claims: Sequence[Decision]) -> list[StoredStep]:
    """Save claims on one run's steps.

    Returns the steps that this invocation now holds. All claims are saved in one commit, or each in its own commit if
    another instance has already claimed some of the steps.
    """
    if not claims:
        return []
    if len(parts := list(in_parts(claims, counting=False))) > 1:
        return [stored for part in parts for stored in save_claims(outbox, part)]
    try:
        results = outbox.services.store.commit(_writes(claims))
    except Conflict:
        return [] if len(claims) == 1 else [stored for claim in claims for stored in save_claims(outbox, [claim])]
    return [
        StoredStep(step=apply_change(claim.step, claim.change), version=result.version)
        for claim, result in zip(claims, results, strict=False)
    ]


def save_while(outbox: Outbox, unchanged: StoredStep, decisions: Sequence[Decision], budget: Budget) -> bool:
    """Save the decisions in order, unless someone else changes a given step.

    Returns False if a guard failed, or if the budget was spent before all decisions were saved. Each commit checks and
    renews the version of the step `unchanged`, so any other write guarded by that version takes effect before the first
    of these decisions, after the last, or not at all. One decision may be about that step itself; it is saved first.
    """
    own = [decision for decision in decisions if decision.step.id == unchanged.step.id]
    others = [decision for decision in decisions if decision.step.id != unchanged.step.id]
    version = unchanged.version
    for number, part in enumerate(list(in_parts(others, counting=False)) or [[] for _ in own]):
        if number and budget.is_spent:
            return False
        first = [] if number else own
        touch = Update(
            path=step_path(unchanged.step.run_id, unchanged.step.id),
            fields=change_fields(first[0].change) if first else {},
            increments={"touches": 1},
            guard=version,
        )
        try:
            companions = [companion for decision in first for companion in decision.companions]
            results = outbox.services.store.commit([touch, *companions, *_writes(part)])
        except Conflict:
            return False
        version = results[0].version
        budget.spend(written=len(results))
        for decision in (*first, *part):
            outbox.report_step(decision.step, decision.change)
            _log_change(decision)
    return True


def save_document(services: Services, path: str, read: Document | None, fields: Fields) -> Document | None:
    """Update a document if it is unchanged since `read`, or create it.

    Returns None if someone else wrote the document first.
    """
    fields = {"schema": SCHEMA, **fields}
    write = Create(path=path, fields=fields) if read is None else Update(path=path, fields=fields, guard=read.version)
    try:
        (result,) = services.store.commit([write])
    except (AlreadyExists, Conflict):
        return None
    return Document(path=path, fields=fields, version=result.version)


def save_alone(outbox: Outbox, decisions: Sequence[Decision]) -> Saved:
    """Save decisions without updating the counters of dependents.

    Used for polls, and for steps of a run that is being closed.
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
    except NotStorable as error:
        if len(decisions) == 1:
            return _save_part(outbox, [_fail_instead(outbox, decisions[0], error)], counting=counting)
    # Save each decision alone, so that only outdated ones are refused, and only those that cannot be stored fail.
    saved = Saved(commits=1)
    for decision in decisions:
        saved.add(_save_part(outbox, [decision], counting=counting))
    return saved


def _fail_instead(outbox: Outbox, decision: Decision, error: NotStorable) -> Decision:
    """Fail an attempt whose result can never be stored.

    Values are limited before they get here, so this is a last resort: without it, the attempt would be decided again
    and again. Raises the error if there is no attempt to fail, or if the failure itself cannot be stored.
    """
    step, change = decision.step, None
    if decision.change.event not in {StepEvent.FAIL, StepEvent.RETRY}:
        what = f"its result cannot be stored: {error}"
        outcome = Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.OUTPUTS, message=what)
        change = apply_outcome(step, outcome, now=outbox.services.clock.now())
    if change is None:
        raise error
    return Decision(stored=decision.stored, change=change)


def _commit(
    outbox: Outbox, decisions: Sequence[Decision], claims: Sequence[Decision], *, counting: bool = True
) -> Saved:
    """Commit the decisions atomically.

    Raises `Conflict` if any guard failed.
    """
    ends = [(one.step, one.change) for one in decisions if counting and one.change.is_terminal]
    dependents = count_dependents(ends, without={claim.step.id for claim in claims})
    additions = {name: added for one in decisions if one.change.is_terminal for name, added in one.additions.items()}
    run_id, schema = decisions[0].step.run_id, decisions[0].step.schema
    # Claimed dependents are written with their new counters; the counters of the others are incremented.
    guarded = [*decisions, *claims]
    writes = _writes(guarded)
    increments = [
        Update(
            path=step_path(run_id, step_id),
            fields={**({"cause": counts.cause} if counts.cause else {}), **added.fields},
            increments={"remaining": added.dependencies - counts.ended, **counts.counters(schema)},
        )
        for step_id, counts in dependents.items()
        for added in [additions.get(step_id, Addition())]
    ]
    freeing = _group_by_shard(decisions) if counting else {}
    # The places of ended items are handed on to the next ones.
    handing_on = [
        Update(
            path=step_path(run_id, shard_id),
            increments={**dict.fromkeys(NUMBERS, 0), "next": len(ended), "failed": _count_failed(ended)},
        )
        for shard_id, ended in freeing.items()
    ]
    results = outbox.services.store.commit([*writes, *increments, *handing_on])
    for decision in guarded:
        outbox.report_step(decision.step, decision.change)
        _log_change(decision)
    brought = zip(writes[len(guarded) :], results[len(guarded) : len(writes)], strict=True)
    return Saved(
        versions={one.step.id: result.version for one, result in zip(guarded, results, strict=False)},
        companions={companion.path: result for companion, result in brought},
        released=dict(_released(decisions, dependents, results[len(writes) : len(writes) + len(increments)])),
        freed=[
            Freed(
                step=ended[0].step, shard=read_shard(result.increments), count=len(ended), failed=_count_failed(ended)
            )
            for ended, result in zip(freeing.values(), results[len(writes) + len(increments) :], strict=True)
        ],
        commits=1,
        written=len(results),
    )


def _writes(decisions: Sequence[Decision]) -> list[Update | Upsert]:
    """Return the writes of decisions, in order, followed by their companions."""
    own = [
        Update(path=step_path(one.step.run_id, one.step.id), fields=change_fields(one.change), guard=one.stored.version)
        for one in decisions
    ]
    return [*own, *(companion for one in decisions for companion in one.companions)]


def _group_by_shard(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """Return the decisions that free places, grouped by shard."""
    freeing: dict[str, list[Decision]] = {}
    for decision in decisions:
        if decision.frees_place:
            freeing.setdefault(decision.step.shard, []).append(decision)
    return freeing


def _count_failed(ended: Iterable[Decision]) -> int:
    return sum(count_end(one.step, one.change).unsuccessful for one in ended)


def _released(
    decisions: Sequence[Decision], dependents: Iterable[str], results: Sequence[WriteResult]
) -> Iterator[tuple[str, Release]]:
    """Yield the dependents whose dependencies have all ended."""
    barriers = {name for decision in decisions for name in decision.step.barriers}
    conditional = {name for decision in decisions for name in decision.step.conditional}
    for step_id, result in zip(dependents, results, strict=True):
        counters = result.increments
        if counters["remaining"] > 0:
            continue
        if step_id in conditional:
            yield step_id, Release.DECIDE
            continue
        kind = kind_of(step_id, has_task=step_id not in barriers)
        # In runs with the first schema, only the first two counters are written.
        known = Counters(0, counters["unsuccessful"], counters.get("skipped", 0), counters.get("total", 0))
        release = decide_release(kind, known)
        # Those counters do not show whether all of the dependencies were skipped, so the step has to be read.
        is_unknown = release is Release.SKIP and "total" not in counters
        yield step_id, Release.DECIDE if is_unknown else release


def in_parts(decisions: Sequence[Decision], *, counting: bool = True) -> Iterator[list[Decision]]:
    """Split the decisions into parts that each fit into one commit."""
    part: list[Decision] = []
    touched: set[str] = set()
    texts = 0
    for decision in decisions:
        touches = decision.documents(counting=counting)
        text = decision.text_bytes
        # A dependent shared by several steps is written once. A companion shared by several steps is written in a
        # separate commit for each of them, since each needs its own result.
        together = touched | touches
        is_shared = any(one.path in touched for one in decision.companions)
        is_full = len(together) > MAX_WRITES or len(together) * _DOCUMENT_BYTES + texts + text > MAX_BYTES
        if part and (is_full or is_shared):
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
    if change.undeclared:
        what = f"step {step.id} does not declare these outputs of its job, so they are dropped: {change.undeclared}"
        log.info("step.outputs.dropped", what, **step.names)
