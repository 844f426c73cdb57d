"""Loops in the simulation: the oracle's rules on small examples, and one loop under one fault at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from atom_workflows.core.states import StepState
from simulation.drawn import Cut, Drawn
from simulation.faults import Fault, Strike, Weather
from simulation.language import Ended, Gathered, ItemIsMore, Jobs, MoreFailed, Not, Numbers, UpTo, UpToQuotient, Written
from simulation.limits import Limits
from simulation.loops import Loop
from simulation.oracle import End, Facts, items_of
from simulation.oracle_retries import runs_again
from simulation.oracle_runs import expected_ends
from simulation.play import play
from simulation.scenario import Ending, Scenario, StepPlan

FAILS = (Ending.FAILS,)
DONE = End(state=StepState.SUCCEEDED)
FAILED = End(state=StepState.FAILED)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging, as no one reads what many runs would log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def over(*items: int | None, tolerate: int = 0) -> Loop:
    """Return a loop over a written list."""
    return Loop(lists=(("", Written(items)),), tolerate=tolerate)


def ends(*steps: StepPlan, finally_steps: tuple[StepPlan, ...] = ()) -> dict[str, End]:
    """Return the ends that the oracle expects."""
    return expected_ends(Scenario(steps=steps, finally_steps=finally_steps), {})


# -- the oracle ------------------------------------------------------------------------------------------------------


def test_the_last_of_several_lists_changes_fastest() -> None:
    """Several lists give every combination, in the file's order."""
    plan = StepPlan(id="a", loop=Loop(lists=(("x", Written((1, 2))), ("y", Written((3, None))))))
    assert items_of(plan, Facts()) == [{"x": 1, "y": 3}, {"x": 1, "y": None}, {"x": 2, "y": 3}, {"x": 2, "y": None}]


def test_outputs_are_gathered_in_order_with_nulls() -> None:
    """Items that failed or were skipped leave a null in their place."""
    found = ends(
        StepPlan(id="a", loop=over(5, 1, 7, tolerate=1), numbers=(2,), when=ItemIsMore("", 3), items_end=(FAILS,)),
        StepPlan(id="b", depends_on=("a",), args=(("n", Numbers("a")),)),
    )
    assert found["a"] == End(state=StepState.SUCCEEDED, outputs={"n": [None, None, 22]}, counts=(3, 1, 1, 1))


@pytest.mark.parametrize(
    ("loop", "end"),
    [
        (over(), End(state=StepState.SUCCEEDED)),
        (over(1, 2), End(state=StepState.FAILED, counts=(2, 0, 2, 0))),
        (over(1, 2, tolerate=2), End(state=StepState.SUCCEEDED, counts=(2, 0, 2, 0))),
        (Loop(lists=(("", UpToQuotient("n")),)), FAILED),
        (Loop(lists=(("", UpTo("n")),)), End(state=StepState.SUCCEEDED)),
    ],
)
def test_a_loop_ends_by_its_list_and_its_failures(loop: Loop, end: End) -> None:
    """An empty list succeeds, a list without an answer fails, and as many items may fail as are tolerated."""
    found = ends(StepPlan(id="n", numbers=(0,)), StepPlan(id="a", depends_on=("n",), loop=loop, endings=FAILS))
    assert found["a"] == end


def test_a_failed_list_is_never_allowed() -> None:
    """That a loop may fail is about its items."""
    may_fail = {"depends_on": ("n",), "allows_failure": True, "endings": FAILS}
    found = ends(
        StepPlan(id="n", numbers=(0,)),
        StepPlan(id="a", loop=over(1), **may_fail),  # type: ignore[arg-type] # the fields of each
        StepPlan(id="b", loop=Loop(lists=(("", UpToQuotient("n")),)), **may_fail),  # type: ignore[arg-type] # as above
    )
    assert (found["a"].is_tolerated, found["b"].is_tolerated) == (True, False)


def test_failed_items_count_as_failures_if_their_loop_does() -> None:
    """The steps under `finally` count a failed loop and its failed items, and not those that it tolerates."""
    last = [StepPlan(id=f"f{than}", when=MoreFailed("a", than)) for than in (0, 1)]
    found = ends(StepPlan(id="a", loop=over(1, 2, tolerate=1), items_end=(FAILS,)), finally_steps=tuple(last))
    assert [found["f0"].state, found["f1"].state] == [StepState.SUCCEEDED, StepState.SKIPPED]
    assert End(state=StepState.FAILED, counts=(3, 1, 2, 0)).failures == 3
    assert End(state=StepState.SUCCEEDED, counts=(3, 1, 2, 0)).failures == 0


def test_a_retry_keeps_the_list_unless_something_before_it_runs_again() -> None:
    """Of a loop whose list is kept, failed items run again; else the list is evaluated again."""
    steps = (StepPlan(id="a"), StepPlan(id="b", depends_on=("a",), loop=over(1, 2)))
    items = {"b": {"b[0]": DONE, "b[1]": FAILED}}
    assert runs_again(Scenario(steps=steps), {"a": DONE, "b": FAILED}, items) == {"b", "b[1]"}
    assert runs_again(Scenario(steps=steps), {"a": FAILED, "b": FAILED}, items) == {"a", "b", "~each.b"}
    assert runs_again(Scenario(steps=steps), {"a": DONE, "b": FAILED}, {}) == {"b", "~each.b"}
    assert runs_again(Scenario(steps=steps), {"a": DONE, "b": DONE}, items) == set()


# -- one fault at a time ---------------------------------------------------------------------------------------------

LOOPS = Scenario(
    steps=(
        StepPlan(id="n", numbers=(4,)),
        StepPlan(
            id="a",
            depends_on=("n",),
            loop=Loop(lists=(("", UpTo("n")),), tolerate=1),
            numbers=(1,),
            when=Not(ItemIsMore("", 2)),
            items_end=(FAILS, (Ending.FAILS, Ending.SUCCEEDS)),
            max_attempts=2,
        ),
        StepPlan(id="b", depends_on=("a",), loop=Loop(lists=(("", Gathered("a")),)), items_end=(FAILS,)),
        StepPlan(id="c", depends_on=("a",), args=(("jobs", Jobs("a")), ("ended", Ended("a")))),
    ),
    retries=1,
)
"""Two loops, of which the second runs over what the first gathers; the run fails, and is retried once."""

SMALL = Limits(batch=2, fan_in=2, fan_out=2)
"""Sizes by which items are created in several commits, between trees of barriers."""


def test_calm_loops_do_as_the_file_says() -> None:
    """Without faults, the run goes through both loops and its retry."""
    one = play(_with(Fault.STORE_UNAVAILABLE, 0))
    assert not one.findings
    (flow,) = one.flows
    items = {name for name in flow.watch.steps if name.startswith("b[")}
    assert items == {f"b[{index}]" for index in range(4)}
    assert flow.watch.run is not None
    assert flow.watch.run.retries == 1


@pytest.mark.parametrize("kind", [Fault.KILLED_AFTER_CALL, Fault.STORE_CONFLICT_AFTER, Fault.MESSAGE_DUPLICATED])
def test_one_fault_anywhere_breaks_nothing(kind: Fault) -> None:
    """A handler may die after each of its calls, a commit be answered wrongly, and a message come twice."""
    occasion = 1
    while (one := play(_with(kind, occasion))).faults.log:
        assert not one.findings, f"{kind.name}:{occasion}: {one.findings[0]}"
        occasion += 1
    assert occasion > 10


def _with(kind: Fault, occasion: int) -> Drawn:
    """Return the run with one fault: the given one of the occasions for it."""
    weather = Weather(calm_at=900, skew_s=0, pause_s=0, haste=0.3, odds={kind: 1.0})
    cut = Cut(strikes=frozenset({Strike(kind, occasion)}))
    return Drawn(seed=1, cut=cut, scenarios=(LOOPS,), weather=weather, limits=SMALL)
