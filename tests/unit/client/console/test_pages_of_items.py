"""Pages of items that are watched: outages, viewers that come back, and pages that do not exist."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from atom_client.console import watched_items
from atom_client.console.watched_items import ItemsViewer, KnownPages, PageOfItems
from atom_emulator.testing.world import World
from atom_workflows.core.item_ids import item_id
from atom_workflows.documents import step_path
from atom_workflows.errors import StoreUnavailable
from atom_workflows.ports import Update
from support.watched import WatchedConsole
from support.workflows import chain, script
from unit.client.console.outages import DOWN, Outages

LOOP = f"name: flow\nsteps:\n- {{id: train, forEach: {list(range(300))}, task: {{imageUri: i}}}}\n"


@pytest.fixture
def world() -> World:
    """Return a world in which items take a minute."""
    return World(script(s0={"duration": 60}, train={"duration": 60}))


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that lets seconds pass for whatever limits its pace, without waiting."""
    passed = [0.0]
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed[0])

    def pass_by(many: float) -> None:
        passed[0] += many

    return pass_by


def fail(world: World, run_id: str, index: int) -> None:
    """Let an item fail."""
    path = step_path(run_id, item_id("train", index, 1))
    world.store.inner.commit([Update(path=path, fields={"state": "FAILED"})])


def test_a_choice_that_failed_is_made_again(outages: Outages, world: World, seconds: Callable[[float], None]) -> None:
    """Which items are on a page is read again after an outage, though nothing changes any longer."""
    run_id = world.start(LOOP)
    world.settle_down()
    page = PageOfItems(world.run(run_id), "train", 1)
    page.choose(outages.store)
    seconds(60)
    fail(world, run_id, 250)
    page.touch()
    outages.begin()
    with pytest.raises(StoreUnavailable):
        page.choose(outages.store)
    outages.end()
    assert page.choose(outages.store).indexes[0] == 250


def test_a_page_that_comes_back_is_chosen_again(
    console: WatchedConsole, world: World, seconds: Callable[[float], None]
) -> None:
    """While no one looked, no one noticed changes: the order and the counts are read again."""
    run_id = world.start(LOOP)
    world.settle_down()
    pages = KnownPages()
    run, store = world.run(run_id), world.store
    viewer = ItemsViewer(pages.find(run, "train", 1), store, console.feeds)
    viewer.read()
    viewer.close()
    seconds(60)
    fail(world, run_id, 250)
    again = ItemsViewer(pages.find(run, "train", 1), store, console.feeds)
    assert again.news(has_step_changed=False)["items"][0]["index"] == 250
    again.close()


def test_a_page_that_was_just_read_is_not_chosen_again(console: WatchedConsole, world: World) -> None:
    """The stream that follows an answer begins with what that has read."""
    run_id = world.start(LOOP)
    world.settle_down()
    page = PageOfItems(world.run(run_id), "train", 1)
    page.choose(world.store)
    before = console.reads
    viewer = ItemsViewer(page, world.store, console.feeds)
    viewer.news(has_step_changed=False)
    viewer.close()
    assert console.reads - before <= watched_items.ITEMS_PER_PAGE


@pytest.mark.parametrize("path", ["/runs/{}/live", "/runs/{}/steps/s0/live"], ids=["run", "step"])
def test_a_page_of_items_that_does_not_exist_ends_no_stream(console: WatchedConsole, world: World, path: str) -> None:
    """What else the stream is about is still followed."""
    run_id = world.start(chain(1))
    world.settle_down()
    with console.follow(path.format(run_id), items=["1:s0", "1:none"]) as stream:
        stream.next()
        world.run_to_end(run_id)
        stream.until(lambda: "changed" in stream.said or stream.said.get("ended") is True)
    assert not any("error" in line for line in stream.seen)


@pytest.mark.parametrize(
    "number", ["9" * 5_000, "0" * 5_000, "0", "x", ""], ids=["long", "zeros", "zero", "word", "nothing"]
)
def test_odd_numbers_of_pages_are_left_out(console: WatchedConsole, world: World, number: str) -> None:
    """A page's number that cannot be one is not shown, and is no bug of the console."""
    run_id = world.start(LOOP)
    world.settle_down()
    with console.follow(f"/runs/{run_id}/live", items=f"{number}:train") as stream:
        stream.until(lambda: "why" in stream.said)
    assert "items" not in stream.said


@pytest.mark.parametrize("path", ["/runs/{}/live", "/runs/{}/steps/train/live"], ids=["run", "step"])
def test_items_that_may_be_out_of_date_are_said(outages: Outages, world: World, path: str) -> None:
    """If only the listener of a page of items is lost, the page does not say that it is live."""
    run_id = world.start(LOOP)
    world.settle_down()
    with outages.console.follow(path.format(run_id), items="1:train") as stream:
        stream.until(lambda: "items" in stream.said and stream.said.get("problem") == "")
        outages.listener.problem_of_items = DOWN
        stream.until(lambda: DOWN in stream.said["problem"])
        outages.listener.problem_of_items = ""
        stream.until(lambda: not stream.said["problem"])
