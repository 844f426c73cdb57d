"""Where the time of a run went: the bars of its steps, and its critical path."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atom_client.views.queries import read_nodes_with_attempts
from atom_client.views.timeline import (
    Part,
    Timeline,
    describe_path,
    find_critical_path,
    lay_out_times,
    sum_path,
)
from atom_emulator.testing.world import World
from support.asked import ask
from support.commands import cancel_run, retry_run
from support.workflows import chain, definition, fan, script
from unit.client.drawn import graphs

RETRIED: Final = {"retry": {"maxAttempts": 3, "backoff": {"initial": "30s", "jitter": 0}}}
SECOND: Final = timedelta(seconds=1)


def read(world: World, run_id: str) -> Timeline:
    """Return a run's timeline."""
    run = world.run(run_id)
    return lay_out_times(run, read_nodes_with_attempts(world.services.store, run), world.clock.now())


def timed(workflow: str, **behavior: Any) -> Timeline:
    """Return the timeline of a run that has ended."""
    world = World(script(**behavior))
    run_id = world.start(workflow)
    world.run_to_end(run_id)
    return read(world, run_id)


def path_of(timeline: Timeline) -> list[str]:
    """Return the steps on the critical path."""
    return [one.id for one in find_critical_path(timeline)]


def seconds(timeline: Timeline, step_id: str) -> dict[str, float]:
    """Return how long a step spent on each part, in seconds."""
    [row] = [row for row in timeline.rows if row.step.id == step_id]
    found: dict[str, float] = {}
    for bar in row.bars:
        found[bar.part.value] = found.get(bar.part.value, 0) + (bar.end - bar.start) / SECOND
    return found


def assert_accounts_for_the_run(timeline: Timeline) -> None:
    """Check that the path covers the run without gaps, and that its parts add up to the run's duration."""
    path = find_critical_path(timeline)
    reached = timeline.begin
    for one in path:
        assert one.start == reached
        assert sum(one.parts.values(), timedelta()) == one.end - one.start
        reached = one.end
    assert reached <= timeline.end
    assert sum(sum_path(timeline, path).values(), timedelta()) == timeline.end - timeline.begin
    for row in timeline.rows:
        for before, after in zip(row.bars, row.bars[1:], strict=False):
            assert timeline.begin <= before.start < before.end <= after.start < after.end <= timeline.end


def test_the_path_leads_through_the_slowest_branch() -> None:
    """Of several dependencies, the one that ended last is on the path."""
    workflow = definition({"a": [], "slow": ["a"], "quick": ["a"], "end": ["quick", "slow"]})
    timeline = timed(workflow, a={"duration": 15}, slow={"duration": 95}, quick={"duration": 15}, end={"duration": 5})
    assert path_of(timeline) == ["a", "slow", "end"]
    assert_accounts_for_the_run(timeline)


def test_the_path_leads_through_hidden_barriers() -> None:
    """Steps behind a barrier of the compiler follow the step that ended last before it."""
    timeline = timed(fan(60), root={"duration": 5}, leaf33={"duration": 125}, join={"duration": 5})
    assert path_of(timeline) == ["root", "leaf33", "join"]


def test_attempts_and_back_off_have_bars_of_their_own() -> None:
    """A step that was retried shows its jobs and the waits between them."""
    timeline = timed(definition({"a": []}, a=RETRIED), a={"duration": 60, "fail_times": 2})
    found = seconds(timeline, "a")
    assert found["back_off"] == pytest.approx(30 + 60)
    assert found["job"] == pytest.approx(180, abs=30)
    assert [bar.part for bar in timeline.rows[0].bars if bar.part is not Part.SLOT] == [
        Part.JOB,
        *(Part.BACK_OFF, Part.JOB) * 2,
    ]
    assert_accounts_for_the_run(timeline)


def test_steps_under_finally_follow_the_last_step_of_the_main_part() -> None:
    """The end of the main part is what steps under `finally` wait for."""
    text = """
name: flow
steps:
- {id: quick, task: {imageUri: i}}
- {id: slow, task: {imageUri: i}}
finally:
- {id: clean, task: {imageUri: i}}
"""
    timeline = timed(text, quick={"duration": 5}, slow={"duration": 55}, clean={"duration": 15})
    assert path_of(timeline) == ["slow", "clean"]
    assert_accounts_for_the_run(timeline)


def test_a_loop_is_one_step_that_runs_items() -> None:
    """A step with `forEach` is on the path from its release to the end of its last item."""
    text = """
name: flow
steps:
- {id: a, task: {imageUri: i}}
- {id: train, dependsOn: [a], forEach: [1, 2, 3], task: {imageUri: "i${{ item }}"}}
- {id: end, dependsOn: [train], task: {imageUri: i}}
"""
    timeline = timed(text, a={"duration": 5}, train={"duration": 65}, end={"duration": 5})
    assert path_of(timeline) == ["a", "train", "end"]
    assert_accounts_for_the_run(timeline)


def test_a_skipped_step_passes_the_time_of_what_it_waited_for() -> None:
    """A step that was skipped has no work, but the steps behind it waited for its dependencies."""
    workflow = definition(
        {"a": [], "b": ["a"], "report": ["b"]}, report={"trigger": "always"}, a={"task": {"imageUri": "i"}}
    )
    timeline = timed(workflow, a={"duration": 45, "fail_times": 9}, report={"duration": 15})
    assert path_of(timeline) == ["a", "b", "report"]
    assert set(seconds(timeline, "b")) == {"dependencies"}
    assert_accounts_for_the_run(timeline)


def test_an_open_run_is_measured_until_now() -> None:
    """While a run is open, the path ends with the step that has been ready for the longest."""
    world = World(script(s0={"duration": 5}, s1={"duration": 3_600}))
    run_id = world.start(chain(3))
    for _ in range(6):
        world.clock.move(timedelta(seconds=10))
        world.tick()
    timeline = read(world, run_id)
    assert path_of(timeline) == ["s0", "s1"]
    assert timeline.end == world.clock.now()
    assert set(seconds(timeline, "s2")) == {"dependencies"}
    assert describe_path(timeline, find_critical_path(timeline)).startswith("The run has taken 1 min 00 s so far;")
    assert_accounts_for_the_run(timeline)


def test_a_retried_run_is_shown_from_its_retry_on() -> None:
    """Steps that succeeded before have no bars, and the path does not reach back to them."""
    world = World(script(s0={"duration": 25}, s1={"duration": 25, "fail_times": 1}, s2={"duration": 25}))
    run_id = world.start(chain(3))
    world.run_to_end(run_id)
    world.clock.move(timedelta(days=3))
    retry_run(world.services, run_id)
    world.run_to_end(run_id)
    timeline = read(world, run_id)
    assert timeline.end - timeline.begin < timedelta(minutes=5)
    assert path_of(timeline) == ["s1", "s2"]
    assert seconds(timeline, "s0") == {}
    assert "counted from its last retry" in describe_path(timeline, find_critical_path(timeline))
    assert_accounts_for_the_run(timeline)


def test_a_cancelled_run_accounts_for_its_time() -> None:
    """Steps that were never released end with the run, and have waited for dependencies only."""
    world = World(script(s0={"duration": 500}))
    run_id = world.start(chain(3))
    for _ in range(3):
        world.clock.move(timedelta(seconds=10))
        world.tick()
    cancel_run(world.services, run_id)
    world.run_to_end(run_id)
    timeline = read(world, run_id)
    assert set(seconds(timeline, "s2")) <= {"dependencies"}
    assert_accounts_for_the_run(timeline)


@settings(max_examples=25, deadline=None)
@given(edges=graphs(), data=st.data())
def test_the_parts_of_any_run_add_up_to_its_duration(edges: dict[str, list[str]], data: st.DataObject) -> None:
    """Whatever the graph, the path has no gap, and no bar of a step overlaps another."""
    behavior = {
        step: {"duration": data.draw(st.integers(0, 90)), "fail_times": data.draw(st.sampled_from([0, 0, 0, 1, 9]))}
        for step in edges
    }
    assert_accounts_for_the_run(timed(definition(edges, **dict.fromkeys(edges, RETRIED)), **behavior))


# -- what the console answers ----------------------------------------------------------------------------------------


def test_the_answer_reads_each_node_once() -> None:
    """A timeline costs one document for each node of the run, and none for items."""
    world = World()
    run_id = world.start(chain(40))
    world.run_to_end(run_id)
    answer = ask(world, f"/runs/{run_id}/timeline")
    assert answer.reads <= 40 + 5
    assert set(answer.body["steps"]) == {f"s{number}" for number in range(40)}
    assert len(answer.body["bars"]) == 40


def test_the_answer_has_bars_sums_and_words() -> None:
    """Bars are numbers of parts and milliseconds, and the sums are those of the sentence."""
    world = World(script(s0={"duration": 25}, s1={"duration": 25}))
    run_id = world.start(chain(2))
    world.run_to_end(run_id)
    body = ask(world, f"/runs/{run_id}/timeline").body
    assert sum(body["path_ms"].values()) == body["took_ms"]
    assert [one["step"] for one in body["path"]] == ["s0", "s1"]
    names = [body["parts"][number]["name"] for number in body["bars"][1][::3]]
    assert names[0] == "dependencies"
    assert "job" in names
    assert body["text"].startswith("The run took ")
    assert json.dumps(body["bars"]).count(".") == 0


def test_alike_steps_are_one_row_as_in_the_graph() -> None:
    """The rows of a wide fan are listed together."""
    world = World()
    run_id = world.start(fan(30))
    world.run_to_end(run_id)
    [rows] = ask(world, f"/runs/{run_id}/timeline").body["fans"]
    assert len(rows) == 30


def test_a_run_that_has_not_begun_has_an_empty_timeline() -> None:
    """A file that is invalid gives no steps, and that is no error."""
    world = World()
    body = ask(world, f"/runs/{world.start('name: bad')}/timeline").body
    assert (body["steps"], body["path"]) == ([], [])
