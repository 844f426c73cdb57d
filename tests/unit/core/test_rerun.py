"""Which steps a retry of a run runs again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from atom_workflows.core.graph import END_ID, MAIN_END_ID, kind_of
from atom_workflows.core.records import Policies, StepRecord
from atom_workflows.core.rerun import needs_reset, steps_to_rerun
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import OnLost, RetryPolicy

FAILED = {"state": StepState.FAILED}
SKIPPED = {"state": StepState.SKIPPED}


def graph(edges: Mapping[str, Sequence[str]], **fields: Mapping[str, Any]) -> dict[str, StepRecord]:
    """Return records of steps that have succeeded, unless their fields say otherwise."""
    return {
        name: StepRecord(
            run_id="r",
            id=name,
            kind=kind_of(name, has_task=True),
            schema=3,
            request=None,
            task_runner_url="",
            depends_on=tuple(needs),
            dependents=tuple(other for other, wanted in edges.items() if name in wanted),
            barriers=(),
            policies=Policies(timeout=timedelta(hours=1), retry=RetryPolicy(), on_lost=OnLost.RETRY),
            remaining=0,
            **{"state": StepState.SUCCEEDED, **fields.get(name, {})},
        )
        for name, needs in edges.items()
    }


def test_a_failure_takes_everything_behind_it_along() -> None:
    """A handler that succeeded is decided again; what stands before or beside is kept."""
    steps = graph(
        {"a": [], "b": ["a"], "handler": ["b"], "after": ["handler"], "beside": ["a"]},
        b=FAILED,
    )
    assert steps_to_rerun(steps, retries=1) == {"b", "handler", "after"}


def test_skips_by_choice_and_tolerated_failures_are_kept() -> None:
    """They are results, not failures, unless something before them runs again."""
    steps = graph(
        {"a": [], "chosen": ["a"], "allowed": ["a"], "b": [], "behind": ["b"]},
        chosen={**SKIPPED, "by_choice": True},
        allowed={**FAILED, "tolerated": True},
        b=FAILED,
        behind={**SKIPPED, "by_choice": True},
    )
    assert steps_to_rerun(steps, retries=1) == {"b", "behind"}


def test_steps_under_finally_always_run_again() -> None:
    """Also if they alone had failed."""
    edges = {"a": [], MAIN_END_ID: ["a"], "clean": [MAIN_END_ID], END_ID: ["clean"]}
    assert steps_to_rerun(graph(edges, clean=FAILED), retries=1) == {MAIN_END_ID, "clean", END_ID}


def test_a_retry_that_is_continued_chooses_the_same_steps() -> None:
    """Steps that it has reset, or that run again already, still belong to it."""
    reset = {"state": StepState.PENDING, "retries": 1}
    steps = graph({"a": [], "b": ["a"], "c": ["b"]}, b={"state": StepState.RUNNING, "retries": 1}, c=reset)
    assert steps_to_rerun(steps, retries=1) == {"b", "c"}
    assert [name for name, step in steps.items() if needs_reset(step, retries=1)] == ["a"]
