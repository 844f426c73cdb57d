"""Plan the items of a loop.

A plan says how many there are and which of them are skipped, and holds the first few. Lists are computed as in a run if
everything they read is known. Items are built one at a time, and only a limited number of their conditions are
evaluated, since a loop may have 10,000 large items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from typing import Any, Final

from atom_client.planning.fates import Fate
from atom_client.planning.loop_fields import combine_lists, evaluate_limit, evaluate_list
from atom_client.planning.partial import NotKnown, Partial, judge, spell, with_marks
from atom_workflows.core.workflow import Condition, ForEach, JsonValue, Template
from atom_workflows.errors import EvaluationError, ExpressionError, OverBudget
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.types import read_value
from atom_workflows.language.limits import MAX_ITEMS

MOST_PLANNED: Final = 5
"""The number of items whose jobs are planned."""

STEPS_OF_CONDITIONS: Final = 1_000_000
"""The budget of evaluation steps for the conditions of all items in a plan; using it up takes a few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedItem:
    """A planned item.

    If the items are not known, one item stands for all of them: its `index` is None, and it has no `value`. The other
    fields are the same as in a planned step.
    """

    index: int | None = None
    value: JsonValue = None
    fate: Fate = Fate.RUNS
    because: str = ""
    job: Mapping[str, JsonValue] | None = None
    unknown: tuple[str, ...] = ()

    @property
    def failure(self) -> str:
        """Why the item fails, to be appended to the step's name."""
        return f"[{self.index}]: {self.because}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedItems:
    """The planned items of a loop.

    `count` is None if a list is not known; `unknown` holds the sources of such lists. `skipped` holds the indexes of
    the items that their condition skips, and `undecided` is the number of items whose condition could not be decided.
    `failing` is the number of items found to have expressions that cannot be evaluated, and `failure` is the reason for
    the first of them. `at_once` is the number of items that may run at the same time, or its source if it is not known.
    `first` holds the first few items.
    """

    count: int | None = None
    unknown: tuple[str, ...] = ()
    skipped: tuple[int, ...] = ()
    undecided: int = 0
    failing: int = 0
    failure: str = ""
    at_once: int | str | None = None
    first: tuple[PlannedItem, ...] = ()

    def with_jobs(self, first: tuple[PlannedItem, ...]) -> PlannedItems:
        """Return a copy with these `first` items, whose jobs are now planned.

        An item that stands for all items of an unknown list is never certain to fail, as the list may be empty.
        """
        if self.count is None:
            return replace(self, first=first)
        before = {item.index for item in self.first if item.fate is Fate.FAILS}
        failed = [item for item in first if item.fate is Fate.FAILS and item.index not in before]
        failure = self.failure or (failed[0].failure if failed else "")
        return replace(self, first=first, failing=self.failing + len(failed), failure=failure)


def plan_items(
    loop: ForEach, when: Condition | None, scope: Mapping[str, Any], *, zone: str, budget: Budget
) -> PlannedItems:
    """Plan the items of a loop, but not their jobs.

    `when` is the condition of each item, if any. All loops of a plan share the budget for conditions; once it is spent,
    the conditions of further items are left undecided. Raises `ExpressionError` if the lists or the limit cannot be
    computed, or if there are too many items.
    """
    at_once = evaluate_limit(loop, scope, zone)
    lists: dict[str, Sequence[JsonValue]] = {}
    unknown: list[str] = []
    for name, source in loop.lists.items():
        try:
            lists[name] = evaluate_list(name, source, scope, zone)
        except NotKnown:
            unknown += with_marks(source, scope, zone=zone)[1] if isinstance(source, Template) else []
    if unknown:
        item = _decide_in_words(PlannedItem(), loop, when, scope, zone)
        undecided = int(item.fate is Fate.DEPENDS)
        return PlannedItems(unknown=tuple(unknown), undecided=undecided, at_once=at_once, first=(item,))
    count = prod(map(len, lists.values()))
    if count > MAX_ITEMS:
        raise EvaluationError(f"`forEach` gives {count:,} items, more than the {MAX_ITEMS:,} allowed", at=0)
    items = (PlannedItem(index=index, value=value) for index, value in enumerate(combine_lists(lists)))
    first = tuple(_decide_in_words(item, loop, when, scope, zone) for item in islice(items, MOST_PLANNED))
    others = () if when is None else _decide_others(items, loop, when, scope, zone, budget)
    decided = [*first, *others]
    failing = [item for item in decided if item.fate is Fate.FAILS]
    return PlannedItems(
        count=count,
        skipped=tuple(item.index for item in decided if item.fate is Fate.SKIPPED and item.index is not None),
        undecided=sum(item.fate is Fate.DEPENDS for item in decided),
        failing=len(failing),
        failure=failing[0].failure if failing else "",
        at_once=at_once,
        first=first,
    )


def scope_of_item(item: PlannedItem, loop: ForEach, scope: Mapping[str, Any], zone: str) -> Mapping[str, Any]:
    """Return the scope that an item's expressions can read."""
    if item.index is None:
        return Partial(scope, frozenset({"item", "index"}))
    return {**scope, "item": read_value(item.value, loop.item_type, zone=zone), "index": item.index}


def _decide_in_words(
    item: PlannedItem, loop: ForEach, when: Condition | None, scope: Mapping[str, Any], zone: str
) -> PlannedItem:
    """Decide whether an item runs, and say why."""
    if when is None:
        return item
    verdict = judge(when, scope_of_item(item, loop, scope, zone), zone=zone)
    if verdict is None:
        return replace(item, fate=Fate.DEPENDS, because=f"depends on `{spell(when)}`")
    if verdict.error:
        return replace(item, fate=Fate.FAILS, because=verdict.error)
    return replace(item, fate=Fate.RUNS if verdict.holds else Fate.SKIPPED, because=verdict.because)


def _decide_others(  # noqa: PLR0913, PLR0917  # what all of them share
    items: Iterator[PlannedItem], loop: ForEach, when: Condition, scope: Mapping[str, Any], zone: str, budget: Budget
) -> Iterator[PlannedItem]:
    """Decide whether items run, as far as the budget allows."""
    expression = parse(when.text)
    for item in items:
        try:
            holds = evaluate(expression, scope_of_item(item, loop, scope, zone), zone=zone, budget=budget)
        except (NotKnown, OverBudget):
            yield PlannedItem(index=item.index, fate=Fate.DEPENDS)
        except ExpressionError as error:
            said = f"`when` (line {when.line}) cannot be evaluated: {error}"
            yield PlannedItem(index=item.index, fate=Fate.FAILS, because=said)
        else:
            yield PlannedItem(index=item.index, fate=Fate.RUNS if holds is True else Fate.SKIPPED)
