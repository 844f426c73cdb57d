"""Compute the items of a step with `forEach`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Final

from atom_workflows.core.evaluation import Scope, new_budget, render_value
from atom_workflows.core.expansion import MAX_ITEM_BYTES, MAX_ITEMS
from atom_workflows.core.reads import zone_of
from atom_workflows.core.records import Loop, StepRecord
from atom_workflows.core.workflow import JsonValue, Template
from atom_workflows.errors import EvaluationError

_LONGEST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The items of a step.

    They are the elements of one list, or every combination of the elements of several lists. They are built one at a
    time, since all of them together may be many times as large as the lists. At most `max_parallel` of them run at the
    same time; None means no limit.
    """

    lists: Mapping[str, Sequence[JsonValue]]
    max_parallel: int | None = None

    @property
    def count(self) -> int:
        """The number of items, which may be too large for `len`."""
        return prod(len(one) for one in self.lists.values())

    def texts(self, start: int = 0) -> Iterator[str]:
        """Yield the items as JSON text, from the given index on."""
        combinations = (dict(zip(self.lists, values, strict=True)) for values in product(*self.lists.values()))
        items: Iterable[JsonValue] = self.lists.get("", combinations)
        for item in islice(items, start, None):
            yield json.dumps(item, separators=(",", ":"), ensure_ascii=False)


def compute_items(step: StepRecord, loop: Loop, scope: Scope) -> Items:
    """Return the items of a step.

    Raises `ExpressionError` if a value is not a list, there are too many items, or an item is too large.
    """
    budget, zone = new_budget(), zone_of(step.constants)

    def value_of(source: object) -> object:
        return render_value(source, scope, zone=zone, budget=budget) if isinstance(source, Template) else source

    lists = {name: _require_list(name, source, value_of(source)) for name, source in loop.lists.items()}
    items = Items(lists=lists, max_parallel=_require_places(loop.max_parallel, value_of(loop.max_parallel)))
    if items.count > MAX_ITEMS:
        sizes = " x ".join(f"{len(one):,}" for one in lists.values())
        made = f"{sizes} = {items.count:,}" if len(lists) > 1 else f"{items.count:,}"
        raise EvaluationError(f"`forEach` produces {made} items, more than the {MAX_ITEMS:,} allowed", at=0)
    for index, text in enumerate(items.texts()):
        if len(text) * 4 > MAX_ITEM_BYTES and (size := len(text.encode("utf-8", "replace"))) > MAX_ITEM_BYTES:
            said = f"item {index} of `forEach` is {size:,} bytes as JSON, more than the {MAX_ITEM_BYTES:,} allowed"
            raise EvaluationError(said, at=0, suggestion="store large values in files, and list the files' addresses")
    return items


def _require_list(name: str, source: object, value: object) -> Sequence[JsonValue]:
    if isinstance(value, list | tuple):
        return value
    what = f"`forEach.{name}`" if name else "`forEach`"
    where = f" (line {source.line})" if isinstance(source, Template) else ""
    raise EvaluationError(f"{what}{where} must be a list, but its value is {_show(value)}", at=0)


def _require_places(source: object, value: object) -> int | None:
    if source is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value if isinstance(value, int) else None
    where = f" (line {source.line})" if isinstance(source, Template) else ""
    said = f"`maxParallel`{where} must be a whole number of at least 1, but its value is {_show(value)}"
    raise EvaluationError(said, at=0)


def _show(value: object) -> str:
    return f"{json.dumps(value):.{_LONGEST_SHOWN}}"
