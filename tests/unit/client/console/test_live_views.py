"""What the console streams for items, histories and schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from atom_client.console import watched_items
from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.schedules import pause_schedules
from atom_workflows.core.item_ids import item_id
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from support.watched import WatchedConsole
from support.workflows import chain

LOOP = f"name: flow\nsteps:\n- {{id: train, forEach: {list(range(300))}, task: {{imageUri: i}}}}\n"
PATH = "gs://bucket/workflows/flow.yaml"
SCHEDULED = "schedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]\n"


def say(world: World, run_id: str, index: int, **fields: object) -> None:
    """Change an item."""
    world.store.commit([Update(path=step_path(run_id, item_id("train", index, 1)), fields=fields)])


@pytest.mark.parametrize("path", ["/runs/{}/live", "/runs/{}/steps/train/live"], ids=["run", "step"])
def test_an_item_that_changes_is_a_line_and_a_read(console: WatchedConsole, world: World, path: str) -> None:
    """An item on the page is sent with its new state, and costs one read; one on another page costs none."""
    run_id = world.start(LOOP)
    world.settle_down()
    page = console.ask(f"/runs/{run_id}/steps/train/items")
    assert [len(page["items"]), page["page_size"], page["step"]["items"]["total"]] == [50, 50, 300]
    with console.follow(path.format(run_id), items="1:train") as stream:
        stream.until(lambda: len(stream.said.get("items", {}).get("train", {}).get("items", ())) == 50)
        shown = [one["index"] for one in stream.said["items"]["train"]["items"]]
        before = console.feeds.documents_read
        say(world, run_id, next(one for one in range(300) if one not in shown), message="unseen")
        say(world, run_id, shown[3], message="halfway there")
        stream.until(lambda: len(stream.said["items"]["train"]["items"]) == 1)
        [item] = stream.said["items"]["train"]["items"]
        assert (item["index"], item["item"], item["remark"]) == (shown[3], shown[3], "halfway there")
        assert console.feeds.documents_read - before == 1


def test_an_item_that_fails_comes_first(console: WatchedConsole, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is due, the page is chosen again, and failed items come first."""
    monkeypatch.setattr(watched_items, "CHOICE_PAUSE_S", 0.0)
    monkeypatch.setattr(watched_items, "CHOICE_READS_PER_S", 1e9)
    run_id = world.start(LOOP)
    world.settle_down()
    console.ask(f"/runs/{run_id}/steps/train/items")
    with console.follow(f"/runs/{run_id}/live", items="1:train") as stream:
        stream.until(lambda: "items" in stream.said)
        say(world, run_id, 42, state="FAILED")
        stream.until(
            lambda: "page" in stream.said["items"]["train"] and stream.said["items"]["train"]["items"][0]["index"] == 42
        )


def test_a_page_of_items_is_chosen_no_faster_than_it_may_cost(console: WatchedConsole, world: World) -> None:
    """While items change all the time, which of them are shown is not read again for seconds: that reads hundreds."""
    run_id = world.start(LOOP)
    world.settle_down()
    console.ask(f"/runs/{run_id}/steps/train/items")
    with console.follow(f"/runs/{run_id}/live", items="1:train") as stream:
        stream.until(lambda: "items" in stream.said)
        before, listened = console.reads, console.feeds.documents_read
        for number in range(10):
            say(world, run_id, 3, message=f"at {number}")
            stream.until(lambda number=number: f"at {number}" in str(stream.said["items"]))  # type: ignore[misc]
        assert console.feeds.documents_read - listened <= 10
        # Besides, what explains the run is read once.
        assert console.reads - before <= 40


def test_a_history_gains_runs_and_cells(console: WatchedConsole, world: World) -> None:
    """A step of an open run that changes is sent as its cell, and a run that begins as a column."""
    first = world.start(chain(2))
    world.settle_down()
    opened = console.ask("/history", workflow="flow")
    [run] = opened["runs"]
    assert {step: cell[0] for step, cell in run["cells"].items()} == {"s0": "RUNNING", "s1": "PENDING"}
    found: dict[str, dict[str, str]] = {}
    with console.follow("/live/history", workflow="flow", after=opened["at"], run=first) as stream:

        def has(run_id: str, **cells: str) -> bool:
            for one in stream.said.pop("runs", ()):
                found.setdefault(one["id"], {}).update({step: cell[0] for step, cell in one.get("cells", {}).items()})
            return cells.items() <= found.get(run_id, {}).items()

        world.clock.move(timedelta(seconds=70))
        world.tick()
        stream.until(lambda: has(first, s0="SUCCEEDED"))
        second = world.start(chain(2), run_key="another")
        world.settle_down()
        stream.until(lambda: has(second, s0="RUNNING"))
        world.run_to_end(first)
        stream.until(lambda: has(first, s1="SUCCEEDED"))


def test_a_history_reads_nothing_that_is_known(console: WatchedConsole, world: World) -> None:
    """The runs and the steps that are listened to are read once; what ended is read each time."""
    run_id = world.start(chain(20))
    world.settle_down()
    nodes, before = len(world.steps(run_id)), console.reads
    opened = console.ask("/history", workflow="flow")
    assert console.reads - before <= nodes + 3
    assert opened["documents"] <= nodes + 3
    before = console.reads
    with console.follow("/live/history", workflow="flow", after=opened["at"], run=run_id) as stream:
        stream.until(lambda: "runs" in stream.said)
    console.ask("/history", workflow="flow")
    assert console.reads == before


def test_a_schedule_that_is_paused_is_a_line() -> None:
    """A file's new state is sent, and so is a file that comes; each change costs a read."""
    world = World(clock=MovedClock(datetime(2026, 3, 27, 12, tzinfo=UTC)))
    world.upload(SCHEDULED)
    console = WatchedConsole(world)
    assert [one["state"] for one in console.ask("/schedules")["files"]] == ["ACTIVE"]
    before = console.feeds.documents_read
    with console.follow("/live/schedules") as stream:
        stream.until(lambda: stream.said.get("paths") == [PATH])
        pause_schedules(world.services, PATH, actor="ana@there")
        stream.until(lambda: [one["state"] for one in stream.said["files"]] == ["PAUSED"])
        assert console.feeds.documents_read - before == 1
        world.upload(SCHEDULED, path="gs://bucket/workflows/other.yaml")
        stream.until(lambda: len(stream.said["paths"]) == 2)
        assert console.feeds.documents_read - before <= 5
    console.feeds.close()


def test_next_times_go_on_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that passes is replaced by the next one, without a read."""
    monkeypatch.setattr("atom_client.console.schedules._CLOCK_S", 0.0)
    world = World(clock=MovedClock(datetime(2026, 3, 27, 12, tzinfo=UTC)))
    world.upload(SCHEDULED)
    console = WatchedConsole(world)
    with console.follow("/live/schedules") as stream:
        stream.until(lambda: "files" in stream.said)
        first, second = stream.said["files"][0]["next"][:2]
        before = console.reads
        world.clock.move(timedelta(days=1))
        stream.until(lambda: stream.said["files"][0]["next"][0] == second)
        assert first != second
        assert console.reads == before
    console.feeds.close()
