"""Documents that a console does not expect: too new, deleted meanwhile, too large, or not files at all."""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path

import pytest

from atom_client.errors import Misuse
from atom_client.planning.repairs import find_own_file
from atom_client.views.dead_letters import Desk
from atom_emulator.testing.world import World
from atom_workflows.ports import Update
from support.asked import ask
from support.watched import WatchedConsole
from support.workflows import chain, fan, script
from unit.client.console.asking import Page
from unit.client.console.test_actions import world_with_letter


def test_a_history_names_the_runs_that_it_cannot_show() -> None:
    """A run that a newer version wrote is not left out in silence."""
    world = World()
    run_id = world.start(chain(1))
    world.store.inner.commit([Update(path=f"runs/{run_id}", fields={"schema": 9_999})])
    answer = ask(world, "/history", workflow="flow").body
    assert answer["runs"] == []
    assert f"a newer version wrote them: `{run_id}`" in answer["text"]


def test_a_timeline_outlives_the_deletion_of_steps() -> None:
    """A graph is kept for a while; if retention deletes a step meanwhile, the others are still shown."""
    world = World(script(**{f"s{number}": {"duration": 60} for number in range(60)}))
    run_id = world.start(fan(30))
    world.settle_down()
    console = WatchedConsole(world)
    console.ask(f"/runs/{run_id}/graph")
    folded = [fan for fan in console.ask(f"/runs/{run_id}/timeline")["fans"] if len(fan) > 1]
    gone = sorted(world.steps(run_id))[5]
    world.store.inner.delete(f"runs/{run_id}/steps/{gone}")
    console.feeds.close()
    after = console.ask(f"/runs/{run_id}/timeline")
    assert folded
    assert len(after["steps"]) == 31
    console.feeds.close()


@pytest.mark.parametrize("kind", ["pipe", "large"])
def test_only_a_file_of_a_workflows_size_is_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts runs chooses the name of their file: a pipe hangs nothing, and a huge file fills no memory."""
    monkeypatch.chdir(tmp_path)
    world = World()
    run = world.run(world.start(chain(1)))
    name = Path(str(run.source["path"])).name
    if kind == "pipe":
        os.mkfifo(name)
    else:
        with Path(name).open("wb") as file:
            file.truncate(1 << 40)
    problems: list[str] = []

    def find() -> None:
        with pytest.raises(Misuse) as caught:
            find_own_file(world.services, run, advice="choose it")
        problems.append(str(caught.value))

    finding = threading.Thread(target=find, daemon=True)
    finding.start()
    finding.join(10)
    assert ["choose it" in one for one in problems] == [True]


def test_a_letter_is_sent_without_what_the_page_does_not_show() -> None:
    """Its raw data may be large, and holds the password of a Task Runner's address."""
    _, _, page = world_with_letter()
    [letter] = page.get("/dead-letters").body["dead_letters"]
    shown = page.get(f"/dead-letters/{letter['id']}").body
    assert shown["body_text"]
    assert not {"body", "data_base64"} & shown.keys()


class CountedLock:
    """A lock that knows how many have asked for it."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self._lock = threading.Lock()

    def acquire(self, *, timeout: float) -> bool:
        """Say so, and wait for the lock."""
        self.arrived.release()
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        """Let the next one have it."""
        self._lock.release()


def test_two_first_requests_make_one_desk() -> None:
    """Clients for dead letters are made once, though two tabs ask for them at the same time."""
    world, box, _ = world_with_letter()
    lock, made = CountedLock(), list[int]()

    @cache
    def make() -> Desk:
        made.append(1)
        # The other request is here, too, and waits for its turn.
        assert all(lock.arrived.acquire(timeout=30) for _ in range(2))
        return Desk(bus=world.bus, box=box, project="demo")

    page = Page(world.services, desk=make, desk_lock=lock)
    threads = [threading.Thread(target=lambda: page.get("/dead-letters")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_run_is_read_once_to_be_found_by_its_id() -> None:
    """The record that shows that the id exists is the one that is shown."""
    world = World()
    run_id = world.start(chain(1))
    world.run_to_end(run_id)
    nodes = len(world.steps(run_id))
    assert ask(world, f"/runs/{run_id}").reads == nodes + 1


def test_a_request_that_no_document_could_hold_is_refused() -> None:
    """A lone surrogate, which JSON can express, or endless nesting is the request's mistake."""
    world = World()
    page, run_id = Page(world.services), world.start(chain(1))
    lone = page.preview(f"/runs/{run_id}/mark", step="\ud800", state="succeeded")
    assert (lone.status, lone.error) == (400, "`step` has half of a surrogate pair, which is not a character")
    deep = page.send(f"/runs/{run_id}/mark", b"[" * 200_000)
    assert (deep.status, deep.error) == (400, "the request is nested too deeply")
