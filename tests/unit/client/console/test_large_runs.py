"""Answers about runs with thousands of steps stay small and quick."""

from __future__ import annotations

import gzip
import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from atom_client.console.app import LARGE_BYTES, Console, create_app
from atom_client.console.server import BLUEPRINTS
from atom_client.views.why_open import count_behind
from atom_emulator.testing.world import World
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from support.asked import ask
from support.workflows import chain, fan, script

FAILING = {"fail_times": 9, "message": "exit code 1"}


def get(world: World, path: str, **headers: str) -> Any:
    """Return the console's response."""
    console = Console(services=world.services, token="t", place="a test")  # noqa: S106 (listens nowhere)
    client = create_app(console, BLUEPRINTS).test_client()
    return client.get(f"/api{path}", headers={"X-Atom-Token": "t", "Host": "127.0.0.1", **headers})


def test_a_step_has_only_what_lists_show() -> None:
    """Of 10,000 steps, each member counts; the page of a step asks for the others."""
    world = World(script(s0={"duration": 5}, s1={"duration": 5, **FAILING}))
    run_id = world.start(chain(3))
    world.run_to_end(run_id)
    first, second, third = ask(world, f"/runs/{run_id}").body["steps"]
    assert first.keys() == {"id", "state", "attempts", "started_at", "duration_s"}
    assert second.keys() == {*first, "remark"}
    assert third.keys() == {"id", "state", "remark"}


def test_reasons_of_a_kind_are_bounded_and_counted() -> None:
    """A run of many failed steps is explained by the first ones, and the number of the others."""
    world = World(script(**{f"leaf{number}": FAILING for number in range(120)}))
    run_id = world.start(fan(120))
    world.run_to_end(run_id)
    why = ask(world, f"/runs/{run_id}").body["why"]
    kinds = [one["kind"] for one in why["reasons"]]
    failed = sum(state == "FAILED" for state in world.states(run_id).values())
    assert failed == 120
    assert kinds.count("failed") == 50
    assert why["more"]["failed"] == 70


def test_a_large_answer_is_compressed_for_who_accepts_that() -> None:
    """Through a tunnel, megabytes of steps take seconds; others get them as they are."""
    world = World()
    run_id = world.start(fan(1_000))
    world.settle_down()
    plain, packed = get(world, f"/runs/{run_id}"), get(world, f"/runs/{run_id}", **{"Accept-Encoding": "br, gzip"})
    assert len(plain.data) > LARGE_BYTES > 3 * len(packed.data)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Cache-Control"] == "no-store"
    assert len(json.loads(gzip.decompress(packed.data))["steps"]) == len(plain.get_json()["steps"]) == 1_002
    small = get(world, "/console", **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers


def counted_by_walks(step: StepRecord, nodes: Mapping[str, StepRecord]) -> int:
    """Count the steps behind a step in the plain way."""
    found: set[str] = set()
    pending = deque(step.dependents)
    while pending:
        node = nodes[pending.popleft()]
        if node.id not in found and node.state is StepState.PENDING:
            found.add(node.id)
            pending += node.dependents
    return len({name for name in found if not name.startswith("~")})


@pytest.mark.parametrize("seed", range(20))
def test_waiting_steps_are_counted_at_once(seed: int) -> None:
    """The numbers are those of a walk from each step; a loop in broken documents does no harm."""
    world = World()
    [one, *_] = world.steps(world.start(chain(1))).values()
    chance = random.Random(seed)  # noqa: S311 (of a test)
    names = [f"{'~' * (number % 7 == 3)}n{number:02}" for number in range(40)]
    states = [StepState.PENDING] * 5 + [StepState.SUCCEEDED]
    nodes = {
        name: replace(
            one,
            id=name,
            state=chance.choice(states),
            dependents=tuple(chance.sample(names[number + 1 :], min(3, len(names) - number - 1))),
        )
        for number, name in enumerate(names)
    }
    assert count_behind(nodes.values(), nodes) == {name: counted_by_walks(node, nodes) for name, node in nodes.items()}
    looped = {**nodes, names[-1]: replace(nodes[names[-1]], dependents=(names[0],))}
    assert count_behind(looped.values(), looped).keys() == nodes.keys()
