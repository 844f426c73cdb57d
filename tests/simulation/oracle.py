"""What must become of each step, derived from the workflow and the script alone.

The rules are written down here once more, in other words than the coordinator's, and on what the file says: steps and
what they depend on. Of the compiled graph, of counters and of documents the oracle knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from atom_workflows.core.outcomes import OutcomeKind
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import OnLost, Trigger
from simulation import language
from simulation.language import MISSING, Condition, Fact, RetryRule, Value
from simulation.scenario import Ending, Scenario, StepPlan

_MAX_LOSSES: Final = 3

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

    `outputs` are what its job returned; None if it has none.
    """

    state: StepState
    is_tolerated: bool = False
    by_choice: bool = False
    outputs: Mapping[str, Any] | None = None

    @property
    def is_failure(self) -> bool:
        """True if it is one to its dependents: it failed and must not, or something before it did."""
        return self.state is not StepState.SUCCEEDED and not (self.is_tolerated or self.by_choice)

    @property
    def fails_run(self) -> bool:
        """True if its run fails with it."""
        return self.state in {StepState.FAILED, StepState.CANCELLED} and not self.is_tolerated


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What expressions may read: the mode, the ends of steps, and of the main part once it has ended.

    `last` is how the attempt before this one failed, and why.
    """

    mode: str = ""
    ends: Mapping[str, End] = field(default_factory=dict)
    attempt: int = 0
    last: tuple[str, str] | None = None
    main_state: str = ""
    failures: int = 0
    is_nothing_started: bool = False


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
    if plan.id in scenario.finally_ids and facts.is_nothing_started:
        return Fate.IS_SKIPPED
    fated = _triggered(plan.trigger, [facts.ends[need] for need in plan.depends_on])
    if fated is not Fate.RUNS or plan.when is None:
        return fated
    try:
        return Fate.RUNS if holds(plan.when, facts) else Fate.IS_SKIPPED
    except NoAnswerError:
        return Fate.FAILS


def _triggered(trigger: Trigger, needs: Sequence[End]) -> Fate:
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


def _is_true(fact: Fact, facts: Facts) -> bool:  # noqa: PLR0911 (one answer for each kind of fact)
    match fact:
        case language.ModeIs(mode):
            return facts.mode == mode
        case language.IsMore(step, than):
            return _number(step, facts, MISSING) > than
        case language.HasNumber(step):
            return facts.ends[step].outputs is not None
        case language.HasEnded(step, state):
            return facts.ends[step].state is state
        case language.Divides(step):
            return _six_by(step, facts) > 1
        case language.MainIs(state):
            return facts.main_state == state
        case language.MoreFailures(than):
            return facts.failures > than


def value(of: Value, facts: Facts) -> str | int:  # noqa: PLR0911 (one answer for each kind of value)
    """Return a value as jobs get it.

    Raises `NoAnswerError`.
    """
    match of:
        case language.Mode():
            return f"in mode {facts.mode}"
        case language.Number(step):
            return _number(step, facts, MISSING)
        case language.Job(step):
            return str((facts.ends[step].outputs or {}).get("job", "none"))
        case language.State(step):
            return facts.ends[step].state.value
        case language.Quotient(step):
            return _six_by(step, facts)
        case language.Attempt():
            return facts.attempt
        case language.Last():
            return " ".join(facts.last or ("none", ""))
        case language.MainState():
            return facts.main_state


def values(of: Iterable[tuple[str, Value]], facts: Facts) -> dict[str, str | int] | None:
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


def _six_by(step: str, facts: Facts) -> int:
    number = _number(step, facts, 0)
    if not number:
        raise NoAnswerError
    return 6 // number


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
        ends = plan.on_lost is OnLost.FAIL or lost.losses >= _MAX_LOSSES
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


# -- runs ------------------------------------------------------------------------------------------------------------


def expected_ends(scenario: Scenario, excused: Mapping[str, End]) -> dict[str, End]:
    """Return the end of every step of an undisturbed run.

    `excused` are those that faults rightly made end otherwise.
    """
    facts = Facts(mode=scenario.mode)
    facts = _with_ends(scenario, scenario.steps, facts, excused)
    failures = sum(end.fails_run for end in facts.ends.values())
    main = replace(
        facts,
        main_state="FAILED" if failures else "SUCCEEDED",
        failures=failures,
        is_nothing_started=not any(fate(scenario, one, facts) in {Fate.RUNS, Fate.FAILS} for one in scenario.steps),
    )
    return dict(_with_ends(scenario, scenario.finally_steps, main, excused).ends)


def _with_ends(scenario: Scenario, plans: Iterable[StepPlan], facts: Facts, excused: Mapping[str, End]) -> Facts:
    for plan in plans:
        end = _end(plan, fate(scenario, plan, facts), facts, excused)
        facts = replace(facts, ends={**facts.ends, plan.id: end})
    return facts


def _end(plan: StepPlan, fated: Fate, facts: Facts, excused: Mapping[str, End]) -> End:
    if fated is Fate.RUNS:
        return excused.get(plan.id) or scripted_end(plan, facts)
    if fated is Fate.FAILS:
        return End(state=StepState.FAILED)
    return End(state=StepState.SKIPPED, by_choice=fated is Fate.IS_SKIPPED)


def runs_again(scenario: Scenario, ends: Mapping[str, End | None]) -> set[str]:
    """Return the steps that a retry of the run runs again.

    `ends` has a step that has not ended, or does not exist yet, as None.
    """
    again = set(scenario.finally_ids)
    for plan in scenario.steps:
        end = ends.get(plan.id)
        if end is None or end.is_failure or again & set(plan.depends_on):
            again.add(plan.id)
    return again


def longest_path_s(scenario: Scenario, slack_s: float) -> float:
    """Return the longest time that the graph may take.

    In seconds, if every step takes as long as its script allows, with the slack.
    """
    return _longest_path_s(scenario.steps, slack_s) + finally_s(scenario, slack_s)


def finally_s(scenario: Scenario, slack_s: float) -> float:
    """Return the longest time that the steps under `finally` may take, in seconds."""
    if not scenario.finally_steps:
        return 0.0
    return min(_longest_path_s(scenario.finally_steps, slack_s), scenario.finally_timeout_s + slack_s)


def _longest_path_s(plans: Iterable[StepPlan], slack_s: float) -> float:
    ends: dict[str, float] = {}
    for plan in plans:
        begins = max((ends[need] for need in plan.depends_on), default=0.0)
        ends[plan.id] = begins + _longest_s(plan, slack_s)
    return max(ends.values())


def _longest_s(plan: StepPlan, slack_s: float) -> float:
    if not plan.has_task:
        return 0.0
    attempts = plan.max_attempts + _MAX_LOSSES
    slowest = plan.timeout_s if Ending.NEVER_ENDS in plan.endings else plan.duration_s
    back_off_s = plan.backoff_s * 2.0**plan.max_attempts
    return (slowest + back_off_s + slack_s) * (attempts if set(plan.endings) != {Ending.SUCCEEDS} else 1)
