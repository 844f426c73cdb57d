"""What a retry must run again by the oracle's rules, on steps as the file has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from atom_workflows.core.item_ids import expander_id, parse_item_id
from atom_workflows.core.states import StepState
from simulation.oracle import End
from simulation.scenario import Scenario, StepPlan


class Names(NamedTuple):
    """The steps and items that a person named, as they are typed."""

    first: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    failed: bool = False
    # True if the step is not run, but ends as a person says.
    is_mark: bool = False

    @classmethod
    def read(cls, command: str) -> Names | None:
        """Read the names in a command; None if it has none."""
        words = command.split()
        if words[0] == "mark":
            return cls(only=(words[1],), is_mark=True)
        pairs = list(pairwise(words))
        first, only = (tuple(name for word, name in pairs if word == option) for option in ("--from", "--only"))
        return cls(first=first, only=only, failed="--failed" in words) if first or only else None


class Named(NamedTuple):
    """What a person named, and the steps that ended in reaction to a failure."""

    names: Names
    reacted: frozenset[str]


def runs_again(
    scenario: Scenario,
    ends: Mapping[str, End | None],
    items: Mapping[str, Mapping[str, End | None]],
    named: Named | None = None,
) -> set[str]:
    """Return the steps and items that a retry of the run runs again, and what creates items again.

    `ends` has a step that has not ended, or does not exist yet, as None. `items` has the items of each loop whose list
    is known, or was not asked for, by id.
    """
    if named is not None:
        return _named_again(scenario, ends, items, named)
    again = set[str]()
    for plan in scenario.all_steps:
        end = ends.get(plan.id)
        is_behind = plan.id in scenario.finally_ids or bool(again & set(plan.depends_on))
        if not is_behind and end is not None and not end.is_failure:
            continue
        again.add(plan.id)
        if plan.loop is not None:
            again |= _items_again(plan, None if is_behind else items.get(plan.id))
    return again


def _items_again(plan: StepPlan, items: Mapping[str, End | None] | None) -> set[str]:
    if items is None:
        return {expander_id(plan.id)}
    return {name for name, end in items.items() if end is None or end.is_failure}


def _named_again(
    scenario: Scenario,
    ends: Mapping[str, End | None],
    items: Mapping[str, Mapping[str, End | None]],
    named: Named,
) -> set[str]:
    names, again = named.names, set[str]()
    # Those behind which everything runs again.
    opened = set[str]()
    for plan in scenario.all_steps:
        end, own_items = ends.get(plan.id), items.get(plan.id)
        of_items = _items_named(own_items, names.first) | _items_named(own_items, names.only)
        is_open = plan.id in {*names.first, *scenario.finally_ids} or bool(opened & set(plan.depends_on))
        is_retried = names.failed and (end is None or end.is_failure)
        did_not_succeed = end is None or end.state is not StepState.SUCCEEDED or plan.id in named.reacted
        follows = did_not_succeed and bool(again & set(plan.depends_on))
        is_only = plan.id in names.only or follows
        opens = is_open or is_retried or bool(_items_named(own_items, names.first))
        if not (opens or is_only or of_items):
            continue
        again.add(plan.id)
        if opens:
            opened.add(plan.id)
        is_marked = names.is_mark and plan.id in names.only
        if plan.loop is not None and (is_open or (is_only and not is_marked)):
            again.add(expander_id(plan.id))
        elif plan.loop is not None and not is_marked:
            again |= of_items | (_items_again(plan, own_items) if is_retried else set())
    return again


def _items_named(items: Mapping[str, End | None] | None, names: Sequence[str]) -> set[str]:
    wanted = {(found.each, found.index) for name in names if (found := parse_item_id(name))}
    return {name for name in items or () if (found := parse_item_id(name)) and (found.each, found.index) in wanted}
