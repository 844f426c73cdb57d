"""Something that happens between two calls of a handler to the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from atom_emulator.testing.world import World
from atom_workflows.errors import Conflict
from atom_workflows.ports import Document, Query, Store, Write, WriteResult

T = TypeVar("T")

Before = Callable[[str, Any], bool]
"""Given a call's name and argument, whether this is the moment; called for each until it says yes."""


class Meanwhile:
    """A store before one of whose calls something else happens, once."""

    def __init__(self, inner: Store, moment: Before, happens: Callable[[], None]) -> None:
        self._inner, self._moment, self._happens = inner, moment, happens
        self.happened = False

    def _before(self, name: str, argument: Any) -> None:
        if not self.happened and self._moment(name, argument):
            self.happened = True
            self._happens()

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        self._before("get", paths)
        return self._inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        self._before("commit", writes)
        return self._inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        self._before("query", query)
        return self._inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        self._before("count", query)
        return self._inner.count(query)


def meanwhile(world: World, moment: Before, happens: Callable[[], None]) -> Meanwhile:
    """Let something happen at one moment of the next handler.

    Other handlers run as before.
    """
    plain = world.services
    store = Meanwhile(plain.store, moment, happens=lambda: _with(world, plain, happens))
    world.services = replace(plain, store=store)
    return store


def refuse(world: World, moment: Callable[[Sequence[Write]], bool]) -> Meanwhile:
    """Refuse one commit, as a contended store does."""

    def conflict() -> None:
        raise Conflict

    return meanwhile(world, lambda name, argument: name == "commit" and moment(argument), conflict)


def _with(world: World, services: Any, happens: Callable[[], None]) -> None:
    interrupted, world.services = world.services, services
    try:
        happens()
    finally:
        world.services = interrupted
