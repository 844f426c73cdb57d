"""What a workflow's history follows: steps of runs under way, whatever happens to other runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Create, Query, Update
from support.groups import limited
from support.groups import start as start_limited
from support.watched import Stream, WatchedConsole
from support.workflows import chain
from unit.client.console.outages import Outages


class Columns:
    """The states in the columns of a history that is followed, by run and step; deleted runs are left out."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._states: dict[str, dict[str, str]] = {}

    def until(self, run_id: str, **states: str) -> None:
        """Read lines until the steps of a run have these states."""
        self._stream.until(lambda: states.items() <= self._take().get(run_id, {}).items())

    def until_gone(self, run_id: str) -> None:
        """Read lines until a run has no column any longer."""
        self._stream.until(lambda: run_id in self._stream.said.get("gone", ()))

    def _take(self) -> dict[str, dict[str, str]]:
        for one in self._stream.said.pop("runs", ()):
            self._states.setdefault(one["id"], {}).update(
                {step: cell[0] for step, cell in one.get("cells", {}).items()}
            )
        return self._states


def step_on(world: World) -> None:
    """Let a minute pass, in which a job ends."""
    world.clock.move(timedelta(seconds=70))
    world.tick()


def open_runs(opened: dict[str, list[dict[str, object]]]) -> list[object]:
    """Return the runs that the page asks to follow: those that have begun."""
    return [one["id"] for one in opened["runs"] if one["started_at"] and one["state"] in {"QUEUED", "RUNNING"}]


def test_runs_in_line_leave_those_at_work_their_places(console: WatchedConsole, world: World) -> None:
    """However many newer runs are queued, the steps of the one at work are followed."""
    first, *_ = [start_limited(world, limited(2, group="one"), f"key-{number}") for number in range(12)]
    world.settle_down()
    opened = console.ask("/history", workflow="limited")
    assert {one["id"]: one["cells"] for one in opened["runs"] if one["cells"]}.keys() == {first}
    assert console.feeds.listening == 2
    with console.follow("/live/history", workflow="limited", after=opened["at"], run=open_runs(opened)) as stream:
        stream.next()
        step_on(world)
        Columns(stream).until(first, s0="SUCCEEDED")


def test_named_runs_that_have_not_begun_take_no_place(console: WatchedConsole, world: World) -> None:
    """A page may name any open run; only those that have steps are followed, and the others once they begin."""
    begun = []
    for number in range(12):
        begun.append(start_limited(world, limited(2, group="one"), f"key-{number}"))
        world.clock.move(timedelta(seconds=1))
    first, second, *others = begun
    world.settle_down()
    names = [*others, second, first]
    with console.follow("/live/history", workflow="limited", run=names) as stream:
        columns = Columns(stream)
        columns.until(first, s0="RUNNING")
        world.run_to_end(first)
        columns.until(first, s1="SUCCEEDED")
        world.run_to_end(second)
        columns.until(second, s1="SUCCEEDED")


def test_a_run_is_followed_until_its_last_step_is_shown(outages: Outages, world: World) -> None:
    """A page that comes back after a run has ended gets its steps, even if they arrive after the run."""
    run_id = world.start(chain(2))
    world.run_to_end(run_id)
    outages.listener.steps_answer.clear()
    with outages.console.follow("/live/history", workflow="flow", run=run_id) as stream:
        stream.until(lambda: any("cells" in one for one in stream.said.get("runs", ())))
        outages.listener.steps_answer.set()
        Columns(stream).until(run_id, s0="SUCCEEDED", s1="SUCCEEDED")


def test_a_deleted_run_leaves_the_history(console: WatchedConsole, world: World) -> None:
    """Its column goes, whether its steps are followed or not, and the others are still followed."""
    gone, ended, kept = [world.start(chain(2), run_key=str(number)) for number in range(3)]
    world.settle_down()
    world.store.inner.commit([Update(path=run_path(ended), fields={"state": "CANCELLED"})])
    opened = console.ask("/history", workflow="flow")
    with console.follow("/live/history", workflow="flow", after=opened["at"], run=[gone, kept]) as stream:
        stream.next()
        columns = Columns(stream)
        world.store.inner.delete(run_path(ended))
        columns.until_gone(ended)
        world.store.inner.delete(run_path(gone))
        columns.until_gone(gone)
        step_on(world)
        columns.until(kept, s0="SUCCEEDED")
    # Whoever comes back names it again.
    with console.follow("/live/history", workflow="flow", after=opened["at"], run=[gone, kept]) as stream:
        columns = Columns(stream)
        columns.until_gone(gone)
        world.run_to_end(kept)
        columns.until(kept, s1="SUCCEEDED")


def test_a_run_that_newer_ones_push_out_stays_in_the_history(
    console: WatchedConsole, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many of the newest runs are listened to; the older ones still exist."""
    monkeypatch.setattr("atom_client.views.live_runs.MOST_LISTENED", 5)
    world.start(chain(2))
    [run] = world.store.inner.query(Query(collection="runs"))

    def copy(name: str) -> None:
        world.clock.move(timedelta(minutes=1))
        fields = {**run.fields, "created_at": world.clock.now()}
        world.store.commit([Create(path=f"runs/{name}", fields=fields)])

    for number in range(5):
        copy(f"m{number}")
    opened = console.ask("/history", workflow="flow")
    with console.follow("/live/history", workflow="flow", after=opened["at"]) as stream:
        stream.next()
        copy("n0")
        stream.until(lambda: "n0" in [one["id"] for one in stream.said.get("runs", ())])
        world.store.inner.delete("runs/m3")
        Columns(stream).until_gone("m3")
    assert [line["gone"] for line in stream.seen if "gone" in line] == [["m3"]]


def test_a_step_of_a_newer_version_ends_no_history(console: WatchedConsole, world: World) -> None:
    """During a rollout, only that run's steps are no longer followed."""
    newer, kept = [world.start(chain(2), run_key=str(number)) for number in range(2)]
    world.settle_down()
    opened = console.ask("/history", workflow="flow")
    with console.follow("/live/history", workflow="flow", after=opened["at"], run=[newer, kept]) as stream:
        stream.next()
        world.store.inner.commit([Update(path=step_path(newer, "s0"), fields={"schema": 9_999})])
        world.store.inner.commit([Update(path=step_path(kept, "s0"), fields={"state": "FAILED"})])
        Columns(stream).until(kept, s0="FAILED")
    again = console.ask("/history", workflow="flow")
    assert [one["id"] for one in again["runs"]] == [kept]
    assert f"a newer version wrote them: `{newer}`" in again["text"]


def test_the_runs_of_a_history_are_waited_for_together(outages: Outages, world: World) -> None:
    """All of their listeners begin before anyone waits for the first one."""
    for number in range(3):
        world.start(chain(2), run_key=str(number))
    world.settle_down()
    outages.listener.steps_answer.clear()
    outages.listener.answers_after = 3
    opened = outages.console.ask("/history", workflow="flow")
    assert [one["cells"]["s0"][0] for one in opened["runs"]] == ["RUNNING"] * 3
