"""How a step with `forEach` counts its items, and what it gathers."""

from __future__ import annotations

from typing import Any

import pytest

from atom_workflows.core.gathering import counts_of, gathered_types
from atom_workflows.core.workflow import Condition
from atom_workflows.expressions.types import INT, TEXT, ListOf, or_null, write_type
from support.loops import each, step, template, workflow


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({}, (0, 0, 0, 0)),
        ({"total": 1}, (0, 0, 0, 0)),
        # It was blocked, or skipped by choice.
        ({"total": 1, "unsuccessful": 1}, (0, 0, 0, 0)),
        ({"total": 1, "skipped": 1}, (0, 0, 0, 0)),
        ({"total": 11, "items": 10, "unsuccessful": 2, "skipped": 3}, (10, 5, 2, 3)),
        # A stop ended six items.
        ({"total": 5, "items": 10, "unsuccessful": 1}, (10, 3, 1, 0)),
        # A stop ended all of them.
        ({"total": 1, "items": 10}, (10, 0, 0, 0)),
    ],
)
def test_items_are_counted_by_how_they_ended(fields: dict[str, int], counts: tuple[int, ...]) -> None:
    """The node that created them does not count."""
    assert tuple(counts_of(fields).values()) == counts


TRAIN: dict[str, Any] = {"for_each": each([1]), "outputs": {"auc": INT, "note": or_null(TEXT)}}


@pytest.mark.parametrize(
    ("reads", "gathered"),
    [
        ("1", []),
        ("steps.train.counts.total", []),
        ("steps.train.state", []),
        ("steps.train.outputs.auc", ["auc"]),
        ("steps.train.outputs['note'][0]", ["note"]),
        ("steps.train.outputs", ["auc", "note"]),
        ("has(steps.train)", ["auc", "note"]),
        ("json(steps)", ["auc", "note"]),
        ("steps.other.outputs.auc", []),
    ],
)
@pytest.mark.parametrize("place", ["task", "when", "forEach", "outputs", "finally"])
def test_only_outputs_that_an_expression_reads_are_gathered(reads: str, gathered: list[str], place: str) -> None:
    """Wherever in the file the expression stands."""
    last = {
        "task": [step("last", "train", args={"x": reads})],
        "when": [step("last", "train", when=Condition(text=reads))],
        "forEach": [step("last", "train", for_each=each(reads))],
    }.get(place, [])
    ends = [step("end", args={"x": reads})] if place == "finally" else []
    outputs = [template(reads, "x")] if place == "outputs" else []
    flow = workflow(step("train", **TRAIN), *last, finally_steps=tuple(ends), outputs=tuple(outputs))
    assert list(gathered_types(flow).get("train", {})) == gathered


@pytest.mark.parametrize(
    ("fields", "of"),
    [
        ({}, ListOf(INT)),
        ({"for_each": each([1], tolerate=1)}, ListOf(or_null(INT))),
        ({"when": Condition(text="item > 0")}, ListOf(or_null(INT))),
        ({"when": Condition(text="params.x")}, ListOf(INT)),
    ],
)
def test_what_may_be_missing_is_null(fields: dict[str, Any], of: ListOf) -> None:
    """An element may be null if an item may be skipped, or its failure tolerated."""
    flow = workflow(step("train", **{**TRAIN, **fields}), step("last", "train", args={"x": "steps.train.outputs.auc"}))
    assert write_type(gathered_types(flow)["train"]["auc"]) == write_type(of)
