"""How a bug is planted: what a handler writes, reads, publishes or is answered is changed at its ports.

So no bug knows how the coordinator is built inside. What it makes wrong is what could be seen from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import run_path, steps_path
from atom_workflows.ports import (
    Bus,
    Create,
    Document,
    Fields,
    JobAnswer,
    Message,
    Query,
    StopAnswer,
    Store,
    TaskRunner,
    Update,
    Write,
    WriteResult,
)
from simulation.store import FaultyStore

_Written = TypeVar("_Written", Create, Update)

_UNDER_WAY: Final = {StepState.DISPATCHING, StepState.RUNNING, StepState.RETRYING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a bug strikes: the handlers of a function (its topic, or `user`), and the documents as they stand."""

    function: str
    services: Services
    memory: MemoryStore

    @classmethod
    def of(cls, function: str, services: Services) -> Scene:
        """Look at a handler's services before anything is planted."""
        assert isinstance(services.store, FaultyStore)
        return cls(function=function, services=services, memory=services.store.memory)

    @property
    def now(self) -> datetime:
        """The time by the handler's clock."""
        return self.services.clock.now()

    def stored(self, path: str) -> Fields:
        """Return a document's fields as they stand.

        Empty if there is none.
        """
        document = self.memory.get([path])[0]
        return {} if document is None else document.fields

    def run_of(self, path: str) -> Fields:
        """Return the fields of the run to which a document belongs."""
        return self.stored(run_path(run_id_of(path)))

    def is_standing_still(self, run_id: str) -> bool:
        """Return True if no step of a RUNNING run is under way."""
        run = self.stored(run_path(run_id))
        steps = self.memory.query(Query(collection=steps_path(run_id)))
        is_running = run.get("state") == RunState.RUNNING.value and not run.get("stop")
        return is_running and not any(StepState(step.fields["state"]) in _UNDER_WAY for step in steps)


Bug: TypeAlias = Callable[[Scene, Services], Services]
"""Returns the services with a bug in one of their ports."""


# -- ports that pass everything on ---------------------------------------------------------------------------------


@dataclass(slots=True)
class StoreBeside:
    """A store that passes every call on. Bugs override what they get wrong."""

    scene: Scene
    inner: Store

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self.inner.get(paths, fields=fields)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.inner.commit(writes)


@dataclass(slots=True)
class _ChangedStore(StoreBeside):
    on_writes: Callable[[Scene, Sequence[Write]], Sequence[Write | None]]
    on_read: Callable[[Scene, Document], Document | None]

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        found = self.inner.get(paths, fields=fields)
        return [None if document is None else self.on_read(self.scene, document) for document in found]

    def query(self, query: Query) -> list[Document]:
        found = (self.on_read(self.scene, document) for document in self.inner.query(query))
        return [document for document in found if document is not None]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        changed = self.on_writes(self.scene, writes)
        kept = [write for write in changed if write is not None]
        results = iter(self.inner.commit(kept) if kept else ())
        return [WriteResult(version=None) if write is None else next(results) for write in changed]


@dataclass(slots=True)
class TaskRunnerBeside:
    """A client of the Task Runner that passes every call on. Bugs override what they get wrong."""

    scene: Scene
    inner: TaskRunner

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self.inner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.inner.look_up(base_url, idempotency_key)


@dataclass(slots=True, kw_only=True)
class ChangedBus:
    """A bus that changes each message, or loses it."""

    inner: Bus
    on_message: Callable[[Message], Message | None]

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        changed = [self.on_message(message) for message in messages]
        self.inner.publish([message for message in changed if message is not None])


# -- bugs of one line ------------------------------------------------------------------------------------------------


def commits(change: Callable[[Scene, Sequence[Write]], Sequence[Write | None]]) -> Bug:
    """Make a bug of how a commit is changed.

    A write for which there is None is answered and not made.
    """

    def plant(scene: Scene, services: Services) -> Services:
        return replace(services, store=_ChangedStore(scene, services.store, change, lambda _scene, document: document))

    return plant


def writes(change: Callable[[Scene, Write], Write | None]) -> Bug:
    """Make a bug of how a single write is changed."""
    return commits(lambda scene, together: [change(scene, write) for write in together])


def reads(change: Callable[[Scene, Document], Document | None]) -> Bug:
    """Make a bug of how a document is changed when read.

    One for which there is None is not found.
    """

    def plant(scene: Scene, services: Services) -> Services:
        return replace(services, store=_ChangedStore(scene, services.store, lambda _scene, together: together, change))

    return plant


def messages(change: Callable[[Scene, Message], Message | None]) -> Bug:
    """Make a bug of how a message is changed.

    One for which there is None is not published.
    """

    def plant(scene: Scene, services: Services) -> Services:
        return replace(services, bus=ChangedBus(inner=services.bus, on_message=lambda message: change(scene, message)))

    return plant


def buses(make: Callable[[Scene, Bus], Bus]) -> Bug:
    """Make a bug of another bus."""
    return lambda scene, services: replace(services, bus=make(scene, services.bus))


def stores(make: Callable[[Scene, Store], Store]) -> Bug:
    """Make a bug of another store."""
    return lambda scene, services: replace(services, store=make(scene, services.store))


def task_runners(make: Callable[[Scene, TaskRunner], TaskRunner]) -> Bug:
    """Make a bug of another client of the Task Runner."""
    return lambda scene, services: replace(services, task_runner=make(scene, services.task_runner))


def count_otherwise(counter: str, ends: Callable[[Scene, Write], bool], count: Callable[[int], int]) -> Bug:
    """Make a bug that counts the ends of some steps otherwise."""

    @commits
    def change(scene: Scene, together: Sequence[Write]) -> list[Write]:
        names = {
            name for write in together if ends(scene, write) for name in scene.stored(write.path).get("dependents", ())
        }
        return [
            replace(write, increments={**write.increments, counter: count(write.increments.get(counter, 0))})
            if isinstance(write, Update) and write.increments.get("total") and id_of(write.path) in names
            else write
            for write in together
        ]

    return change


# -- what is written -------------------------------------------------------------------------------------------------


def run_id_of(path: str) -> str:
    """Return the id of the run to which a document belongs."""
    return path.split("/")[1]


def id_of(path: str) -> str:
    """Return the last part of a document's path."""
    return path.rpartition("/")[2]


def fields_of(write: Write) -> Fields:
    """Return the fields that an Update sets, none of any other write."""
    return write.fields if isinstance(write, Update) else {}


def changes_step(write: Write) -> TypeGuard[Update]:
    """Return True if a step, not the run's end, changes its state."""
    return (
        isinstance(write, Update)
        and "/steps/" in write.path
        and id_of(write.path) != END_ID
        and "state" in write.fields
    )


def sets(write: Write, state: StepState) -> TypeGuard[Update]:
    """Return True if a step gets that state."""
    return changes_step(write) and write.fields["state"] == state.value


def is_claim(write: Write) -> TypeGuard[Update]:
    """Return True if a dispatcher claims a step."""
    return sets(write, StepState.DISPATCHING) and write.fields.get("answered") is False


def is_reset(write: Write) -> TypeGuard[Update]:
    """Return True if a retry resets a step."""
    return sets(write, StepState.PENDING) and "first_attempt" in write.fields


def with_fields(write: Update, **fields: object) -> Update:
    """Return the write with other values of these fields."""
    return replace(write, fields={**write.fields, **fields})


def without(write: _Written, *names: str) -> _Written:
    """Return the write without these fields."""
    return replace(write, fields={name: value for name, value in write.fields.items() if name not in names})


def read_as(document: Document, **fields: object) -> Document:
    """Return the document with other values of these fields."""
    return document._replace(fields={**document.fields, **fields})
