"""The ports: everything that the coordinator needs from the outside world, and every promise it relies on.

Each port has one contract suite in `tests/contract/` which every implementation passes: the adapters for the real
services and the in-process implementations of the local platform. The coordinator relies on no promise that is not
written here.

Three promises hold for every port that calls a service:

- A call is bounded in time, retries included. When its time is up it raises the port's `...Unavailable`.
- Only the errors named under `Raises` are raised, each from errors.py. No client library's own error is raised.
- An empty list of things to do is not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Fields: TypeAlias = Mapping[str, Any]
"""A document's top-level fields: None, bool, int, float, str, bytes, aware UTC datetime, list, dict of str keys.

Values are copied on the way in and out: changing one afterwards changes no document.
"""

Version: TypeAlias = object
"""A document's update time, as returned by the store. Opaque: compare it with `==`, or pass it back as a guard."""

# -- documents -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A stored document, as it was when it was read. `path` is relative to the database: `runs/r1/steps/extract`."""

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

    A map or a list takes the place of the old one; it is not merged into it.
    """

    path: str
    fields: Fields = field(default_factory=dict)

    # The server adds these, so that racing updates all count. A missing field counts as 0.
    increments: Mapping[str, int] = field(default_factory=dict)

    # The commit is refused unless the document still has this version. A guarded update must change something: a write
    # that changes nothing may leave the version as it was, and then the guard of a second writer would also hold.
    guard: Version | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """Replace the named top-level fields of a document, and create it if it is missing.

    For documents that the first writer has to create, such as a counter that several runs share. Not guarded: if two
    writes of one field race, the later one wins; all increments count.
    """

    path: str
    fields: Fields = field(default_factory=dict)

    # As in an Update.
    increments: Mapping[str, int] = field(default_factory=dict)


Write: TypeAlias = Create | Update | Upsert


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """The document's version after the write, and the new value of each incremented field.

    Racing increments each return a different value, so exactly one writer sees a counter reach 0.
    """

    version: Version
    increments: Mapping[str, int] = field(default_factory=dict)


Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in"]
Condition: TypeAlias = tuple[str, Operator, Any]
Direction: TypeAlias = Literal["ascending", "descending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Documents of a collection, ordered and filtered."""

    # `runs` or `runs/r1/steps`; with `group` only the last name, for all collections of that name at any depth.
    collection: str
    group: bool = False

    # All must hold. A document without a named field never matches. Operators such as `<` compare values of one type;
    # `!=` also finds values of other types, except null.
    where: Sequence[Condition] = ()

    # Equal values are ordered by path, in the direction of the last field; without any, by path ascending. Ordering by
    # a field leaves out the documents that lack it. Fields in inequality conditions are always part of the order, so
    # name them here if pages are read with `after`.
    order_by: Sequence[tuple[str, Direction]] = ()

    # Continue after a document, which may be gone by now: the values of its `order_by` fields, then its path.
    after: Sequence[Any] | None = None
    limit: int | None = None

    # Return only these top-level fields, so that a document of a megabyte takes little memory. None returns all.
    fields: Sequence[str] | None = None


class Store(Protocol):
    """The documents. Safe to use from several threads.

    Reads are consistent: they see every commit that was answered before they started, from any writer.
    """

    def get(self, paths: Sequence[str]) -> list[Document | None]:
        """Return the documents at these paths, None for each missing one.

        They are in the order of `paths`; if a path is named twice, its document is returned twice.

        Raises:
            StoreUnavailable: there was no answer in time.

        """
        ...

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Do all of the writes or none of them.

        Results are in the order of the writes; only those of an Update or Upsert have increments. A document may appear
        once. Do not repeat a commit blindly: an unguarded increment would count again.

        Raises:
            AlreadyExists: the document of a Create exists. Nothing was written.
            Conflict: a guard no longer holds, or an updated document is missing. Nothing was written; read again.
            NotStorable: the store can never hold a document. Nothing was written.
            StoreUnavailable: there was no answer in time. The writes may or may not have been done.

        """
        ...

    def query(self, query: Query) -> list[Document]:
        """Return the matching documents, in the query's order.

        All of them, unless the query has a limit.

        Raises:
            StoreUnavailable: there was no answer in time.
            StoreError: the store cannot run this query; an index may be missing.

        """
        ...

    def count(self, query: Query) -> int:
        """Return how many documents match, up to the query's limit.

        Raises:
            StoreUnavailable: there was no answer in time.
            StoreError: the store cannot run this query; an index may be missing.

        """
        ...


# -- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to be published."""

    # One of the coordinator's, without the deployment's prefix: `start`, `steps`, `tick`, `events`, `dead-letters`.
    topic: str

    # A JSON object, never empty unless `raw` takes its place.
    body: Mapping[str, Any] = field(default_factory=dict)

    # For subscribers' filters and for people.
    attributes: Mapping[str, str] = field(default_factory=dict)

    # The bytes of a message that is passed on unchanged; they are published instead of the body.
    raw: bytes | None = None


class Bus(Protocol):
    """The events. Safe to use from several threads.

    Every subscription of a topic receives each message at least once, in any order.
    """

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish the messages, to one or several topics.

        Returns once all are accepted; makes as few requests as the messages fit into. May be repeated: receivers expect
        duplicates.

        Raises:
            BusUnavailable: not all were accepted in time, or a topic does not exist. Some may have been accepted.

        """
        ...


DEAD_LETTERS: Final = "dead-letters"
"""The topic of events that were given up, and its one subscription, from which they are pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldMessage:
    """A held message of the dead-letter subscription, which no one else receives meanwhile."""

    # The same each time the message is taken.
    id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime

    # Opaque: the box recognizes the message by it.
    lease: object


class DeadLetterBox(Protocol):
    """The events that were given up, for people to look at. A held message is free again after a minute."""

    def take(self, limit: int) -> list[HeldMessage]:
        """Hold up to `limit` messages that are free.

        They are in any order, and one call may not return all of them. The list is empty if none arrives for a moment.

        Raises:
            BusUnavailable: there was no answer in time, or there is no such subscription.

        """
        ...

    def release(self, messages: Sequence[HeldMessage]) -> None:
        """Release the messages, so that they can be taken again.

        May be repeated; a message that is no longer held is left alone.

        Raises:
            BusUnavailable: there was no answer in time, or there is no such subscription.

        """
        ...

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """Remove the messages for good.

        May be repeated. A message that is no longer held may come again.

        Raises:
            BusUnavailable: there was no answer in time, or there is no such subscription.

        """
        ...


# -- jobs and files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAnswer:
    """The Task Runner's answer about a job, with any quoted secret removed."""

    # Empty if the answer contained no usable id.
    job_id: str

    # The state in the Task Runner's own words, without spaces around them.
    state: str
    message: str = ""

    # The next three are read of a job that has ended, and are empty otherwise. Outputs are the text of a JSON object as
    # the job sent it (see core/outputs.py). If they cannot be used, a sentence says why and what to do instead.
    outputs: str = ""
    outputs_problem: str = ""

    # The Task Runner's own short word for why the job ended like this: OOM, PREEMPTED.
    reason: str = ""


class TaskRunner(Protocol):
    """The service that runs containers (see docs/reference/task-runner.md). Safe to use from several threads."""

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str) -> JobAnswer:
        """Submit a job (`POST {base_url}/job`).

        May be repeated with the same key: a Task Runner that honours keys starts one job. Each error says something
        different about what was started, and no others are raised.

        Raises:
            JobRefused: it started nothing, and the same request can never succeed.
            JobConflict: a kind of JobRefused (409). This call started nothing; an earlier one with its key may have.
            RequestNotAccepted: it started nothing, and waiting may help: no token, no connection, 429, or 503 with
                Retry-After.
            TaskRunnerUnavailable: it may have started a job. The answer did not come in time, or is not the contract's.

        """
        ...

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """Return a job's state (`GET {base_url}/jobstatus?job_id=`).

        May be repeated.

        Raises:
            JobUnknown: the Task Runner itself says that it does not know the job.
            TaskRunnerUnavailable: there was no usable answer, which says nothing about the job.

        """
        ...


class Source(Protocol):
    """The storage that workflow files are read from."""

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        """Return the content and the generation of `gs://bucket/object`.

        If no `generation` is given, the newest is read. May be repeated: a generation's content never changes.

        Raises:
            SourceNotFound: there is no such object, or no such generation of it.
            SourceForbidden: the bucket may not be read.
            SourceTooLarge: the object is larger than any workflow file may be.
            SourceUnavailable: there was no answer in time.

        """
        ...


# -- threads and time ------------------------------------------------------------------------------------------------


class Calls(Protocol[Item, Answer]):
    """Concurrent calls of one function, as far as the implementation allows, and their answers as they arrive.

    Used from one thread. A slow call delays only itself, and many slow calls delay only calls of their own lane.
    """

    @property
    def pending(self) -> Collection[Item]:
        """The items whose calls were begun and have not been returned by a wave."""
        ...

    def begin(self, items: Sequence[Item]) -> None:
        """Call the function for each of the items, without waiting.

        Calls that were begun before go on. An item that is begun twice is called twice.
        """
        ...

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """Return the calls that ended since the last wave.

        They are in any order. Waits for a first one, at most `within_s` seconds; the result is empty if no call ended,
        or nothing is pending. A call that raised is not included. Its error is kept until the others have ended, so
        that no answer is lost.

        Raises:
            Exception: a call's own error, once no other call is pending. So call this until nothing is pending, then
                once more.

        """
        ...


class Workers(Protocol):
    """The threads that calls are made on. Safe to use from several threads."""

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> Calls[Item, Answer]:
        """Return a new, empty set of calls of one function.

        `lane` names the service that an item's call uses. Calls of one lane may wait for each other, but never for
        calls of another lane; without `lane` there is only one.
        """
        ...


class Clock(Protocol):
    """The time, as a port so that tests can control it."""

    def now(self) -> datetime:
        """Return the time, as an aware UTC datetime."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        ...
