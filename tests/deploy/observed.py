"""What each function asks of the outside world, seen at its ports; each call as the grant that it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from atom_deploy.resources.pubsub import PUSHED
from atom_deploy.roles import INVOKE, PUBLISH, READ_OBJECTS, STORE
from atom_workflows.coordinator.services import Services
from atom_workflows.ports import (
    Bus,
    Document,
    JobAnswer,
    Message,
    Query,
    Source,
    StopAnswer,
    Store,
    TaskRunner,
    Write,
    WriteResult,
)

SUBMIT: Final = "POST /job"
STATUS: Final = "GET /jobstatus"
STOP: Final = "DELETE /job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that a function made of a port, and what has to be granted for it: a role, and on what."""

    function: str
    call: str
    role: str
    on: str


Note = Callable[[str, str, str], None]
"""Gets each call, the role that it takes, and on what."""


@dataclass(slots=True)
class Observation:
    """The calls that functions made, each with how often."""

    asked: Counter[Asked] = field(default_factory=Counter)

    def of(self, topic: str, services: Services) -> Services:
        """Return services that note each call of a topic's function.

        What people do by themselves is not noted.
        """
        if topic not in PUSHED:
            return services

        def note(call: str, role: str, on: str) -> None:
            self.asked[Asked(function=PUSHED[topic], call=call, role=role, on=on)] += 1

        return replace(
            services,
            store=_ObservedStore(services.store, note),
            bus=_ObservedBus(services.bus, note),
            task_runner=_ObservedTaskRunner(services.task_runner, note),
            source=_ObservedSource(services.source, note),
        )


@dataclass(frozen=True, slots=True)
class _ObservedStore:
    inner: Store
    note: Note

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        self.note("get", STORE, "database")
        return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        for kind in {type(write).__name__.lower() for write in writes}:
            self.note(f"commit {kind}", STORE, "database")
        return self.inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        self.note("query", STORE, "database")
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        self.note("count", STORE, "database")
        return self.inner.count(query)


@dataclass(frozen=True, slots=True)
class _ObservedBus:
    inner: Bus
    note: Note

    def publish(self, messages: Sequence[Message]) -> None:
        for topic in {message.topic for message in messages}:
            self.note("publish", PUBLISH, f"topic {topic}")
        self.inner.publish(messages)


@dataclass(frozen=True, slots=True)
class _ObservedTaskRunner:
    inner: TaskRunner
    note: Note

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        self.note(SUBMIT, INVOKE, "task-runner")
        return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        self.note(STATUS, INVOKE, "task-runner")
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        self.note(STOP, INVOKE, "task-runner")
        return self.inner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        self.note(STATUS, INVOKE, "task-runner")
        return self.inner.look_up(base_url, idempotency_key)


@dataclass(frozen=True, slots=True)
class _ObservedSource:
    inner: Source
    note: Note

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        self.note("read", READ_OBJECTS, "bucket")
        return self.inner.read(path, generation)
