"""A coordinator of which two versions are deployed: each event is handled by the one or the other, as the dice fall."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import pytest

from atom_emulator.pubsub.memory import TakenMessage
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import NewerVersion
from atom_workflows.messages import fields, internal
from atom_workflows.ports import Bus, Create, Document, Message, Query, Store, Write, WriteResult

ADDED: Final = "added_later"


@dataclass(frozen=True, slots=True)
class NewerStore:
    """Writes a field that the older version does not know, in each document that it makes."""

    inner: Store

    def get(self, paths: Sequence[str]) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self.inner.get(paths)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.inner.commit([_with_added(write) for write in writes])

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)


@dataclass(frozen=True, slots=True)
class NewerBus:
    """Publishes a field that the older version does not know, in each event."""

    inner: Bus

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.inner.publish([_with_more(message) for message in messages])


@dataclass(slots=True)
class Seen:
    """What happened during the rollout."""

    handled: dict[str, int] = field(default_factory=lambda: {"older": 0, "newer": 0})
    refused: int = 0


class Rollout(World):
    """`newer_schema` is the schema of the events of the newer version; with 1, it only adds fields.

    An event that a version refuses is delivered again. No step is dispatched within the event that released it, so that
    every step of the way is an event.
    """

    def __init__(self, seed: int, patch: pytest.MonkeyPatch, *, newer_schema: int = 1, script: str = "") -> None:
        super().__init__(script, inline_budget=timedelta(0))
        self.seen = Seen()
        self.newer_share = 0.5
        self._dice = random.Random(seed)  # noqa: S311 (a test's choice, not a secret)
        self._patch = patch
        self._newer_schema = newer_schema
        self._older = self.services
        self._newer = replace(self.services, store=NewerStore(self.store), bus=NewerBus(self.bus))

    def deliver(self, taken: TakenMessage) -> None:
        """Let one of the versions handle the event."""
        with self._one_version():
            try:
                super().deliver(taken)
            except NewerVersion:
                self.seen.refused += 1
                self.bus.nack(taken)

    def tick(self) -> None:
        """Wake the checker of one of the versions."""
        with self._one_version():
            super().tick()

    @contextmanager
    def _one_version(self) -> Iterator[None]:
        name = "newer" if self._dice.random() < self.newer_share else "older"
        self.seen.handled[name] += 1
        before: Services = self.services
        with self._patch.context() as patch:
            for module in (internal, fields):
                patch.setattr(module, "SCHEMA", self._newer_schema if name == "newer" else 1)
            self.services = self._newer if name == "newer" else self._older
            yield
        self.services = before


def _with_added(write: Write) -> Write:
    return replace(write, fields={**write.fields, ADDED: {"by": "newer"}}) if isinstance(write, Create) else write


def _with_more(message: Message) -> Message:
    return message if message.body is None else replace(message, body={**message.body, ADDED: True})
