"""Runs that keep steps of an ended one, under the simulator: deaths, redeliveries, and bugs that are planted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from atom_workflows.coordinator import reuse
from atom_workflows.coordinator.reuse import ReuseGraph
from atom_workflows.coordinator.run_graph import RunGraph
from atom_workflows.core.records import StepRecord
from atom_workflows.core.reuse import Judgment, What, judge
from atom_workflows.core.states import RunState, StepState
from atom_workflows.ports import Create
from simulation.edits import draw_repaired
from simulation.play import play
from simulation.repaired import RepairWatch

SEEDS = 60


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging, as no one reads what so many runs would log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_seed_breaks_a_rule_and_all_kinds_of_steps_are_kept() -> None:
    """Each new run keeps just the steps that it should, ends, and gives no job to a kept step."""
    ended, kept = Counter[RunState](), Counter[str]()
    for seed in range(SEEDS):
        one = play(draw_repaired(seed))
        assert not one.findings, f"seed {seed}: {one.findings}"
        watch = one.flows[1].watch
        assert isinstance(watch, RepairWatch)
        assert watch.run is not None
        ended[watch.run.state] += 1
        for name, end in watch.kept.items():
            plan = watch.scenario.by_id[name]
            kept["loops"] += plan.loop is not None
            kept["steps with outputs"] += bool(plan.numbers)
            kept["barriers"] += not plan.has_task
            kept["skipped steps"] += end.by_choice
        kept["others"] += len(watch.scenario.steps) - len(watch.kept)
    assert ended[RunState.SUCCEEDED] > SEEDS // 3
    assert min(kept.values()) > 0


def test_a_repair_plays_the_same_every_time() -> None:
    """A seed gives the same trace every time."""
    first, second = play(draw_repaired(7)), play(draw_repaired(7))
    assert list(first.trace.lines()) == list(second.trace.lines())


# -- planted bugs ----------------------------------------------------------------------------------------------------


def keep_what_follows(*of: Any) -> Judgment:
    """Keep the steps behind those that run again."""
    found = judge(*of)
    choices = [one._replace(what=What.KEEP) if one.why.endswith("runs again") else one for one in found.choices]
    return replace(found, choices=tuple(choices))


def forget_new_dependencies(*of: Any) -> Judgment:
    """Keep a step that depends on another one than before."""
    found = judge(*of)
    choices = [
        one._replace(what=What.KEEP) if one.why.startswith("it now depends on") else one for one in found.choices
    ]
    return replace(found, choices=tuple(choices))


def without_outputs(graph: ReuseGraph, paths: Iterable[str]) -> Iterator[Create]:
    """Copy steps without their outputs."""
    return (create for create in _creates(graph, paths) if "/outputs/" not in create.path)


_creates = ReuseGraph.creates


def without_counts(graph: ReuseGraph, path: str) -> StepRecord:
    """Let the other steps wait for those that are kept."""
    record, plain = _record(graph, path), RunGraph.record(graph, path)
    return record if record.state is not StepState.PENDING else plain


_record = ReuseGraph.record


@pytest.mark.parametrize(
    ("seed", "owner", "name", "bug"),
    [
        (3, reuse, "judge", keep_what_follows),
        (3, reuse, "judge", forget_new_dependencies),
        (0, ReuseGraph, "creates", without_outputs),
        (0, ReuseGraph, "record", without_counts),
    ],
)
def test_a_planted_bug_is_found(seed: int, owner: object, name: str, bug: Callable[..., Any]) -> None:
    """The seed breaks a rule with the bug, and none without it."""
    with patch.object(owner, name, bug):
        assert play(draw_repaired(seed)).findings
    assert not play(draw_repaired(seed)).findings
