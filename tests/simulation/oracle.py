"""What must become of each step, derived from the workflow and the script alone.

The rules are written down here once more, in other words than the coordinator's, and on what the file says: steps and
what they depend on. Of the compiled graph, of counters and of documents the oracle knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any, Final

from atom_workflows.core.outcomes import OutcomeKind
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import OnLost, Trigger
from simulation import language
from simulation.language import MISSING, Condition, Fact, RetryRule, Source, Value
from simulation.scenario import Ending, Scenario, StepPlan

MAX_LOSSES: Final = 3
"""The number of lost attempts after which a step fails."""

SCRIPTED: Final[Mapping[Ending, OutcomeKind]] = {
    Ending.SUCCEEDS: OutcomeKind.SUCCEEDED,
    Ending.BREAKS_ITS_WORD: OutcomeKind.OUTPUTS,
    Ending.FAILS: OutcomeKind.FAILED,
    Ending.IS_CANCELLED: OutcomeKind.CANCELLED,
    Ending.IS_REFUSED: OutcomeKind.REFUSED,
    Ending.VANISHES: OutcomeKind.LOST,
    Ending.NEVER_ENDS: OutcomeKind.TIMED_OUT,
}
"""The outcome of an attempt if nothing but the script decides."""

KINDS: Final[Mapping[OutcomeKind, str]] = {
    OutcomeKind.FAILED: "failed",
    OutcomeKind.TIMED_OUT: "timeout",
    OutcomeKind.REFUSED: "refused",
    OutcomeKind.CANCELLED: "cancelled",
    OutcomeKind.LOST: "lost",
    OutcomeKind.OUTPUTS: "outputs",
    OutcomeKind.EXPRESSION: "expression",
}
"""The kinds of failures by the words of the language."""

_USUALLY_RETRIED: Final = {"failed", "timeout", "outputs"}


class NoAnswerError(Exception):
    """An expression cannot be evaluated."""


# -- how a step ended, and what that is to others --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a step ended. `is_tolerated` says that it failed and may, `by_choice` that it was skipped and nothing failed.

    `outputs` are what its job returned; None if it has none. `counts` are the numbers of its items, if it is a loop: in
    total, and of those that succeeded, failed, and were skipped.
    """

    state: StepState
    is_tolerated: bool = False
    by_choice: bool = False
    outputs: Mapping[str, Any] | None = None
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def is_failure(self) -> bool:
        """True if it is one to its dependents: it failed and must not, or something before it did."""
        return self.state is not StepState.SUCCEEDED and not (self.is_tolerated or self.by_choice)

    @property
    def fails_run(self) -> bool:
        """True if its run fails with it."""
        return self.state in {StepState.FAILED, StepState.CANCELLED} and not self.is_tolerated

    @property
    def failures(self) -> int:
        """The number of failures that it adds to those of its run: its own, and those of its items."""
        return 1 + self.counts[2] if self.fails_run else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What expressions may read: the mode, the ends of steps, and of the main part once it has ended.

    `last` is how the attempt before this one failed, and why. An item has an `item` and its place in the list.
    """

    mode: str = ""
    ends: Mapping[str, End] = field(default_factory=dict)
    attempt: int = 0
    last: tuple[str, str] | None = None
    main_state: str = ""
    failures: int = 0
    is_nothing_started: bool = False
    item: Any = None
    index: int | None = None


class Fate(StrEnum):
    """What becomes of a step once all that it depends on has ended."""

    RUNS = "runs"
    # Something before it failed.
    IS_BLOCKED = "is blocked"
    # Its trigger or condition says so, or nothing was left to run after.
    IS_SKIPPED = "is skipped by choice"
    # Its condition has no answer.
    FAILS = "fails"


def fate(scenario: Scenario, plan: StepPlan, facts: Facts) -> Fate:
    """Return what becomes of a step whose dependencies have all ended."""
    needs = [facts.ends[need] for need in plan.depends_on]
    # A person may have marked a step before it as succeeded, although nothing was started.
    if plan.id in scenario.finally_ids and facts.is_nothing_started and not any(map(_has_succeeded, needs)):
        return Fate.IS_SKIPPED
    fated = triggered(plan.trigger, needs)
    if fated is not Fate.RUNS or plan.own_condition is None:
        return fated
    try:
        return Fate.RUNS if holds(plan.own_condition, facts) else Fate.IS_SKIPPED
    except NoAnswerError:
        return Fate.FAILS


def _has_succeeded(end: End) -> bool:
    return end.state is StepState.SUCCEEDED


def triggered(trigger: Trigger, needs: Sequence[End]) -> Fate:
    """Return what a trigger makes of a step whose dependencies ended like this."""
    if trigger is Trigger.ALWAYS:
        return Fate.RUNS
    if any(end.is_failure for end in needs):
        return Fate.RUNS if trigger is Trigger.ANY_FAILED else Fate.IS_BLOCKED
    if trigger is Trigger.ANY_FAILED:
        return Fate.IS_SKIPPED
    if trigger is Trigger.ALL_SUCCEEDED:
        return Fate.IS_SKIPPED if any(end.by_choice for end in needs) else Fate.RUNS
    return Fate.IS_SKIPPED if needs and all(end.by_choice for end in needs) else Fate.RUNS


# -- expressions -----------------------------------------------------------------------------------------------------


def holds(condition: Condition, facts: Facts) -> bool:
    """Return whether a condition is true.

    Raises `NoAnswerError`.
    """
    match condition:
        case language.Not(of):
            return not holds(of, facts)
        case language.Both(first, second):
            return holds(first, facts) and holds(second, facts)
        case language.Either(first, second):
            return holds(first, facts) or holds(second, facts)
    return _is_true(condition, facts)


def _is_true(fact: Fact, facts: Facts) -> bool:  # noqa: C901, PLR0911 (one answer for each kind of fact)
    match fact:
        case language.ItemIsMore(name, than):
            return _part(name, facts, MISSING) > than
        case language.IndexIs(index):
            return facts.index == index
        case language.ItemDivides(name):
            return _six_by(_part(name, facts, 0)) > 1
        case language.MoreFailed(step, than):
            return facts.ends[step].counts[2] > than
        case language.ModeIs(mode):
            return facts.mode == mode
        case language.IsMore(step, than):
            return _number(step, facts, MISSING) > than
        case language.HasNumber(step):
            return facts.ends[step].outputs is not None
        case language.HasEnded(step, state):
            return facts.ends[step].state is state
        case language.Divides(step):
            return _six_by(_number(step, facts, 0)) > 1
        case language.MainIs(state):
            return facts.main_state == state
        case language.MoreFailures(than):
            return facts.failures > than


def value(of: Value, facts: Facts) -> Any:  # noqa: C901, PLR0911, PLR0912 (one answer for each kind of value)
    """Return a value as jobs get it.

    Raises `NoAnswerError`.
    """
    match of:
        case language.Item(name):
            return _part(name, facts, MISSING)
        case language.Index():
            return facts.index
        case language.ItemQuotient(name):
            return _six_by(_part(name, facts, 0))
        case language.Numbers(step):
            return list((facts.ends[step].outputs or {}).get("n", []))
        case language.Jobs(step):
            return list((facts.ends[step].outputs or {}).get("job", []))
        case language.Ended(step):
            return "/".join(map(str, facts.ends[step].counts))
        case language.Mode():
            return f"in mode {facts.mode}"
        case language.Number(step):
            return _number(step, facts, MISSING)
        case language.Job(step):
            return str((facts.ends[step].outputs or {}).get("job", "none"))
        case language.State(step):
            return facts.ends[step].state.value
        case language.Quotient(step):
            return _six_by(_number(step, facts, 0))
        case language.Attempt():
            return facts.attempt
        case language.Last():
            return " ".join(facts.last or ("none", ""))
        case language.MainState():
            return facts.main_state


def values(of: Iterable[tuple[str, Value]], facts: Facts) -> dict[str, Any] | None:
    """Return named values.

    None if one of them has no answer.
    """
    try:
        return {name: value(one, facts) for name, one in of}
    except NoAnswerError:
        return None


def _number(step: str, facts: Facts, otherwise: int) -> int:
    outputs = facts.ends[step].outputs
    return otherwise if outputs is None else int(outputs["n"])


def _part(name: str, facts: Facts, otherwise: int) -> int:
    part = facts.item[name] if name else facts.item
    return otherwise if part is None else int(part)


def _six_by(number: int) -> int:
    if not number:
        raise NoAnswerError
    return 6 // number


def items_of(plan: StepPlan, facts: Facts) -> list[Any]:
    """Return the items of a loop, in order.

    Raises `NoAnswerError` if one of its lists is none.
    """
    assert plan.loop is not None
    lists = [_elements(source, facts) for _, source in plan.loop.lists]
    if plan.loop.names == [""]:
        return list(lists[0])
    return [dict(zip(plan.loop.names, combined, strict=True)) for combined in product(*lists)]


def _elements(source: Source, facts: Facts) -> Sequence[Any]:
    match source:
        case language.Written(items):
            return items
        case language.UpTo(step):
            return range(_number(step, facts, 0))
        case language.UpToQuotient(step):
            return range(_six_by(_number(step, facts, 0)))
        case language.Gathered(step):
            return list((facts.ends[step].outputs or {}).get("n", []))


# -- attempts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """The tries and losses of a step's earlier attempts."""

    tries: int = 0
    losses: int = 0


def after(plan: StepPlan, tally: Tally, kind: OutcomeKind, attempt: int) -> tuple[StepState, Tally]:
    """Return the step's state and tally after the outcome of this attempt.

    The state is RETRYING, or the step's end.
    """
    if kind is OutcomeKind.SUCCEEDED:
        return StepState.SUCCEEDED, tally
    end = StepState.CANCELLED if kind is OutcomeKind.CANCELLED else StepState.FAILED
    if kind is OutcomeKind.LOST:
        lost = Tally(tally.tries, tally.losses + 1)
        ends = plan.on_lost is OnLost.FAIL or lost.losses >= MAX_LOSSES
        return (end if ends else StepState.RETRYING), lost
    tried = Tally(tally.tries + 1, tally.losses)
    ends = tried.tries >= plan.max_attempts or not is_retried(plan.retried, *failure(plan, kind, attempt))
    return (end if ends else StepState.RETRYING), tried


def failure(plan: StepPlan, kind: OutcomeKind, attempt: int) -> tuple[str, str]:
    """Return the kind and the reason of a failed attempt, in the words of the language."""
    is_reported = kind in {OutcomeKind.FAILED, OutcomeKind.CANCELLED}
    return KINDS[kind], plan.reason(attempt) if is_reported else ""


def is_retried(rule: RetryRule | None, kind: str, reason: str) -> bool:
    """Return True if such a failure is tried again, as long as there are tries."""
    if rule is None:
        return kind in _USUALLY_RETRIED
    return not rule.is_broken and (kind in rule.kinds or reason in rule.reasons)


def is_tolerated(plan: StepPlan, kind: OutcomeKind) -> bool:
    """Return True if a step that ended with such an outcome may have failed."""
    return plan.allows_failure and kind not in {OutcomeKind.SUCCEEDED, OutcomeKind.EXPRESSION}


def scripted_end(plan: StepPlan, facts: Facts) -> End:
    """Return the end of a step that runs, if only its script decides."""
    if not plan.has_task:
        return End(state=StepState.SUCCEEDED)
    state, kind, tally, attempt = StepState.RETRYING, OutcomeKind.LOST, Tally(), 0
    has_body = values(plan.args, facts) is not None
    while state is StepState.RETRYING:
        attempt += 1
        kind = SCRIPTED[plan.ending(attempt)] if has_body else OutcomeKind.EXPRESSION
        state, tally = after(plan, tally, kind, attempt)
    outputs = {"n": plan.number(attempt)} if plan.numbers and state is StepState.SUCCEEDED else None
    return End(state=state, is_tolerated=is_tolerated(plan, kind), outputs=outputs)
