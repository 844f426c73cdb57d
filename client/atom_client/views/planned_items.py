"""The items of a loop in a plan, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from atom_client.planning.fates import Fate
from atom_client.planning.loops import PlannedItem, PlannedItems
from atom_client.planning.partial import MARKS
from atom_client.planning.walk import PlannedStep
from atom_client.text import clip, counted, escaped, listing, one_line
from atom_client.views.plan_parts import json_line, own_fields
from atom_workflows.core.workflow import Step

_LONGEST_ITEM: Final = 80


def planned_items_text(items: PlannedItems, step: Step) -> str:
    """Describe how many items there are, and how many of them run."""
    if items.count is None:
        text = f"one job for each item of {', '.join(one.join(MARKS) for one in items.unknown)}"
    else:
        text = counted(items.count, "item") if items.count else "no items"
    if items.skipped:
        ids = listing([f"{step.id}[{index}]" for index in items.skipped], most=3)
        text += f", {len(items.skipped):,} of them skipped ({ids})"
    if items.undecided and items.count is not None:
        text += f", {items.undecided:,} of them perhaps skipped"
    if items.at_once is not None:
        text += f", at most {items.at_once} at a time"
    tolerate = step.for_each.tolerate if step.for_each is not None else 0
    return f"{text}, {counted(tolerate, 'failure')} tolerated" if tolerate else text


def planned_item_lines(one: PlannedStep, width: int) -> Iterator[str]:
    """Yield lines for the first few items of a loop."""
    if one.items is None:
        return
    for item in one.items.first:
        value = "" if item.index is None else clip(escaped(json_line(item.value)), _LONGEST_ITEM)
        verdict = {Fate.SKIPPED: "skipped", Fate.FAILS: "FAILS"}.get(item.fate, "")
        because = one_line(item.because) if item.fate is not Fate.RUNS else ""
        said = ": ".join(filter(None, (verdict, because)))
        body = escaped(json_line(own_fields(one.step, item.job))) if item.job is not None else ""
        yield f"  {' ' * width}    {_item_id(one.step, item)}  {'  '.join(filter(None, (value, said, body)))}".rstrip()
    more = (one.items.count or 0) - len(one.items.first)
    yield from ([f"  {' ' * width}    and {counted(more, 'more item')}"] if more > 0 else [])


def _item_id(step: Step, item: PlannedItem) -> str:
    return f"{step.id}[{'…' if item.index is None else item.index}]"


def planned_items_object(step: Step, items: PlannedItems) -> dict[str, Any]:
    """Return the items of a step for JSON output."""
    return {
        "count": items.count,
        "unknown": list(items.unknown),
        "skipped": list(items.skipped),
        "undecided": items.undecided,
        "at_once": items.at_once,
        "tolerate": step.for_each.tolerate if step.for_each is not None else 0,
        "first": [
            {
                "id": None if item.index is None else _item_id(step, item),
                "item": item.value,
                "verdict": item.fate.value,
                "because": item.because or None,
                "job": item.job,
                "unknown": list(item.unknown),
            }
            for item in items.first
        ],
    }
