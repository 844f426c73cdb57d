"""Streams of the console during outages and late answers, and when documents leave what is listened to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from atom_client.console import live
from atom_client.console.live import LONGEST_REST_S
from atom_emulator.testing.world import World
from atom_workflows.ports import Create, Query, Update
from support.deadline import eventually
from support.workflows import chain, script
from unit.client.console.outages import DOWN, Outages


@pytest.fixture
def world() -> World:
    """Return a world in which a step takes a minute."""
    return World(script(**{name: {"duration": 60} for name in ("s0", "s1", "l0", "l1", "l2", "l3", "l4")}))


def step_on(world: World) -> None:
    """Let a minute pass, in which a job ends."""
    world.clock.move(timedelta(seconds=70))
    world.tick()


def test_a_run_that_ended_long_ago_is_shown_as_it_is(outages: Outages, world: World) -> None:
    """A page that comes back after its feed was forgotten gets the stored states, and not merely a new time."""
    run_id = world.start(chain(2))
    world.run_to_end(run_id)
    outages.listener.steps_answer.clear()
    with outages.console.follow(f"/runs/{run_id}/live", after="another.7") as stream:
        next(stream.lines)
        # The run's own document is there before its steps.
        eventually(lambda: outages.console.feeds.documents_read, within_s=30, what="the run")
        outages.listener.steps_answer.set()
        lines = stream.rest()
    assert lines[-1]["ended"] is True
    assert {name: one["state"] for name, one in stream.steps.items()} == world.states(run_id)
    assert stream.said["run"]["state"] == "SUCCEEDED"
    assert stream.said["count"] == "2 of 2 steps ended: 2 SUCCEEDED."


def test_a_run_is_explained_only_once_its_steps_are_known(outages: Outages, world: World) -> None:
    """While the first documents are on their way, no page is told that no step is under way."""
    run_id = world.start(chain(2))
    world.settle_down()
    outages.listener.steps_answer.clear()
    with outages.console.follow(f"/runs/{run_id}/live") as stream:
        next(stream.lines)
        eventually(lambda: outages.console.feeds.documents_read, within_s=30, what="the run")
        outages.listener.steps_answer.set()
        stream.until(lambda: "why" in stream.said)
        assert stream.said["count"] == "0 of 2 steps ended: 1 PENDING, 1 RUNNING."
        assert not any(
            one["kind"] == "nothing" for line in stream.seen for one in line.get("why", {}).get("reasons", ())
        )


def test_a_stream_of_a_run_outlives_an_outage(outages: Outages, world: World) -> None:
    """Its viewer is told what is wrong, and once Firestore answers again, what has changed meanwhile."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = outages.console.ask(f"/runs/{run_id}")
    with outages.console.follow(f"/runs/{run_id}/live", after=opened["at"]) as stream:
        outages.begin()
        stream.until(lambda: bool(stream.said.get("problem")))
        step_on(world)
        # The listener is faster than the reads.
        outages.listener.problem = ""
        stream.until(lambda: stream.steps.get("s0", {}).get("state") == "SUCCEEDED")
        # Of what explains the run, nothing can be read yet.
        stream.until(lambda: stream.said.get("problem") == "")
        outages.end()
        stream.until(lambda: stream.said.get("count") == "1 of 2 steps ended: 1 RUNNING, 1 SUCCEEDED.")
    assert not any("error" in line for line in stream.seen)


@pytest.mark.parametrize("path", ["/live/runs", "/runs/{}/live", "/runs/{}/steps/s0/live"])
def test_a_stream_that_cannot_begin_is_asked_for_again(outages: Outages, world: World, path: str) -> None:
    """While Firestore does not answer, a stream ends with a problem, after which the page connects again by itself."""
    run_id = world.start(chain(2))
    world.settle_down()
    outages.listener.problem = DOWN
    with outages.console.follow(path.format(run_id)) as stream:
        last = stream.rest()[-1]
    assert DOWN in last["problem"]
    assert "error" not in last


def test_a_list_outlives_an_outage(outages: Outages, world: World) -> None:
    """If the progress of runs cannot be counted, the list's stream ends with a problem and not for good."""
    opened = outages.console.ask("/runs")
    with outages.console.follow("/live/runs", after=opened["at"]) as stream:
        stream.next()
        outages.store.problem = DOWN
        world.start(chain(2))
        world.settle_down()
        last = stream.rest()[-1]
    assert DOWN in last["problem"]


def test_a_refusal_ends_a_stream_for_good(outages: Outages, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not read is told so once, with the role that is missing, and does not ask again and again."""
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    run_id = world.start(chain(2))
    world.settle_down()
    opened = outages.console.ask(f"/runs/{run_id}")
    with outages.console.follow(f"/runs/{run_id}/live", after=opened["at"]) as stream:
        stream.next()
        outages.store.problem = "403 Missing or insufficient permissions."
        step_on(world)
        last = stream.rest()[-1]
    assert "roles/datastore.user" in last["error"]


def test_a_problem_says_what_to_do(outages: Outages, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has the sentence that a request would be answered with, not only the transport's words."""
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    run_id = world.start(chain(2))
    world.settle_down()
    with outages.console.follow(f"/runs/{run_id}/live") as stream:
        stream.next()
        outages.listener.problem = "Firestore does not answer: 503 Getting metadata from plugin failed: invalid_grant"
        stream.until(lambda: bool(stream.said.get("problem")))
    assert "gcloud auth application-default login" in stream.said["problem"]


def copies(world: World, names: Sequence[str], **fields: Any) -> None:
    """Store copies of the newest run under these ids."""
    [run, *_] = world.store.inner.query(Query(collection="runs"))
    world.store.commit([Create(path=f"runs/{name}", fields={**run.fields, **fields}) for name in names])


def test_an_open_run_stays_listed_behind_a_full_window(
    outages: Outages, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many open runs are listened to: one that another pushes out is read again, not removed from the list."""
    monkeypatch.setattr("atom_client.views.live_runs.MOST_LISTENED", 5)
    monkeypatch.setattr(live, "MOST_LISTENED", 5)
    world.start(chain(1))
    copies(world, [f"m{number}" for number in range(5)], state="QUEUED")
    opened = outages.console.ask("/runs", state="QUEUED")
    with outages.console.follow("/live/runs", state="QUEUED", after=opened["at"]) as stream:
        stream.next()
        copies(world, ["a0"], state="QUEUED")
        stream.until(lambda: "a0" in [one["id"] for one in stream.said.get("runs", ())])
        assert {one["id"] for one in stream.said["runs"]} == {"a0", "m4"}
        world.store.commit([Update(path="runs/m0", fields={"state": "CANCELLED"})])
        stream.until(lambda: stream.said.get("gone") == ["m0"])
    assert not any("m4" in line.get("gone", ()) for line in stream.seen)
    assert "5 " in stream.said["note"]


@pytest.mark.parametrize("args", [{}, {"state": "QUEUED"}], ids=["all", "open"])
def test_a_deleted_run_leaves_the_list(outages: Outages, world: World, args: dict[str, str]) -> None:
    """A run whose documents were deleted is gone from each list."""
    world.start(chain(1))
    copies(world, ["b", "c"], state="QUEUED")
    opened = outages.console.ask("/runs", **args)
    with outages.console.follow("/live/runs", after=opened["at"], **args) as stream:
        stream.next()
        world.store.inner.delete("runs/b")
        stream.until(lambda: stream.said.get("gone") == ["b"])


def test_a_run_that_was_deleted_while_it_is_open_is_said(outages: Outages, world: World) -> None:
    """The stream of a run ends with a sentence if its document is deleted."""
    run_id = world.start(chain(1))
    world.settle_down()
    with outages.console.follow(f"/runs/{run_id}/live") as stream:
        stream.next()
        world.store.inner.delete(f"runs/{run_id}")
        last = stream.rest()[-1]
    assert "was deleted" in last["error"]


def test_explanations_that_read_much_come_seldom(outages: Outages, world: World) -> None:
    """However many documents explain a run, on average no more than the bound are read per second."""
    loops = "".join(f"- {{id: l{n}, forEach: [1, 2, 3], task: {{imageUri: i}}}}\n" for n in range(12))
    run_id = world.start(f"name: flow\nsteps:\n{loops}")
    world.settle_down()
    before = world.store.reads
    outages.console.ask(f"/runs/{run_id}")
    reads = world.store.reads - before
    with outages.console.feeds.watch(live.run_key(run_id), lambda: live.WatchedRun(world.run(run_id))) as feed:
        due_in = feed.state.due_in()
    # The request has read the run, too, and its own time has passed since.
    pause = (reads - 1) / live.EXPLANATION_READS_PER_S
    assert pause > 2 * LONGEST_REST_S
    assert pause - 5 < due_in <= pause
