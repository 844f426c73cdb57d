"""A console whose streams can be followed, without a browser or a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atom_client.console import live
from atom_emulator.testing.world import World
from support.watched import WatchedConsole
from support.workflows import script
from unit.client.console.outages import Outages


@pytest.fixture
def world() -> World:
    """Return a world in which a step takes a minute."""
    return World(script(**{name: {"duration": 60} for name in ("s0", "s1", "train")}))


@pytest.fixture
def console(world: World) -> Iterator[WatchedConsole]:
    """Yield a console on this world."""
    watched = WatchedConsole(world)
    yield watched
    watched.feeds.close()


@pytest.fixture
def outages(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outages]:
    """Yield a console on this world."""
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.1)
    monkeypatch.setattr(live, "RETRY_S", 0.1)
    outages = Outages(world)
    yield outages
    outages.end()
    outages.console.feeds.close()
