"""A console whose streams are read line by line, without a browser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode

from atom_client.console.app import Console, create_app
from atom_client.console.feeds import Feeds
from atom_client.console.server import BLUEPRINTS
from atom_emulator.firestore.memory import MemoryListener
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services
from atom_workflows.listening import Listener

_TOKEN: Final = "token"  # noqa: S105 (of a server that listens nowhere)
_WITHIN_S: Final = 30.0


class Stream:
    """The lines of one stream, with everything that they said so far."""

    def __init__(self, lines: Iterator[bytes], close: Callable[[], None]) -> None:
        self.lines = lines
        self.close = close
        self.seen: list[dict[str, Any]] = []
        self.said: dict[str, Any] = {}
        self.steps: dict[str, Any] = {}

    def next(self) -> dict[str, Any]:
        """Return the next line that is not empty."""
        deadline = time.monotonic() + _WITHIN_S
        for line in self.lines:
            assert time.monotonic() < deadline, self.seen
            if line.strip():
                said: dict[str, Any] = json.loads(line)
                self.seen.append(said)
                self.said |= said
                self.steps |= {one["id"]: one for one in said.get("steps", ())}
                return said
        raise EOFError("the stream has ended")

    def until(self, condition: Callable[[], bool]) -> None:
        """Read lines until this is true."""
        deadline = time.monotonic() + _WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, self.seen
            self.next()

    def rest(self) -> list[dict[str, Any]]:
        """Read to the end, and return all lines."""
        try:
            while True:
                self.next()
        except EOFError:
            return self.seen


class WatchedConsole:
    """A console on a world, with what it has read, as Firestore bills it."""

    def __init__(
        self, world: World, *, services: Services | None = None, listener: Listener | None = None, **options: Any
    ) -> None:
        self.world = world
        self.feeds = Feeds(listener or MemoryListener(world.store.inner), **options)
        console = Console(services=services or world.services, token=_TOKEN, place="a test", feeds=self.feeds)
        self._client = create_app(console, BLUEPRINTS).test_client()

    @property
    def reads(self) -> int:
        """The documents read so far."""
        return self.world.store.reads + self.feeds.documents_read

    def _get(self, path: str, args: dict[str, Any]) -> Any:
        address = f"/api{path}?{urlencode(args, doseq=True)}"
        return self._client.get(address, headers={"X-Atom-Token": _TOKEN, "Host": "127.0.0.1"})

    def ask(self, path: str, **args: Any) -> Any:
        """Return the answer to a request."""
        return self._get(path, args).get_json()

    @contextmanager
    def follow(self, path: str, **args: Any) -> Iterator[Stream]:
        """Yield a stream until the block ends."""
        response = self._get(path, args)
        stream = Stream(response.iter_encoded(), response.close)
        try:
            yield stream
        finally:
            response.close()
