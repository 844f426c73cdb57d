"""The ports: all that the coordinator asks of the outside world, and every promise it relies on.

Each port has one contract suite in `tests/contract/` which every implementation passes: the adapters on the real
services and the in-process ones of the local platform.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Fields: TypeAlias = Mapping[str, Any]
"""A document's top-level fields: None, bool, int, float, str, bytes, aware UTC datetime, list, dict of str keys."""

Version: TypeAlias = object
"""A document's update time, as the store gave it. Opaque: compare with `==`, pass back as a guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A stored document. `path` is relative to the database: `runs/r1/steps/extract`."""

    path: str
    fields: Fields
    version: Version

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Write a document that must not exist yet."""

    path: str
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Replace the named top-level fields of a document that must exist; other fields stay.

    `increments` are added by the server, so that racing updates all count; a missing field counts as 0.
    With `guard` the write is refused unless the document still has that version. A guarded update must change
    something: a write that changes nothing may leave the version as it was.
    """

    path: str
    fields: Fields = field(default_factory=dict)
    increments: Mapping[str, int] = field(default_factory=dict)
    guard: Version | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete a document; it may be missing."""

    path: str


Write: TypeAlias = Create | Update | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """The document's version after the write, and the new value of each incremented field."""

    version: Version
    increments: Mapping[str, int] = field(default_factory=dict)


Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in"]
Condition: TypeAlias = tuple[str, Operator, Any]
Direction: TypeAlias = Literal["ascending", "descending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Documents of a collection (`runs`, `runs/r1/steps`), or with `group` of every collection of that last name.

    All `where` conditions must hold; a document without a named field never matches. Results are in `order_by`
    order, then by path. `after` continues behind a document: the values of its `order_by` fields, then its path.
    With `fields`, documents are returned with these top-level fields alone, so that one of a megabyte costs no memory.
    """

    collection: str
    group: bool = False
    where: Sequence[Condition] = ()
    order_by: Sequence[tuple[str, Direction]] = ()
    after: Sequence[Any] | None = None
    limit: int | None = None
    fields: Sequence[str] | None = None


class Store(Protocol):
    """The documents. Every call has a deadline and a bounded retry; beyond it raises `StoreUnavailable`.

    Safe to use from several threads. Reads see every commit that was answered before they started.
    """

    def get(self, paths: Sequence[str]) -> list[Document | None]:
        """The documents in the order asked for, None for each that does not exist."""
        ...

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Do all the writes or none, and answer in their order. A document may appear once only.

        Raises `AlreadyExists` (a Create's document exists), `Conflict` (a guard no longer holds, an updated
        document is missing), `NotStorable` (it never can be), or `StoreUnavailable` (it may or may not have happened).
        """
        ...

    def query(self, query: Query) -> list[Document]:
        """Return the matching documents, with all their fields unless the query names some."""
        ...

    def count(self, query: Query) -> int:
        """How many documents match."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is published: `topic` is one of the coordinator's (`start`, `steps`, `tick`, `events`, `dead-letters`).

    `body` is a JSON object, never empty. `attributes` are for subscribers' filters and for people. What is passed on as
    it came has its bytes in `raw`, which are published instead of the body.
    """

    topic: str
    body: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None


class Bus(Protocol):
    """The events. Delivery is at least once, in any order, to every subscription of the topic."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Return once every message is accepted, in as few requests as possible.

        Raises `BusUnavailable`; some of the messages may then have been accepted.
        """
        ...


DEAD_LETTERS: Final = "dead-letters"
"""The topic of events that were given up, and its one subscription, from which they are pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldMessage:
    """A message of the dead letters' subscription that nobody else is given while it is held.

    `id` stays the same however often it is taken. `lease` is opaque: it is how the box knows the message again.
    """

    id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime
    lease: object


class DeadLetterBox(Protocol):
    """The events that were given up, for people to look at. Whatever is held is free again after a minute.

    Every call has a deadline and raises `BusUnavailable` beyond it, or if there is no such subscription.
    """

    def take(self, limit: int) -> list[HeldMessage]:
        """Hold up to `limit` messages that nobody holds, in any order; none if none has come for a moment.

        There may be more than one call answers.
        """
        ...

    def release(self, messages: Sequence[HeldMessage]) -> None:
        """Hold them no longer, so that they can be taken again."""
        ...

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """Take them out for good. One that is no longer held may come again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAnswer:
    """What the Task Runner says of a job, without any secret that it quoted.

    `state` is its word, without spaces around it; `job_id` is empty if it named none that can be used.
    """

    job_id: str
    state: str
    message: str = ""


class TaskRunner(Protocol):
    """The service that runs containers, as docs/reference/task-runner.md has it. Safe to use from several threads."""

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str) -> JobAnswer:
        """Ask for a job (`POST {base_url}/job`).

        An answer is one of four results. The other three are raised, and no error but these:

        - `JobRefused`: refused for good; nothing was started. Its kind `JobConflict` (409) adds that an earlier
          submission with the same key may be what this one conflicts with.
        - `RequestNotAccepted`: nothing can have been started, and waiting may help: no token, no connection, 429, 503
          with Retry-After.
        - `TaskRunnerUnavailable` of any other kind: unknown, a job may have been started. The answer did not come, not
          in time, or is not the contract's.
        """
        ...

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """Ask for a job's state (`GET {base_url}/jobstatus?job_id=`).

        Raises `JobUnknown` if the Task Runner itself says that it does not know the job, and `TaskRunnerUnavailable`
        for anything else that is not an answer, which says nothing of the job.
        """
        ...


class Source(Protocol):
    """Where workflow files are read from."""

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        """The content of `gs://bucket/object` and its generation, of the given generation if there is one.

        Raises `SourceNotFound`, `SourceForbidden`, `SourceTooLarge` or `SourceUnavailable`.
        """
        ...


class Calls(Protocol[Item, Answer]):
    """Calls that are made at the same time, as far as the implementation can, and their answers as they come.

    A slow call holds up nothing but itself, and many of them only calls of their lane.
    """

    @property
    def pending(self) -> Collection[Item]:
        """The items that were begun and not yet answered by a wave."""
        ...

    def begin(self, items: Sequence[Item]) -> None:
        """Call for each of the items; those that were begun before go on."""
        ...

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """Those that have ended since the last wave; waits for a first one, though no longer than `within_s` seconds.

        What a call raises is raised here, once no other is pending: ask until nothing is, and then once more.
        """
        ...


class Workers(Protocol):
    """Who makes calls for others."""

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> Calls[Item, Answer]:
        """Calls of one function. Many items of one `lane`, which is whom they ask, may wait for each other."""
        ...


class Clock(Protocol):
    """Time, so that tests own it."""

    def now(self) -> datetime:
        """The time, as an aware UTC datetime."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...
