"""The three functions in this process, on a world that the test owns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atom_emulator.testing.world import World
from atom_workflows import bootstrap
from functions.posting import Deployed, without_handlers

DEFINITION = (
    "name: flow\nsteps:\n"
    "  - {id: extract, task: {imageUri: image}}\n"
    "  - {id: load, dependsOn: [extract], task: {imageUri: image}}\n"
)
"""What the golden files' runs are runs of."""


@pytest.fixture
def world() -> World:
    """Return a coordinator with one workflow, whose jobs take five seconds."""
    world = World("default: {duration: 5}")
    for generation in (None, "1700000000000001"):
        world.files.content["gs://flows/workflows/daily.yaml", generation] = DEFINITION.encode()
    return world


@pytest.fixture
def run_id(world: World) -> str:
    """Start the run that the golden files name, and publish its first step."""
    started = world.start(DEFINITION)
    world.bus.take_all("events")
    return started


@pytest.fixture
def functions(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Deployed]:
    """Return the functions as deployed on that world."""
    without_handlers(monkeypatch)
    deployed = Deployed(monkeypatch, lambda: capsys.readouterr().out)
    deployed.on(world.services)
    yield deployed
    bootstrap.services.cache_clear()
