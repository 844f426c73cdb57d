"""Commands that wait for a run, when its platform has gone."""

from __future__ import annotations

import socket
import time

import click
import pytest

from atom_client.cli.follow import Waiting
from atom_client.cli.output import Output
from atom_client.errors import Failure
from atom_client.views.progress import RunView
from atom_emulator.testing.world import World
from support.workflows import chain, script


def closed_port() -> str:
    """Return an address at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def test_a_run_whose_platform_has_gone_before_it_was_followed_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its history says nothing new any more, so whoever waits is told."""
    world = World(script(s0={"duration": 1000}))
    run_id = world.start(chain(1))
    world.settle_down()
    for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
        monkeypatch.setenv(name, closed_port())
    monkeypatch.setattr(time, "sleep", lambda _: None)
    waiting = Waiting(
        services=world.services,
        view=RunView(run_id=run_id),
        output=Output(aside=True),
        reads_history=True,
        timeout_s=1.0,
    )
    with click.Context(click.Command("watch")), pytest.raises(Failure, match=r"the local platform at .* has stopped"):
        waiting.to_end(lambda: "Watching.")
