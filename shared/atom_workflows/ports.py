"""The ports: everything that the coordinator needs from the outside world.

Each port has one contract suite in `tests/contract/`, which every implementation passes: the adapters for the real
services and the in-process implementations of the local platform. The coordinator relies only on the promises
documented here.

Three promises hold for every port that calls a service:

- A call is bounded in time, including its retries. When its time is up, it raises the port's `...Unavailable` error.
- Only the errors listed under `Raises` are raised, all of them from errors.py. Client libraries' errors never are.
- An empty list as an argument is not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Fields: TypeAlias = Mapping[str, Any]
"""A document's top-level fields.

A value is None, a bool, int, float, str or bytes, an aware UTC datetime, a list, or a dict with str keys. Values are
copied on the way in and out, so changing one afterwards does not change any document.
"""

Version: TypeAlias = object
"""A document's update time, as returned by the store. Opaque: compare it with `==`, or pass it back as a guard."""

# -- documents -------------------------------------------------------------------------------------------------------


class Document(NamedTuple):
    """A stored document as it was read.

    `path` is relative to the database, such as `runs/r1/steps/extract`.
    """

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
    """Replace the named top-level fields of an existing document.

    Other fields stay as they are. A new map or list replaces the old one; the two are not merged.
    """

    path: str
    fields: Fields = field(default_factory=dict)

    # The server adds these amounts to the fields, so that racing updates all count. A missing field counts as 0.
    increments: Mapping[str, int] = field(default_factory=dict)

    # The commit is refused unless the document still has this version. A guarded update must change something: a write
    # that changes nothing may leave the version as it was, and then the guard of a second writer would also hold.
    guard: Version | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """Replace the named top-level fields of a document.

    The document is created if it is missing. This is for documents that the first writer has to create, such as a
    counter that several runs share. It is not guarded: if two writes to the same field race, the later one wins, but
    all increments count.
    """

    path: str
    fields: Fields = field(default_factory=dict)

    # As in `Update`.
    increments: Mapping[str, int] = field(default_factory=dict)


Write: TypeAlias = Create | Update | Upsert


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """The result of a write.

    It holds the document's version after the write, and the new value of each incremented field. Racing increments each
    return a different value, so exactly one writer sees a counter reach 0.
    """

    version: Version
    increments: Mapping[str, int] = field(default_factory=dict)


Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in"]
Condition: TypeAlias = tuple[str, Operator, Any]
Direction: TypeAlias = Literal["ascending", "descending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query for documents in a collection, filtered and ordered."""

    # `runs` or `runs/r1/steps`; with `group`, only the last name, which covers all such collections at any depth.
    collection: str
    group: bool = False

    # All conditions must hold. A document that lacks a named field never matches. Operators such as `<` match only
    # values of the same type; `!=` also matches values of other types, except null.
    where: Sequence[Condition] = ()

    # Documents with equal values are ordered by path, in the direction of the last field. If there are no fields, the
    # order is by path, ascending. Ordering by a field leaves out the documents that lack it. Fields in inequality
    # conditions are always part of the order, so name them here if pages are read with `after`.
    order_by: Sequence[tuple[str, Direction]] = ()

    # Continue after a document, which may no longer exist: the values of its `order_by` fields, then its path.
    after: Sequence[Any] | None = None
    limit: int | None = None

    # Return only these top-level fields, so that even a 1 MB document takes up little memory; None means all fields.
    fields: Sequence[str] | None = None


class Store(Protocol):
    """The store of documents. Safe to use from several threads.

    Reads are consistent: they see every commit, by any writer, that was acknowledged before they started.
    """

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """Return the documents at the given paths, with None for missing ones.

        They are in the order of `paths`; if a path occurs twice, its document is returned twice. `fields` names the
        top-level fields to return, at least one, so that even a 1 MB document takes up little memory; None means all.
        A document without any of them is returned without fields.

        Raises:
            StoreUnavailable: there was no response in time.

        """
        ...

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Make all of the writes or none of them.

        Results are in the order of the writes; only those of an `Update` or `Upsert` have increments. Each document may
        appear only once. Do not repeat a commit blindly: an unguarded increment would count again.

        Raises:
            AlreadyExists: the document of a `Create` already exists. Nothing was written.
            Conflict: a guard no longer holds, or an updated document is missing. Nothing was written; read again.
            NotStorable: the store can never hold one of the documents. Nothing was written.
            StoreUnavailable: there was no response in time. The writes may or may not have been made.

        """
        ...

    def query(self, query: Query) -> list[Document]:
        """Return the matching documents, in the query's order.

        All of them are returned, unless the query has a limit.

        Raises:
            StoreUnavailable: there was no response in time.
            StoreError: the store cannot run this query; an index may be missing.

        """
        ...

    def count(self, query: Query) -> int:
        """Return how many documents match, up to the query's limit.

        Raises:
            StoreUnavailable: there was no response in time.
            StoreError: the store cannot run this query; an index may be missing.

        """
        ...


# -- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to be published."""

    # A topic of the coordinator, without the deployment's prefix: `start`, `steps`, `tick`, `jobs`, `events`,
    # `dead-letters`.
    topic: str

    # A JSON object, never empty unless `raw` is used instead.
    body: Mapping[str, Any] = field(default_factory=dict)

    # For subscribers' filters, and for people to read.
    attributes: Mapping[str, str] = field(default_factory=dict)

    # The bytes of a message that is passed on unchanged; they are published instead of the body.
    raw: bytes | None = None


class Bus(Protocol):
    """The bus for events. Safe to use from several threads.

    Every subscription to a topic receives each message at least once, in any order.
    """

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish the messages, each to its topic.

        Returns once all messages have been accepted, and makes as few requests as possible. May be repeated, since
        receivers expect duplicates.

        Raises:
            BusUnavailable: not all messages were accepted in time, or a topic does not exist. Some messages may have
                been accepted.

        """
        ...


DEAD_LETTERS: Final = "dead-letters"
"""The name of the topic for events that were given up on, and of its only subscription, which is used to pull them."""


class HeldMessage(NamedTuple):
    """A held message from the dead-letter subscription.

    No one else receives it while it is held.
    """

    # The id is the same each time the message is taken.
    id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime

    # Opaque: this is how the box recognizes the message.
    lease: object


class DeadLetterBox(Protocol):
    """Events that were given up on, for people to inspect.

    A held message becomes available again after a minute.
    """

    def take(self, limit: int) -> list[HeldMessage]:
        """Hold and return up to `limit` available messages.

        They are in no particular order, and one call may not return all of them. The list is empty if no message
        arrives within a short time.

        Raises:
            BusUnavailable: there was no response in time, or there is no such subscription.

        """
        ...

    def release(self, messages: Sequence[HeldMessage]) -> None:
        """Release the messages, so that they can be taken again.

        May be repeated; a message that is no longer held is left alone.

        Raises:
            BusUnavailable: there was no response in time, or there is no such subscription.

        """
        ...

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """Remove the messages permanently.

        May be repeated. A message that is no longer held might not be removed, and might be taken again later.

        Raises:
            BusUnavailable: there was no response in time, or there is no such subscription.

        """
        ...


# -- jobs and files --------------------------------------------------------------------------------------------------

MAX_JOB_ID: Final = 500
"""Messages in events include job ids, and a string in an event may be at most 2,000 characters long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAnswer:
    """The Task Runner's response about a job, with any quoted secrets removed."""

    # At most `MAX_JOB_ID` characters; empty if the response contained no usable id.
    job_id: str

    # The state in the Task Runner's own words, without surrounding spaces.
    state: str
    message: str = ""

    # The next three fields are set only for a job that has ended. `outputs` is the text of a JSON object, as the job
    # sent it (see core/outputs.py). If it cannot be used, `outputs_problem` says why and what to do instead.
    outputs: str = ""
    outputs_problem: str = ""

    # The Task Runner's own short word for why the job ended as it did, such as OOM or PREEMPTED.
    reason: str = ""

    # The address at which a person reads the job's log: http or https, printable, without user info. Empty if there is
    # none that can be shown.
    logs_url: str = ""

    # The Task Runner publishes a hint to the topic `jobs` when the job ends, so the job need not be polled often.
    notifies: bool = False


class StopAnswer(StrEnum):
    """The Task Runner's response to a request to stop a job."""

    # The request was accepted. The job may still run for a while; its status says when it has ended.
    STOPPING = "stopping"

    # The Task Runner itself says that there is no such job, so nothing runs.
    GONE = "gone"

    # This Task Runner cannot stop jobs.
    CANNOT = "cannot"


class TaskRunner(Protocol):
    """The service that runs containers.

    See docs/reference/task-runner.md. Safe to use from several threads.
    """

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """Submit a job (`POST {base_url}/job`).

        `timeout` is the time that the attempt has left; the Task Runner may end the job once it has passed.

        May be repeated with the same key: a Task Runner that honors keys starts only one job. Each error says
        something different about what was started, and no other errors are raised.

        Raises:
            JobRefused: the call started nothing, and the same request can never succeed.
            JobConflict: a kind of `JobRefused` (HTTP 409). The call started nothing, but an earlier call with the same
                key may have started a job.
            RequestNotAccepted: the call started nothing, and waiting may help: there was no token or no connection, or
                the response was HTTP 429, or HTTP 503 with Retry-After.
            TaskRunnerUnavailable: the call may have started a job. The response did not arrive in time, or did not
                follow the contract.

        """
        ...

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """Return a job's state (`GET {base_url}/jobstatus?job_id=`).

        May be repeated.

        Raises:
            JobUnknown: the Task Runner itself reports that the job is unknown.
            TaskRunnerUnavailable: there was no usable response, which says nothing about the job.

        """
        ...

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """Ask for a job to be stopped (`DELETE {base_url}/job?job_id=`).

        May be repeated, even for a job that has ended.

        Raises:
            RequestNotAccepted: the request had no effect, and waiting may help: there was no token or no connection, or
                the response was HTTP 429, or HTTP 503 with Retry-After.
            TaskRunnerUnavailable: the request may or may not have had an effect. The response did not arrive in time,
                or did not follow the contract.

        """
        ...

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """Return the job that was submitted with a key (`GET {base_url}/jobstatus?key=`).

        Returns None if the Task Runner itself says that no job with this key is running. A submission that has not
        reached it yet may still start one. A job that has not ended has an id. May be repeated.

        Raises:
            LookupUnsupported: this Task Runner cannot look keys up.
            TaskRunnerUnavailable: there was no usable response, which says nothing about the job.

        """
        ...


class Source(Protocol):
    """The storage from which workflow files are read."""

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        """Return the content and the generation of `gs://bucket/object`.

        If no `generation` is given, the newest one is read. May be repeated: a generation's content never changes.

        Raises:
            SourceNotFound: the object, or the given generation of it, does not exist.
            SourceForbidden: reading from the bucket is not permitted.
            SourceTooLarge: the object is larger than any workflow file may be.
            SourceUnavailable: there was no response in time.

        """
        ...


# -- threads and time ------------------------------------------------------------------------------------------------


class Calls(Protocol[Item, Answer]):
    """Concurrent calls to one function, and their results as they arrive.

    Use from one thread only. As many calls as possible are made at the same time. A slow call delays only itself, and
    many slow calls delay only calls in their own lane.
    """

    @property
    def pending(self) -> Collection[Item]:
        """The items of calls that `wave` has not returned yet."""
        ...

    def begin(self, items: Sequence[Item]) -> None:
        """Call the function for each of the items, without waiting.

        Calls that were begun earlier continue. If an item is given twice, the function is called for it twice.
        """
        ...

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """Return the calls that have ended since the last wave.

        They are in no particular order. Waits until a call has ended, but for no longer than `within_s` seconds; the
        result is empty if no call has ended or nothing is pending. A call that raised an error is not included. The
        error is kept until the other calls have ended, so that no result is lost.

        Raises:
            Exception: a call's own error, once no other call is pending. Therefore, call this method until nothing is
                pending, and then once more.

        """
        ...


class Workers(Protocol):
    """The threads on which calls are made.

    Safe to use from several threads.
    """

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> Calls[Item, Answer]:
        """Return a new, empty set of calls to one function.

        `lane` returns the name of the service that an item's call uses. Calls in the same lane may wait for each other,
        but never for calls in another lane; without `lane`, there is only one lane.
        """
        ...


class Clock(Protocol):
    """The clock.

    It is a port so that tests can control the time.
    """

    def now(self) -> datetime:
        """Return the current time as an aware UTC datetime."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for the given number of seconds."""
        ...
