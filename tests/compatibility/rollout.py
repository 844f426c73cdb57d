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
from atom_workflows import documents
from atom_workflows.coordinator import preparation
from atom_workflows.coordinator.checker import due_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.documents import SCHEMAS
from atom_workflows.errors import NewerVersion
from atom_workflows.messages import fields, internal
from atom_workflows.messages import start as start_events
from atom_workflows.messages.fields import SCHEMA_OF_COMMANDS, SCHEMA_OF_ITEMS, SCHEMA_OF_MARKS
from atom_workflows.ports import Bus, Create, Document, Message, Query, Store, Write, WriteResult

ADDED: Final = "added_later"


@dataclass(frozen=True, slots=True)
class NewerStore:
    """Writes a field that the older version does not know, in each document that it makes."""

    inner: Store

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self.inner.get(paths, fields=fields)

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
class WatchedStore:
    """Notes the runs of which documents are written."""

    inner: Store
    written: set[str]

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        self.written.update(write.path.split("/")[1] for write in writes if write.path.startswith("runs/"))
        return self.inner.commit(writes)

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
    # The runs of which the older version has written documents.
    older_wrote: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a version writes and reads: the schemas of its events, of the runs that it starts, and of documents.

    `items` is the schema of events that name items, `commands` that of commands about runs, and `marks` that of those
    that mark steps, if the version knows these.
    """

    events: int = 1
    items: int = SCHEMA_OF_ITEMS
    commands: int = SCHEMA_OF_COMMANDS
    marks: int = SCHEMA_OF_MARKS
    new_runs: int = 1
    reads: tuple[int, ...] = SCHEMAS


class Rollout(World):
    """Each event is handled by an `older` or a `newer` version; the newer one writes more fields, too.

    An event that a version refuses is delivered again. No step is dispatched within the event that released it, so that
    every step of the way is an event.
    """

    def __init__(
        self,
        seed: int,
        patch: pytest.MonkeyPatch,
        *,
        older: Version = Version(),
        newer: Version = Version(),
        script: str = "",
    ) -> None:
        super().__init__(script, inline_budget=timedelta(0))
        self.seen = Seen()
        self.newer_share = 0.5
        self._dice = random.Random(seed)  # noqa: S311 (a test's choice, not a secret)
        self._patch = patch
        self._versions = {"older": older, "newer": newer}
        self._older = replace(self.services, store=WatchedStore(self.store, self.seen.older_wrote))
        self._newer = replace(self.services, store=NewerStore(self.store), bus=NewerBus(self.bus))

    def deliver(self, taken: TakenMessage) -> bool:
        """Let one of the versions handle the event."""
        with self._one_version():
            try:
                return super().deliver(taken)
            except NewerVersion:
                self.seen.refused += 1
                self.bus.nack(taken)
                return False

    def tick(self) -> None:
        """Wake the checker of one of the versions."""
        with self._one_version():
            super().tick()

    def start_by(self, name: str, definition: str, key: str) -> str:
        """Let that version start a run."""
        with self._version(name):
            return self.start(definition, run_key=key)

    @contextmanager
    def _one_version(self) -> Iterator[None]:
        name = "newer" if self._dice.random() < self.newer_share else "older"
        self.seen.handled[name] += 1
        with self._version(name):
            yield

    @contextmanager
    def _version(self, name: str) -> Iterator[None]:
        version = self._versions[name]
        before: Services = self.services
        with self._patch.context() as patch:
            for module in (internal, start_events, fields):
                patch.setattr(module, "SCHEMA", version.events)
                patch.setattr(module, "SCHEMA_OF_ITEMS", version.items)
            for reader in (documents, due_steps):
                patch.setattr(reader, "SCHEMAS", version.reads)
            patch.setattr(internal, "SCHEMA_OF_COMMANDS", version.commands)
            patch.setattr(internal, "SCHEMA_OF_MARKS", version.marks)
            patch.setattr(preparation, "SCHEMA_OF_NEW_RUNS", version.new_runs)
            self.services = self._newer if name == "newer" else self._older
            yield
        self.services = before


def _with_added(write: Write) -> Write:
    return replace(write, fields={**write.fields, ADDED: {"by": "newer"}}) if isinstance(write, Create) else write


def _with_more(message: Message) -> Message:
    return message if message.body is None else replace(message, body={**message.body, ADDED: True})
