"""What the console's server answers, without a browser."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from atom_client.console.app import Console, create_app
from atom_client.console.server import BLUEPRINTS
from atom_emulator.testing.world import World

_TOKEN = "token"  # noqa: S105 (of a server that listens nowhere)


class Answer(NamedTuple):
    """An answer, and how many documents were read for it."""

    status: int
    body: Any
    reads: int


def ask(world: World, path: str, **args: Any) -> Answer:
    """Return the console's answer to a request of its own page."""
    console = Console(services=world.services, token=_TOKEN, place="a test")
    client = create_app(console, BLUEPRINTS).test_client()
    before = world.store.reads
    address = f"/api{path}?{urlencode(args, doseq=True)}"
    response = client.get(address, headers={"X-Atom-Token": _TOKEN, "Host": "127.0.0.1"})
    return Answer(status=response.status_code, body=response.get_json(), reads=world.store.reads - before)
