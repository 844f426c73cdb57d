"""How many documents each view reads when it is opened, and in a minute of watching: what has changed, not everything.

The table in docs/how-to/console.md has these numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from atom_client.console import histories, live, live_steps, schedules
from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.schedules import pause_schedules, resume_schedules
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from support.watched import WatchedConsole
from support.workflows import fan, script

STEPS = 10_000
# With the nodes that join so many steps.
NODES = STEPS + 390
# No two changes are the same, which would be none.
CHANGES = count()
LOOP = f"name: loop\nsteps:\n- {{id: train, forEach: {list(range(STEPS))}, task: {{imageUri: i}}}}\n"
PATH = "gs://bucket/workflows/flow.yaml"

# Documents in a minute: what explains a run is read at two a second, and which items are on a page at ten.
EXPLAINED, CHOSEN, ONE_CHOICE = 120, 600, 520


@dataclass(frozen=True, slots=True)
class View:
    """What a view asks for, one after the other, and follows, and how many documents it may read.

    `a_minute` is for what is read at a limited pace if something changes, besides the changes themselves.
    """

    asks: str
    follows: str
    opening: int
    each_change: int = 1
    a_minute: int = EXPLAINED


FAN = {
    "runs": View("/runs", "/live/runs", 10, each_change=0, a_minute=10),
    "run": View("/runs/{}", "/runs/{}/live", NODES + 10),
    "step": View("/runs/{}/steps/leaf1", "/runs/{}/steps/leaf1/live", 30),
    "history": View("/history?workflow=flow", "/live/history?workflow=flow", 10, each_change=0, a_minute=0),
}


@pytest.fixture(scope="module")
def wide() -> tuple[World, str]:
    """Return a world with a run of 10,000 steps; each test watches it with a console of its own."""
    world = World(script(leaf1={"duration": 600}))
    run_id = world.start(fan(STEPS - 2))
    world.settle_down()
    return world, run_id


@pytest.fixture(scope="module")
def loop() -> tuple[World, str]:
    """Return a world with a run of 10,000 items."""
    world = World(script(train={"duration": 600}))
    run_id = world.start(LOOP)
    world.settle_down()
    return world, run_id


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that lets seconds pass for whatever limits its pace, without waiting."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for module in (live, live_steps, histories):
        monkeypatch.setattr(module, "LEAST_PAUSE_S", 0.0)
    for module in (live, live_steps):
        monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.005)
    monkeypatch.setattr(live, "SILENCE_S", 0.0)
    monkeypatch.setattr(histories, "POLL_S", 0.005)

    def pass_by(many: float) -> None:
        now[0] += many

    return pass_by


def watch(
    world: World, view: View, run_id: str, change: Callable[[int], None], seconds: Callable[[float], None]
) -> tuple[int, int, int]:
    """Return what a view reads when it is opened, in a quiet minute, and in one with a change each second."""
    console = WatchedConsole(world)
    began, opened = console.reads, dict[str, Any]()
    for asks in view.asks.split():
        path, _, query = asks.format(run_id).partition("?")
        args = dict(one.split("=") for one in query.split("&") if one)
        opened |= console.ask(path, **args)
    followed, _, query = view.follows.format(run_id).partition("?")
    more = dict(one.split("=") for one in query.split("&") if one)
    with console.follow(followed, **more, after=opened.get("at", "")) as stream:
        stream.next()
        opening, counts = console.reads - began, []
        for has_changes in (False, True):
            before = console.reads
            for _ in range(60):
                seconds(1.0)
                if has_changes:
                    change(next(CHANGES))
                if any(b'"changed"' in next(stream.lines) for _ in range(2)):
                    # So does the page of a step.
                    console.ask(path, **args)
            counts.append(console.reads - before)
    console.feeds.close()
    return opening, counts[0], counts[1]


@pytest.mark.parametrize("name", FAN)
def test_a_run_of_many_steps_is_read_once(name: str, wide: tuple[World, str], seconds: Callable[[float], None]) -> None:
    """Opening reads each document once at most, a quiet minute nothing, and a busy one what has changed."""
    world, run_id = wide
    view = FAN[name]

    def change(number: int) -> None:
        path = step_path(run_id, "leaf1" if name == "step" else f"leaf{number % 200 + 10}")
        world.store.commit([Update(path=path, fields={"message": f"at {number}"})])

    opening, quiet, busy = watch(world, view, run_id, change, seconds)
    assert opening <= view.opening
    assert quiet <= (view.a_minute if name == "runs" else 0)
    assert (busy > 0) or not view.each_change
    assert busy <= 60 * view.each_change + view.a_minute


def test_the_views_of_a_run_share_what_was_read(wide: tuple[World, str]) -> None:
    """Its graph and its timeline read nothing more, however often they are read again."""
    world, run_id = wide
    console = WatchedConsole(world)
    console.ask(f"/runs/{run_id}")
    before = console.reads
    for _ in range(2):
        console.ask(f"/runs/{run_id}/timeline")
        console.ask(f"/runs/{run_id}/graph")
    assert console.reads - before <= 4
    console.feeds.close()


def test_a_page_of_many_items_is_chosen_at_a_limited_pace(
    loop: tuple[World, str], seconds: Callable[[float], None]
) -> None:
    """Of 10,000 items, those on the page are read; after the first time, which these are at ten documents a second."""
    world, run_id = loop

    def change(number: int) -> None:
        path = step_path(run_id, f"train[{number % 40}]")
        world.store.commit([Update(path=path, fields={"message": f"at {number}"})])

    view = View("/runs/{} /runs/{}/steps/train/items", "/runs/{}/live?items=1:train", 1_100)
    opening, quiet, busy = watch(world, view, run_id, change, seconds)
    assert opening <= view.opening
    assert quiet == 0
    assert busy <= 60 + EXPLAINED + CHOSEN + ONE_CHOICE


def test_schedules_read_what_has_changed(seconds: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is two documents, once, and then one for each change of its schedules."""
    monkeypatch.setattr(schedules, "POLL_S", 0.0)
    world = World(clock=MovedClock(datetime(2026, 3, 27, 12, tzinfo=UTC)))
    world.upload("schedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]\n")

    def change(number: int) -> None:
        switch = resume_schedules if number % 2 else pause_schedules
        before = world.store.reads
        switch(world.services, PATH, actor="ana@there")
        world.store.reads = before

    view = View("/schedules", "/live/schedules", 2)
    opening, quiet, busy = watch(world, view, "", change, seconds)
    assert (opening, quiet) == (2, 0)
    assert busy <= 60
