"""The coordinator in one process, with embedded servers and a test-controlled clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic

from atom_emulator.firestore.memory import MemoryStore
from atom_emulator.pubsub.memory import MemoryBus, TakenMessage
from atom_emulator.pubsub.messages import RedeliveryBackoff, SubscriptionSettings
from atom_emulator.task_runner.jobs import Answer as ScriptedAnswer
from atom_emulator.task_runner.jobs import Jobs
from atom_emulator.task_runner.script import Script
from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.task_runner.service import encode_answer
from atom_workflows.adapters.task_runner.answers import Answer as ReceivedAnswer
from atom_workflows.adapters.task_runner.answers import (
    read_lookup,
    read_status,
    read_stop,
    read_submission,
    receive_answer,
)
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.hints import handle_hint
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.limits import WakeLimit
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.documents import run_path, steps_path
from atom_workflows.errors import AtomWorkflowsError, MalformedEvent, SourceNotFound, TaskRunnerUnavailable
from atom_workflows.messages.internal import (
    Tick,
    job_ended_message,
    read_job_ended,
    read_steps_event,
    read_tick_event,
)
from atom_workflows.messages.start import FileDeleted, read_start_event, start_of_object
from atom_workflows.ports import Answer, Document, Item, JobAnswer, Message, Query, StopAnswer, Write, WriteResult
from atom_workflows.run_documents import run_record
from atom_workflows.settings import MIN_BACKOFF_S, Settings
from atom_workflows.step_documents import step_record

TASK_RUNNER_URL = "http://task-runner.test"
START = datetime(2026, 1, 1, tzinfo=UTC)
ACK_DEADLINE_S = 600.0
"""An acknowledgement deadline that is longer than any invocation may take."""

HINT_BACKOFF = RedeliveryBackoff(minimum_s=MIN_BACKOFF_S, maximum_s=60)

BRIEF = Settings(burst=timedelta(seconds=1))
"""The deployed settings, except that a burst of the checker has time for only a single poll."""


_OK: Final = 200
_PLAIN_STATES: Final = frozenset({"QUEUED", "PREPARING", "RUNNING"})


class MovedClock:
    """A clock that moves only during sleeps and calls to `move`."""

    def __init__(self, began: datetime = START) -> None:
        self._now = began

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        self._now += timedelta(seconds=seconds)

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by


class InTurn:
    """Implements `ports.Workers` sequentially, with all calls in one wave."""

    def calls(self, call: Callable[[Item], Answer], *, lane: object = None) -> CallsInTurn[Item, Answer]:  # noqa: ARG002 (there is but one thread)
        """See `ports.Workers.calls`."""
        return CallsInTurn(call)


@dataclass(slots=True)
class CallsInTurn(Generic[Item, Answer]):
    """Implements `ports.Calls`; a wave has at most `at_a_time` calls."""

    call: Callable[[Item], Answer]
    at_a_time: int | None = None
    pending: list[Item] = field(default_factory=list)
    failure: Exception | None = None

    def begin(self, items: Sequence[Item]) -> None:
        """See `ports.Calls.begin`."""
        self.pending += items

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:  # noqa: ARG002 (no one waits)
        """See `ports.Calls.wave`."""
        if not self.pending and self.failure is not None:
            raise self.failure
        count = self.at_a_time or len(self.pending)
        wave, self.pending = self.pending[:count], self.pending[count:]
        return list(self._answered(wave))

    def _answered(self, wave: Sequence[Item]) -> Iterator[tuple[Item, Answer]]:
        for item in wave:
            try:
                yield item, self.call(item)
            except Exception as error:  # noqa: BLE001 (whatever a call raises is raised once no other is pending)
                self.failure = self.failure or error


@dataclass(slots=True)
class ScriptedTaskRunner:
    """Implements the port with the mock Task Runner's logic, and records submissions."""

    jobs: Jobs
    clock: MovedClock
    submitted: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    submitted_at: list[datetime] = field(default_factory=list)
    timeouts: list[timedelta] = field(default_factory=list)
    polled: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        _check_url(base_url)
        self.submitted.append((idempotency_key, body))
        self.submitted_at.append(self.clock.now())
        self.timeouts.append(timeout)
        answer = self.jobs.submit(dict(body), idempotency_key, self.clock.now().timestamp())
        self.clock.sleep(answer.delay_s)
        return read_submission(_received(answer))

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        _check_url(base_url)
        self.polled.append(job_id)
        answer = self.jobs.status(job_id, self.clock.now().timestamp())
        self.clock.sleep(answer.delay_s)
        is_plain = answer.state in _PLAIN_STATES and not answer.message and answer.logs_url is None
        if answer.status == _OK and answer.fault is None and is_plain:
            # Most answers of a long run, and nothing of them would be read otherwise.
            return JobAnswer(job_id=job_id, state=answer.state, notifies=answer.notifies)
        return read_status(_received(answer, job_id), job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        _check_url(base_url)
        self.stopped.append(job_id)
        answer = self.jobs.stop(job_id, self.clock.now().timestamp())
        self.clock.sleep(answer.delay_s)
        return read_stop(_received(answer, job_id), job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        _check_url(base_url)
        self.looked_up.append(idempotency_key)
        answer = self.jobs.look_up(idempotency_key, self.clock.now().timestamp())
        self.clock.sleep(answer.delay_s)
        return read_lookup(_received(answer), idempotency_key)


def _check_url(base_url: str) -> None:
    if base_url != TASK_RUNNER_URL:
        raise LookupError(f"there is no Task Runner at {base_url}, only at {TASK_RUNNER_URL}")


def _received(answer: ScriptedAnswer, job_id: str = "") -> ReceivedAnswer:
    """Return the mock's answer as a client would receive it."""
    response = encode_answer(answer)
    if response.drop:
        raise TaskRunnerUnavailable("the connection was cut")
    headers = {"Content-Type": response.content_type, **response.headers}
    return receive_answer(response.status, headers, iter([response.body]), job_id=job_id)


@dataclass(slots=True)
class CountingStore:
    """A store that counts document reads and writes as Firestore bills them."""

    inner: MemoryStore
    reads: int = 0
    commits: int = 0
    written: Counter[str] = field(default_factory=Counter)

    @property
    def writes(self) -> int:
        """The number of documents written."""
        return self.written.total()

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        self.reads += len(paths)
        return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        results = self.inner.commit(writes)
        self.written.update(write.path for write in writes)
        self.commits += 1
        return results

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        found = self.inner.query(query)
        self.reads += max(1, len(found))
        return found

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        self.reads += 1
        return self.inner.count(query)


@dataclass(slots=True)
class Files:
    """Workflow files by path and generation."""

    content: dict[tuple[str, str | None], bytes] = field(default_factory=dict)
    reads: int = 0

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        """See `ports.Source.read`."""
        self.reads += 1
        if generation is None and (path, None) not in self.content:
            # Without a generation, the newest is meant.
            kept = [number for name, number in self.content if name == path and number is not None]
            generation = max(kept, key=int, default=None)
        try:
            return self.content[path, generation], generation or "1"
        except KeyError:
            raise SourceNotFound(f"{path} does not exist, or no longer exists") from None


class World:
    """A coordinator whose events the test delivers.

    `script` is a mock Task Runner's script, in the format of a script file. The keyword arguments override settings.
    """

    def __init__(
        self,
        script: str | Script = "",
        *,
        clock: MovedClock | None = None,
        settings: Settings = BRIEF,
        **changes: Any,
    ) -> None:
        self.clock = clock or MovedClock()
        self.store = CountingStore(MemoryStore(self.clock.now))
        usual = SubscriptionSettings(ack_deadline_s=ACK_DEADLINE_S)
        self.bus = MemoryBus(self.clock, settings=usual, own={"jobs": replace(usual, backoff=HINT_BACKOFF)})
        parsed = script if isinstance(script, Script) else parse_script(script)
        self.task_runner = ScriptedTaskRunner(Jobs(parsed), self.clock)
        self.files = Files()
        settings_used = replace(settings, **{"task_runner_url": TASK_RUNNER_URL, **changes})
        self.services = Services(
            store=self.store,
            bus=self.bus,
            task_runner=self.task_runner,
            source=self.files,
            clock=self.clock,
            workers=InTurn(),
            settings=settings_used,
            wake_limit=WakeLimit(settings_used.check_interval),
        )

    def start(
        self,
        definition: str,
        *,
        run_key: str = "test",
        path: str = "flow.yaml",
        params: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a run of a definition, but deliver nothing yet."""
        body = {"definition": definition, "workflow_path": path, "run_key": run_key, "params": dict(params or {})}
        return handle_start(self.services, read_start_event(body, event_id="event-1")).run_id

    def upload(self, definition: str, *, path: str = "gs://bucket/workflows/flow.yaml", generation: int = 1) -> str:
        """Store a generation of a file, and report it like a bucket.

        Returns the id of the run that the upload started, or "" if the file is started by its schedules.
        """
        for known in [known for known in self.files.content if known[0] == path and int(known[1] or 0) < generation]:
            del self.files.content[known]
        self.files.content[path, str(generation)] = definition.encode()
        return self.report_upload(path=path, generation=generation)

    def report_upload(self, *, path: str = "gs://bucket/workflows/flow.yaml", generation: int = 1) -> str:
        """Report a generation of a file as uploaded. A bucket may do this twice, late, and in any order."""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        return handle_start(self.services, start_of_object(bucket, name, str(generation), event_id="upload")).run_id

    def delete(self, *, path: str = "gs://bucket/workflows/flow.yaml", generation: int = 1) -> None:
        """Delete a file, and report that as a bucket does."""
        self.files.content.pop((path, str(generation)), None)
        handle_start(self.services, FileDeleted(path=path, generation=generation))

    def deliver(self, taken: TakenMessage) -> bool:
        """Handle one event as its function would, and acknowledge it.

        Returns False for a hint that was refused, such as one that came too early; it is delivered again.
        """
        handlers: dict[str, Callable[[], object]] = {
            "start": lambda: handle_start(self.services, read_start_event(taken.body, event_id=taken.message_id)),
            "steps": lambda: handle_steps(self.services, read_steps_event(taken.body)),
            "tick": lambda: handle_tick(self.services, read_tick_event(taken.body)),
            "jobs": lambda: handle_hint(self.services, read_job_ended(taken.body)),
            "events": lambda: None,
        }
        try:
            handlers[taken.subscription]()
        except AtomWorkflowsError as error:
            if taken.subscription != "jobs":
                raise
            if not isinstance(error, MalformedEvent):
                self.bus.nack(taken)
                return False
        self.bus.ack(taken)
        return True

    def settle_down(self, *topics: str) -> None:
        """Deliver every event, and the events that result, until none is left.

        Jobs that have ended by now are reported first, if they send notifications.
        """
        self.publish_hints()
        topics = topics or ("start", "steps", "jobs")
        while taken := [message for topic in topics for message in self.bus.take_all(topic)]:
            for message in taken:
                self.deliver(message)

    def publish_hints(self) -> None:
        """Publish hints about jobs that ended since the last call.

        Only jobs that send notifications are included.
        """
        if ended := self.task_runner.jobs.take_ended(self.clock.now().timestamp()):
            self.services.bus.publish([job_ended_message(one) for one in ended])

    def tick(self) -> None:
        """Wake the checker for one sweep, then deliver what it published."""
        handle_tick(self.services, Tick())
        self.settle_down()

    def run_to_end(self, run_id: str, *, within: timedelta = timedelta(hours=1)) -> RunRecord:
        """Deliver events and tick every ten seconds until the run is terminal."""
        ends_at = self.clock.now() + within
        self.settle_down()
        while not self.run(run_id).state.is_terminal and self.clock.now() < ends_at:
            self.clock.move(timedelta(seconds=10))
            self.tick()
        return self.run(run_id)

    def run(self, run_id: str) -> RunRecord:
        """Return the current run."""
        document = self.store.inner.get([run_path(run_id)])[0]
        if document is None:
            raise LookupError(f"there is no run {run_id}")
        return run_record(document)

    def steps(self, run_id: str) -> dict[str, StepRecord]:
        """Return all nodes of the run, including those that the compiler added."""
        documents = self.store.inner.query(Query(collection=steps_path(run_id)))
        return {document.id: step_record(document) for document in documents}

    def states(self, run_id: str) -> dict[str, str]:
        """Return the states of the user's steps."""
        return {name: step.state.value for name, step in self.steps(run_id).items() if not name.startswith("~")}

    def submissions(self) -> list[str]:
        """Return the submitted attempts in order, as `step/attempt`."""
        return [key.partition("/")[2] for key, _ in self.task_runner.submitted]

    def changes(self) -> list[Message]:
        """Return the published reports so far."""
        parts = iter(lambda: self.bus.take_all("events"), [])
        return [Message(topic="events", body=one.body, attributes=one.attributes) for part in parts for one in part]
