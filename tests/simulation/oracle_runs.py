"""How whole runs must end by the oracle's rules, what their retries run again, and how long they may take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from atom_workflows.core.item_ids import item_id
from atom_workflows.core.states import StepState
from simulation.oracle import MAX_LOSSES, End, Facts, Fate, NoAnswerError, fate, items_of, scripted_end
from simulation.scenario import Ending, Scenario, StepPlan

_MOST_ITEMS: Final = 9


def expected_ends(
    scenario: Scenario, excused: Mapping[str, End], kept: Mapping[str, End] = MappingProxyType({})
) -> dict[str, End]:
    """Return the end of every step of an undisturbed run.

    `excused` are those that faults rightly made end otherwise, and `kept` those that ended in another run.
    """
    facts = Facts(mode=scenario.mode, ends=kept)
    facts = _with_ends(scenario, scenario.steps, facts, excused)
    failures = sum(end.failures for end in facts.ends.values())
    main = replace(
        facts,
        main_state="FAILED" if failures else "SUCCEEDED",
        failures=failures,
        is_nothing_started=not any(fate(scenario, one, facts) in {Fate.RUNS, Fate.FAILS} for one in scenario.steps),
    )
    return dict(_with_ends(scenario, scenario.finally_steps, main, excused).ends)


def _with_ends(scenario: Scenario, plans: Iterable[StepPlan], facts: Facts, excused: Mapping[str, End]) -> Facts:
    for plan in plans:
        end = facts.ends.get(plan.id) or _end(scenario, plan, facts, excused)
        facts = replace(facts, ends={**facts.ends, plan.id: end})
    return facts


def _end(scenario: Scenario, plan: StepPlan, facts: Facts, excused: Mapping[str, End]) -> End:
    fated = fate(scenario, plan, facts)
    if fated is Fate.FAILS:
        return End(state=StepState.FAILED)
    if fated is not Fate.RUNS:
        return End(state=StepState.SKIPPED, by_choice=fated is Fate.IS_SKIPPED)
    if plan.loop is not None:
        return _end_of_loop(scenario, plan, facts, excused)
    name = plan.id if plan.index is None else item_id(plan.id, plan.index, 1)
    return excused.get(name) or scripted_end(plan, facts)


def _end_of_loop(scenario: Scenario, plan: StepPlan, facts: Facts, excused: Mapping[str, End]) -> End:
    try:
        items = items_of(plan, facts)
    except NoAnswerError:
        return End(state=StepState.FAILED)
    ends = [
        _end(scenario, plan.of_item(index, item), replace(facts, index=index, item=item), excused)
        for index, item in enumerate(items)
    ]
    return end_of_items(scenario, plan, ends)


def count_items(ends: Sequence[End]) -> tuple[int, int, int, int]:
    """Return how many items there are, and how many succeeded, failed and were skipped.

    Those that were not started, since too many had failed or a stop came first, are none of these.
    """
    failed = sum(end.state in {StepState.FAILED, StepState.CANCELLED} for end in ends)
    succeeded = sum(end.state is StepState.SUCCEEDED for end in ends)
    return len(ends), succeeded, failed, sum(end.by_choice for end in ends)


def end_of_items(scenario: Scenario, plan: StepPlan, ends: Sequence[End]) -> End:
    """Return the end of a loop whose items have ended like this."""
    assert plan.loop is not None
    counts = total, succeeded, _, skipped = count_items(ends)
    # A retry of named items leaves the others as they are, so some may not have been started although none failed.
    if total - succeeded - skipped > plan.loop.tolerate:
        return End(state=StepState.FAILED, is_tolerated=plan.allows_failure, counts=counts)
    gathered = {name: [(end.outputs or {}).get(name) for end in ends] for name in scenario.gathers[plan.id]}
    has_outputs = bool(plan.numbers and gathered)
    return End(state=StepState.SUCCEEDED, outputs=gathered if has_outputs else None, counts=counts)


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
    # Before the items of a loop, and behind them.
    around_s = 0.0 if plan.loop is None else 2 * slack_s
    attempts = plan.max_attempts + MAX_LOSSES
    slowest = plan.timeout_s if Ending.NEVER_ENDS in plan.all_endings else plan.duration_s
    back_off_s = plan.backoff_s * 2.0**plan.max_attempts
    times = attempts if plan.all_endings != {Ending.SUCCEEDS} else 1
    # Where items take turns, an audit may have to find each of the next ones.
    turns = 1 if plan.loop is None or plan.loop.max_parallel is None else -(-_MOST_ITEMS // plan.loop.max_parallel)
    return around_s + (slowest + back_off_s + 2 * slack_s * (turns > 1) + slack_s) * times * turns
