"""What the console answers about a run's graph, and how many documents it reads for that."""

from __future__ import annotations

from typing import Any, Final

import pytest

from atom_client.console.app import Console, create_app
from atom_client.console.server import BLUEPRINTS
from atom_client.graph.folding import LEAST_FOLDED
from atom_emulator.testing.world import World
from support.asked import ask
from support.workflows import chain, fan, layers

HEADERS: Final = {"X-Atom-Token": "t", "Host": "127.0.0.1"}
OF_RUN: Final = 1
"""Finding a run by its id takes one read."""


class Desk:
    """A console that keeps what it knows between requests."""

    def __init__(self, world: World) -> None:
        self.world = world
        console = Console(services=world.services, token="t", place="a test")  # noqa: S106 (listens nowhere)
        self.client = create_app(console, BLUEPRINTS).test_client()

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        """Send a body, and return the status and the answer."""
        answer = self.client.post(f"/api{path}", headers=HEADERS, json=body)
        return answer.status_code, answer.get_json()

    def reads(self, path: str) -> int:
        """Ask, and return how many documents were read."""
        before = self.world.store.reads
        assert self.client.get(f"/api{path}", headers=HEADERS).status_code == 200
        return self.world.store.reads - before


@pytest.fixture
def world() -> World:
    """Return a world with a run that has barriers, which the graph hides."""
    return World()


def test_a_graph_hides_barriers_and_is_folded_as_asked(world: World) -> None:
    """The user's steps alone are nodes; wide fans are one, unless they are opened."""
    run_id = world.start(fan(40))
    answer = ask(world, f"/runs/{run_id}/graph").body
    assert answer["nodes"] == ["join", "leaf0", "root"]
    assert answer["steps"] == 42
    assert len(ask(world, f"/runs/{run_id}/graph", fold="none").body["nodes"]) == 42
    assert len(ask(world, f"/runs/{run_id}/graph", open="leaf0").body["nodes"]) == 42


def test_full_layers_hide_the_barriers_between_them(world: World) -> None:
    """Steps that are all connected through a barrier are drawn with lines between steps."""
    run_id = world.start(layers(3, LEAST_FOLDED - 1))
    answer = ask(world, f"/runs/{run_id}/graph").body
    assert len(answer["nodes"]) == 3 * (LEAST_FOLDED - 1)
    assert all(not name.startswith("~") for name in answer["nodes"])
    assert len(answer["lines"]) == 2 * 2 * (LEAST_FOLDED - 1) ** 2


def test_the_structure_of_a_run_is_read_once(world: World) -> None:
    """After the first answer, a graph costs what finds the run, however it is folded and whatever has changed."""
    run_id = world.start(chain(30))
    desk = Desk(world)
    assert desk.reads(f"/runs/{run_id}/graph") <= 30 + 5
    world.settle_down()
    assert desk.reads(f"/runs/{run_id}/graph") == OF_RUN
    assert desk.reads(f"/runs/{run_id}/graph?fold=none&open=s1") == OF_RUN


def test_a_graph_after_its_run_was_shown_reads_no_step(world: World) -> None:
    """The page of a run reads all steps, so its graph needs none of them again."""
    run_id = world.start(chain(30))
    desk = Desk(world)
    desk.reads(f"/runs/{run_id}")
    assert desk.reads(f"/runs/{run_id}/graph") == OF_RUN
    lines = desk.client.get(f"/api/runs/{run_id}/graph", headers=HEADERS).get_json()["lines"]
    assert len(lines) == 2 * 29


def test_only_a_few_pictures_are_kept(world: World) -> None:
    """Memory is bounded: the run that was not looked at for the longest is read again."""
    runs = [world.start(chain(3), run_key=f"key-{number}") for number in range(9)]
    desk = Desk(world)
    for run_id in runs:
        desk.reads(f"/runs/{run_id}/graph")
    assert desk.reads(f"/runs/{runs[-1]}/graph") == OF_RUN
    assert desk.reads(f"/runs/{runs[0]}/graph") > 3


def test_an_unknown_way_to_fold_is_refused(world: World) -> None:
    """The answer names the ways that there are."""
    run_id = world.start(chain(2))
    answer = ask(world, f"/runs/{run_id}/graph", fold="origami")
    assert (answer.status, answer.body["error"]) == (
        400,
        "graphs cannot be folded by origami, only by fans, similar, none",
    )


def test_a_run_without_steps_has_an_empty_graph(world: World) -> None:
    """A run that was not started has no nodes, and that is no error."""
    run_id = world.start("name: bad")
    assert ask(world, f"/runs/{run_id}/graph").body["nodes"] == []


def test_a_file_is_drawn_as_a_run_of_it_would_be(world: World) -> None:
    """The graph of a file has the nodes of its run's graph, in the file's order, and is folded and opened as well."""
    file = {"name": "a.json", "text": fan(40)}
    status, body = Desk(world).post("/files/graph", file=file)
    assert (status, body["nodes"], body["steps"]) == (200, ["root", "leaf0", "join"], 42)
    assert len(Desk(world).post("/files/graph", file=file, fold="none")[1]["nodes"]) == 42
    assert len(Desk(world).post("/files/graph", file=file, open=["leaf0"])[1]["nodes"]) == 42


def test_an_invalid_file_has_no_graph(world: World) -> None:
    """Its problems are those that the check of the file lists."""
    status, body = Desk(world).post("/files/graph", file={"name": "a.yaml", "text": "name: bad"})
    assert (status, body) == (400, {"error": "a.yaml is not valid, so it has no graph"})
    assert Desk(world).post("/files/graph")[0] == 400
