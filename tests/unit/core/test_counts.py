"""What a step that ends adds to the counters of its dependents."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_workflows.core.counts import Counts, count_end
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import Policies, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import OnLost, RetryPolicy, Trigger


def node(kind: NodeKind = NodeKind.JOB, **fields: Any) -> StepRecord:
    """Return a node of a run of the second schema, unless the fields say otherwise."""
    return StepRecord(
        run_id="r",
        id="s",
        kind=kind,
        request=None,
        task_runner_url="",
        depends_on=(),
        dependents=(),
        barriers=(),
        policies=Policies(timeout=timedelta(hours=1), retry=RetryPolicy(), on_lost=OnLost.RETRY),
        remaining=0,
        **{"schema": 2, **fields},
    )


@pytest.mark.parametrize("kind", [NodeKind.JOB, NodeKind.BARRIER])
@pytest.mark.parametrize(
    ("state", "bad"),
    [
        (StepState.SUCCEEDED, 0),
        (StepState.FAILED, 1),
        (StepState.CANCELLED, 1),
        (StepState.SKIPPED, 1),
    ],
)
def test_a_users_step_counts_as_one(kind: NodeKind, state: StepState, bad: int) -> None:
    """It is one of the total, however many steps are before it; if it did not succeed, the run fails."""
    counts = count_end(node(kind, unsuccessful=3, total=5, cause="first", state=state))
    assert counts.counters(2) == {"unsuccessful": bad, "skipped": 0, "total": 1, "stained": bad}
    assert counts.ended == 1


@pytest.mark.parametrize(
    ("state", "cause"),
    [(StepState.SUCCEEDED, None), (StepState.FAILED, "s"), (StepState.CANCELLED, "s"), (StepState.SKIPPED, "first")],
)
@pytest.mark.parametrize("schema", [1, 2])
def test_a_skipped_step_passes_on_the_failure_that_it_was_skipped_for(
    state: StepState, cause: str | None, schema: int
) -> None:
    """Any other step that did not succeed is itself the cause."""
    assert count_end(node(unsuccessful=1, cause="first", schema=schema, state=state)).cause == cause


@pytest.mark.parametrize("state", [StepState.SUCCEEDED, StepState.SKIPPED])
def test_an_internal_barrier_forwards_what_it_counted(state: StepState) -> None:
    """Whatever its own state, it stands for the nodes above it."""
    barrier = node(NodeKind.INTERNAL, unsuccessful=7, skipped=2, total=32, stained=6, cause="first")
    assert count_end(replace(barrier, state=state)) == Counts(
        ended=1, unsuccessful=7, skipped=2, total=32, stained=6, cause="first"
    )


def test_in_a_run_of_the_first_schema_an_internal_barrier_counts_its_state() -> None:
    """Its dependents have the one counter that the versions before know."""
    barrier = node(NodeKind.INTERNAL, unsuccessful=7, schema=1, cause="first")
    assert count_end(replace(barrier, state=StepState.SKIPPED)).counters(1) == {"unsuccessful": 1}
    assert count_end(replace(barrier, state=StepState.SUCCEEDED)).counters(1) == {"unsuccessful": 0}


def test_a_stain_goes_through_a_step_that_succeeded() -> None:
    """The run fails because of what lies before it, though the step itself went well."""
    assert count_end(node(stained=2, state=StepState.SUCCEEDED)).counters(2)["stained"] == 1


def test_counts_add_up_and_keep_the_last_cause() -> None:
    """Several dependencies that end in one commit are one change of a dependent."""
    failed = Counts(ended=1, unsuccessful=1, total=1, stained=1, cause="b")
    one = Counts(ended=1, total=1)
    assert one + failed + Counts(ended=1, unsuccessful=4, skipped=1, total=9, stained=3, cause="c") == Counts(
        ended=3, unsuccessful=5, skipped=1, total=11, stained=4, cause="c"
    )


def test_a_step_skipped_by_choice_is_no_failure() -> None:
    """It is counted as skipped, and blocks and stains nothing."""
    counts = count_end(node(state=StepState.SKIPPED, by_choice=True))
    assert counts == Counts(ended=1, skipped=1, total=1)


@pytest.mark.parametrize("state", [StepState.FAILED, StepState.CANCELLED])
def test_a_tolerated_failure_counts_as_a_success(state: StepState) -> None:
    """Whoever allows a failure wants the steps behind it to go on, and the run to succeed."""
    assert count_end(node(state=state, tolerated=True)) == Counts(ended=1, total=1)


def test_a_step_that_reacts_to_a_failure_carries_the_stain() -> None:
    """The run fails though the step succeeded; its dependents go on."""
    counts = count_end(node(state=StepState.SUCCEEDED, unsuccessful=1, stained=1, trigger=Trigger.ANY_FAILED))
    assert counts == Counts(ended=1, total=1, stained=1)
