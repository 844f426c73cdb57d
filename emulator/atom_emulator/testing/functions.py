"""The functions of a world, in virtual time: its events wake them, and a scheduler ticks.

They run concurrently, as deployed: a checker sleeps between its polls while dispatchers work, and a tick that arrives
meanwhile finds that the burst's lease is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol, Self

from atom_emulator.pubsub.memory import TakenMessage
from atom_emulator.task_runner.script import Script
from atom_emulator.testing.timeline import TimedWorkers, Timeline
from atom_emulator.testing.world import HINT_BACKOFF, START, World
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.messages.internal import job_ended_message, tick_message
from atom_workflows.ports import Document, JobAnswer, Message, Query, StopAnswer, Store, TaskRunner, Write, WriteResult
from atom_workflows.settings import Settings

PUSHED: Final = ("start", "steps", "tick", "jobs")
"""The topics whose events wake a function."""

BEGINNING: Final = START + timedelta(seconds=30)
"""Half a minute before a tick, which comes at each whole minute: on average, a run begins midway between two ticks."""

_WHOLE_MINUTE: Final = START.replace(second=0, microsecond=0)
_RUN_KEY: Final = "test"

_AFTER_END: Final = timedelta(milliseconds=1)
"""Times are rounded when they are converted, and nothing must happen before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The seconds that calls take. `cpu_s` is the processor time of each call to the Task Runner."""

    read_s: float = 0.0
    commit_s: float = 0.0
    publish_s: float = 0.0
    task_runner_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One event and the function that handled it. The function is identified by the event's topic."""

    topic: str
    began: datetime
    ended: datetime


class Observer(Protocol):
    """Observes events as they occur. Must not block."""

    def on_publish(self, messages: Sequence[Message]) -> None:
        """Record messages that are published together."""
        ...

    def on_end(self, invocation: Invocation) -> None:
        """Record an invocation that has ended."""
        ...

    def on_tick(self) -> None:
        """Record that the scheduler is about to tick."""
        ...


class Functions:
    """A world whose events are handled automatically as time passes. Leaving its `with` block ends all activity."""

    def __init__(  # noqa: PLR0913 (all but the first by name)
        self,
        script: Script,
        *,
        settings: Settings,
        latency: Latency = Latency(),
        tick_every: timedelta = timedelta(minutes=1),
        observer: Observer | None = None,
        began: datetime = BEGINNING,
    ) -> None:
        self.timeline = Timeline(began)
        self.world = World(script, clock=self.timeline, settings=settings)
        self._observer = observer
        self.tick_every = tick_every
        services, clock = self.world.services, self.timeline
        self.world.services = replace(
            services,
            store=_SlowStore(services.store, clock, latency),
            bus=_PushingBus(clock, latency, self.publish),
            task_runner=_SlowTaskRunner(services.task_runner, clock, latency, self._await_ends),
            workers=TimedWorkers(clock, settings.poll_workers, latency.cpu_s),
        )
        # The time at which the next end of a job is to be reported.
        self._next_end: datetime | None = None
        # Cloud Scheduler ticks at whole minutes, whenever a run begins; bursts end in time for that.
        clock.at(began + tick_every - (began - _WHOLE_MINUTE) % tick_every, self._tick)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.timeline.close()

    def start(self, path: str, content: bytes, *, params: Mapping[str, Any] | None = None) -> str:
        """Store a workflow file and ask for a run of it, with these parameters.

        Returns the run's id. Nothing happens until time passes.
        """
        self.world.files.content[path, None] = content
        body = {"workflow_path": path, "run_key": _RUN_KEY, "params": dict(params or {})}
        self.publish([Message(topic="start", body=body)])
        return run_id_for(path, "key", _RUN_KEY)

    def run_to_end(self, run_id: str, *, within: timedelta) -> RunRecord:
        """Let time pass until the run has ended.

        At the end no function is running. Returns the run, which is still open if it takes longer than `within`.
        """
        clock = self.timeline
        clock.run(clock.now() + within, is_over=lambda: clock.is_quiet and self.world.run(run_id).state.is_terminal)
        return self.world.run(run_id)

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages, each of which wakes its function immediately."""
        if self._observer is not None:
            self._observer.on_publish(messages)
        self.world.bus.publish(messages)
        self._push()

    def _push(self) -> None:
        for topic in PUSHED:
            for taken in self.world.bus.take_all(topic):
                self.timeline.begin(partial(self._invoke, taken))

    def _invoke(self, taken: TakenMessage) -> None:
        began = self.timeline.now()
        if not self.world.deliver(taken):
            backoff = timedelta(seconds=HINT_BACKOFF.delay_s(taken.attempt))
            self.timeline.at(self.timeline.now() + backoff + _AFTER_END, self._push)
        if self._observer is not None:
            self._observer.on_end(Invocation(topic=taken.subscription, began=began, ended=self.timeline.now()))

    def _await_ends(self) -> None:
        """Arrange for the next end of a job that notifies to be reported when it comes."""
        ends = self.world.task_runner.jobs.next_end
        if ends is None:
            return
        due = datetime.fromtimestamp(ends, UTC) + _AFTER_END
        if self._next_end is None or due < self._next_end:
            self._next_end = due
            self.timeline.at(due, self._report_ends)

    def _report_ends(self) -> None:
        self._next_end = None
        ended = self.world.task_runner.jobs.take_ended(self.timeline.now().timestamp())
        if ended:
            self.publish([job_ended_message(one) for one in ended])
        self._await_ends()

    def _tick(self) -> None:
        if self._observer is not None:
            # This may let jobs end earlier.
            self._observer.on_tick()
            self._await_ends()
        self.publish([tick_message("schedule")])
        self.timeline.at(self.timeline.now() + self.tick_every, self._tick)


@dataclass(frozen=True, slots=True)
class _SlowStore:
    """Implements `ports.Store`, with calls that take time."""

    inner: Store
    clock: Timeline
    latency: Latency

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        self.clock.sleep(self.latency.read_s)
        return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        self.clock.sleep(self.latency.commit_s)
        return self.inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        self.clock.sleep(self.latency.read_s)
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        self.clock.sleep(self.latency.read_s)
        return self.inner.count(query)


@dataclass(frozen=True, slots=True)
class _PushingBus:
    """Implements `ports.Bus`, with calls that take time."""

    clock: Timeline
    latency: Latency
    push: Callable[[Sequence[Message]], None]

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.clock.sleep(self.latency.publish_s)
        self.push(messages)


@dataclass(frozen=True, slots=True)
class _SlowTaskRunner:
    """Implements `ports.TaskRunner`, with calls that take time."""

    inner: TaskRunner
    clock: Timeline
    latency: Latency
    on_change: Callable[[], None]

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        self._wait()
        try:
            return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)
        finally:
            self.on_change()

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        self._wait()
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        self._wait()
        try:
            return self.inner.stop(base_url, job_id)
        finally:
            self.on_change()

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        self._wait()
        return self.inner.look_up(base_url, idempotency_key)

    def _wait(self) -> None:
        self.clock.sleep(self.latency.task_runner_s + self.latency.cpu_s)
