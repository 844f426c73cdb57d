"""What the console streams, and how many documents that reads."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from atom_client.console import feeds as feeds_module
from atom_client.console import live
from atom_emulator.testing.world import World
from support.watched import WatchedConsole
from support.workflows import chain, fan

LOOP = f"name: flow\nsteps:\n- {{id: train, forEach: {list(range(300))}, task: {{imageUri: i}}}}\n"


def step_on(world: World) -> None:
    """Let a minute pass, in which a job ends."""
    world.clock.move(timedelta(seconds=70))
    world.tick()


def test_a_change_of_a_step_is_a_line(console: WatchedConsole, world: World) -> None:
    """Each step that changes is sent with its new state, and so is what explains the run."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = console.ask(f"/runs/{run_id}")
    with console.follow(f"/runs/{run_id}/live", after=opened["at"]) as stream:
        assert "steps" not in stream.next()
        step_on(world)
        stream.until(lambda: stream.steps.get("s0", {}).get("state") == "SUCCEEDED")
        stream.until(lambda: stream.said.get("count") == "1 of 2 steps ended: 1 RUNNING, 1 SUCCEEDED.")
        assert stream.said["as_of"] == "2026-01-01T00:01:10.000Z"
        assert set(stream.steps) <= {"s0", "s1"}


def test_a_page_that_comes_back_gets_what_another_viewer_caused(console: WatchedConsole, world: World) -> None:
    """The latest explanation is sent even if it was made while the page was not connected."""
    run_id = world.start(chain(1))
    opened = console.ask(f"/runs/{run_id}")
    with console.follow(f"/runs/{run_id}/live", after=opened["at"]) as other:
        other.next()
        world.run_to_end(run_id)
        other.rest()
    console.ask(f"/runs/{run_id}")
    with console.follow(f"/runs/{run_id}/live", after=opened["at"]) as stream:
        stream.rest()
        assert stream.said["why"]["state"] == "SUCCEEDED"


def test_odd_versions_are_none_that_was_shown(console: WatchedConsole, world: World) -> None:
    """A place with thousands of digits is that of no feed."""
    run_id = world.start(chain(1))
    name = console.ask(f"/runs/{run_id}")["at"].partition(".")[0]
    with console.follow(f"/runs/{run_id}/live", after=f"{name}.{'9' * 5_000}") as stream:
        stream.until(lambda: "why" in stream.said)


def test_a_stream_ends_with_its_run(console: WatchedConsole, world: World) -> None:
    """Once the run has ended and all of it was told, the last line says so."""
    run_id = world.start(chain(2))
    with console.follow(f"/runs/{run_id}/live") as stream:
        stream.next()
        world.run_to_end(run_id)
        last = stream.rest()[-1]
    assert last["ended"] is True
    assert {one["state"] for one in stream.steps.values()} == {"SUCCEEDED"}
    states = [line["run"]["state"] for line in stream.seen if "run" in line]
    assert states[-1] == "SUCCEEDED"
    assert stream.said["verdict"] == console.ask(f"/runs/{run_id}")["verdict"]


def test_opening_and_following_reads_each_step_once(console: WatchedConsole, world: World) -> None:
    """The page's first read is the listener's: following the run, and opening it again, read nothing more."""
    run_id = world.start(fan(300))
    world.settle_down()
    nodes, before = len(world.steps(run_id)), console.reads
    opened = console.ask(f"/runs/{run_id}")
    assert len(opened["steps"]) == 302
    assert nodes <= console.reads - before <= nodes + 5
    before = console.reads
    with console.follow(f"/runs/{run_id}/live", after=opened["at"]) as stream:
        stream.next()
    console.ask(f"/runs/{run_id}")
    assert console.reads - before <= 5


def test_a_page_that_is_opened_again_reads_what_has_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last viewer has left nothing is listened to, and whoever comes back reads only the changes."""
    monkeypatch.setattr(feeds_module, "_CHECK_S", 0.01)
    console = WatchedConsole(world, lingers_s=0.0)
    run_id = world.start(chain(300))
    world.settle_down()
    console.ask(f"/runs/{run_id}")
    deadline = time.monotonic() + 30
    while console.feeds.listening:
        assert time.monotonic() < deadline
    world.clock.move(timedelta(minutes=10))
    nodes = world.steps(run_id)
    world.tick()
    changed = sum(node != nodes[name] for name, node in world.steps(run_id).items())
    assert 0 < changed < 10
    before = console.reads
    opened = console.ask(f"/runs/{run_id}")
    assert console.reads - before <= changed + 5
    assert {one["id"]: one["state"] for one in opened["steps"]} == world.states(run_id)
    console.feeds.close()


def test_two_viewers_share_a_listener(console: WatchedConsole, world: World) -> None:
    """Two pages of a run are told the same, and it is read once."""
    run_id = world.start(chain(2))
    world.settle_down()
    with console.follow(f"/runs/{run_id}/live") as one, console.follow(f"/runs/{run_id}/live") as other:
        one.next()
        other.next()
        assert console.feeds.listening == 1
        before = console.feeds.documents_read
        step_on(world)
        for stream in (one, other):
            while stream.steps.get("s0", {}).get("state") != "SUCCEEDED":
                stream.next()
        assert console.feeds.documents_read - before <= 4


def test_a_slow_viewer_gets_the_newest_state(console: WatchedConsole, world: World) -> None:
    """What a viewer did not read in time is one line with the newest state of each step."""
    run_id = world.start(chain(5))
    with console.follow(f"/runs/{run_id}/live") as stream:
        stream.next()
        world.run_to_end(run_id)
        lines = stream.rest()
    assert len(lines) <= 5
    assert {one["state"] for one in stream.steps.values()} == {"SUCCEEDED"}


def test_a_loop_is_counted_no_faster_than_it_may_cost(console: WatchedConsole, world: World) -> None:
    """While hundreds of items end, their counts are read only now and then, and no item is."""
    run_id = world.start(LOOP)
    world.settle_down()
    opened, before = console.ask(f"/runs/{run_id}"), console.feeds.documents_read
    with console.follow(f"/runs/{run_id}/live", after=opened["at"]) as stream:
        stream.next()
        world.clock.move(timedelta(minutes=2))
        world.run_to_end(run_id)
        stream.rest()
    items = stream.steps["train"]["items"]
    assert (items["ended"], items["total"]) == (300, 300)
    # The step's own document counts the items that have ended, so it changes with them.
    assert console.feeds.documents_read - before < 200


def test_a_new_run_and_its_end_are_lines_of_the_list(console: WatchedConsole, world: World) -> None:
    """A list is told of new runs and of changes, and of those that do not match any more."""
    opened = console.ask("/runs", state="RUNNING")
    with console.follow("/live/runs", state="RUNNING", after=opened["at"]) as stream:
        stream.next()
        run_id = world.start(chain(1))
        world.settle_down()
        stream.until(lambda: [one["id"] for one in stream.said.get("runs", ())] == [run_id])
        world.run_to_end(run_id)
        stream.until(lambda: stream.said.get("gone") == [run_id])


def test_the_progress_of_open_runs_is_counted_now_and_then(
    console: WatchedConsole, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that end do not change their run, so a list counts them from time to time."""
    monkeypatch.setattr(live, "COUNT_EVERY_S", 0.0)
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.1)
    run_id = world.start(chain(2))
    world.settle_down()
    opened = console.ask("/runs")
    with console.follow("/live/runs", after=opened["at"]) as stream:
        step_on(world)
        stream.until(lambda: [one["progress"] for one in stream.said.get("runs", ())] == [{"steps": 1, "items": None}])
        assert stream.said["runs"][0]["id"] == run_id


def test_no_run_of_a_long_list_loses_its_progress(
    console: WatchedConsole, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more open runs than are counted at a time, the others keep what was counted, and all have their turn."""
    monkeypatch.setattr(live, "COUNT_EVERY_S", 0.0)
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.1)
    begun = [world.start(chain(2), run_key=str(number)) for number in range(25)]
    world.settle_down()
    counted = dict.fromkeys(begun, 0)
    with console.follow("/live/runs") as stream:
        for _ in range(6):
            rows = stream.next().get("runs", ())
            assert all(row.get("progress", {}) is not None for row in rows)
            counted.update({row["id"]: counted[row["id"]] + 1 for row in rows if "progress" in row})
    assert min(counted.values()) >= 3


def test_a_run_that_ends_has_no_progress(console: WatchedConsole, world: World) -> None:
    """The stream clears a count that the page still shows."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = console.ask("/runs")
    with console.follow("/live/runs", after=opened["at"]) as stream:
        stream.next()
        world.run_to_end(run_id)
        stream.until(lambda: [one["state"] for one in stream.said.get("runs", ())] == ["SUCCEEDED"])
        assert stream.said["runs"][0]["progress"] is None


def test_a_list_of_all_runs_is_read_once(console: WatchedConsole, world: World) -> None:
    """The first page is made of what is listened to, and opening it again reads a count and nothing else."""
    for number in range(120):
        world.start(chain(1), run_key=str(number))
    before = console.reads
    page = console.ask("/runs")
    assert (len(page["runs"]), page["total"]) == (50, 120)
    assert console.reads - before <= 100 + 1 + 20
    before = console.reads
    assert len(console.ask("/runs", page=2)["runs"]) == 50
    assert console.reads - before <= 1 + 20
    assert len(console.ask("/runs", page=3)["runs"]) == 20


def test_a_step_that_changes_is_a_line(console: WatchedConsole, world: World) -> None:
    """A page of a step is told to read it again, and listens to no other step."""
    run_id = world.start(chain(2))
    world.settle_down()
    before = console.reads
    opened = console.ask(f"/runs/{run_id}/steps/s0")
    with console.follow(f"/runs/{run_id}/steps/s0/live", after=opened["at"]) as stream:
        assert stream.next() == {"problem": ""}
        step_on(world)
        stream.until(lambda: "changed" in stream.said)
        assert console.feeds.documents_read <= 4
    assert console.reads - before < 60


def test_a_step_that_changed_before_its_stream_is_a_line(console: WatchedConsole, world: World) -> None:
    """What happens between the page's first read and its stream, or while it is not connected, is not missed."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = console.ask(f"/runs/{run_id}/steps/s0")
    step_on(world)
    with console.follow(f"/runs/{run_id}/steps/s0/live", after=opened["at"]) as stream:
        stream.until(lambda: "changed" in stream.said)


def test_the_page_of_an_ended_step_learns_of_the_end_of_its_run(console: WatchedConsole, world: World) -> None:
    """Once the run has ended, its step can run again; so the page is told."""
    run_id = world.start(chain(2))
    world.settle_down()
    step_on(world)
    opened = console.ask(f"/runs/{run_id}/steps/s0")
    with console.follow(f"/runs/{run_id}/steps/s0/live", after=opened["at"]) as stream:
        assert stream.next() == {"problem": ""}
        world.run_to_end(run_id)
        stream.until(lambda: "changed" in stream.said)


def test_what_does_not_exist_is_refused_before_the_stream(console: WatchedConsole) -> None:
    """A run that does not exist is an answer with words, not a stream."""
    assert "none-such" in console.ask("/runs/none-such/live")["error"]
