"""Evaluate a loop's fields as in a run: lists, combinations and `maxParallel`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from atom_client.planning.partial import NotKnown, with_marks
from atom_workflows.core.evaluation import render_value
from atom_workflows.core.workflow import ForEach, JsonValue, Template
from atom_workflows.errors import EvaluationError


def evaluate_list(
    name: str, source: Sequence[JsonValue] | Template, scope: Mapping[str, Any], zone: str
) -> Sequence[JsonValue]:
    """Return one of the lists of a loop.

    Raises `NotKnown` if it depends on unknown values, and `ExpressionError` if it cannot be computed or is not a list.
    """
    if not isinstance(source, Template):
        return source
    value = render_value(source, scope, zone=zone)
    if isinstance(value, list):
        return value
    path = f"forEach.{name}" if name else "forEach"
    said = f"`{path}` (line {source.line}) must be a list, but its value is {json.dumps(value):.60}"
    raise EvaluationError(said, at=0)


def evaluate_limit(loop: ForEach, scope: Mapping[str, Any], zone: str) -> int | str | None:
    """Return how many items may run at once.

    Returns the source of the limit if its value is not known, and None if there is no limit.
    """
    limit = loop.max_parallel
    if not isinstance(limit, Template):
        return limit
    try:
        value = render_value(limit, scope, zone=zone)
    except NotKnown:
        return with_marks(limit, scope, zone=zone)[0].text
    if isinstance(value, int) and value >= 1:
        return value
    due = "must be a whole number of at least 1, but its value is"
    raise EvaluationError(f"`maxParallel` (line {limit.line}) {due} {json.dumps(value):.60}", at=0)


def combine_lists(lists: Mapping[str, Sequence[JsonValue]]) -> Iterator[JsonValue]:
    """Yield the items of a loop.

    They are the items of its only list, or all combinations of the items of several lists.
    """
    if "" in lists:
        yield from lists[""]
    else:
        yield from (dict(zip(lists, values, strict=True)) for values in product(*lists.values()))
