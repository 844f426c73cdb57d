"""Wide, long and many: what grows with a graph's size, and what stays below the services' limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from atom_emulator.testing.world import World
from atom_workflows.adapters.firestore.messages import FirestoreMessages
from atom_workflows.adapters.system import ThreadWorkers
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.errors import Conflict
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import (
    Bus,
    Document,
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
from support.workflows import chain, definition, fan, layers

LARGEST_REQUEST = 1_000_000
LARGEST_MESSAGE = 256_000
LONGEST_ID = 100
LONGEST_TEXT = 2_000
SOME_TIME = Timestamp(seconds=1_767_225_600, nanos=999_999_000)


def request_bytes(writes: Sequence[Write]) -> int:
    """Return the size of a commit on the wire."""
    sent = [
        replace(write, guard=SOME_TIME) if isinstance(write, Update) and write.guard is not None else write
        for write in writes
    ]
    request = FirestoreMessages("projects/some-project/databases/(default)").commit(sent)
    return int(request.ByteSize())


@dataclass(slots=True)
class MeasuredStore:
    """A store that notes the largest commit as it would be sent, and every refusal."""

    inner: Store
    largest: int = 0
    refused: int = 0

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        self.largest = max(self.largest, request_bytes(writes))
        try:
            return self.inner.commit(writes)
        except Conflict:
            self.refused += 1
            raise

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)


@dataclass(slots=True)
class MeasuredBus:
    """A bus that notes the largest message."""

    inner: Bus
    largest: int = 0

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        sizes = [len(json.dumps(message.body, ensure_ascii=False).encode()) for message in messages]
        self.largest = max(self.largest, *sizes)
        self.inner.publish(messages)


def measured(world: World) -> tuple[MeasuredStore, MeasuredBus]:
    """Measure what the world's handlers send from now on."""
    store, bus = MeasuredStore(world.services.store), MeasuredBus(world.services.bus)
    world.services = replace(world.services, store=store, bus=bus)
    return store, bus


def cost(workflow: str) -> list[float]:
    """Return documents written and read and messages published for each step.

    Fails if anything is refused.
    """
    world = World()
    store, bus = measured(world)
    run_id = world.start(workflow)
    world.settle_down()
    assert (world.run(run_id).state, store.refused) == ("SUCCEEDED", 0)
    assert store.largest < LARGEST_REQUEST
    assert bus.largest < LARGEST_MESSAGE
    messages = sum(world.bus.broker.topic(topic).published for topic in ("start", "steps", "tick", "events"))
    steps = len(world.states(run_id))
    return [total / steps for total in (world.store.writes, world.store.reads, messages)]


def mixed(size: int) -> str:
    """Return a workflow of three parts of equal size: a chain, a fan, and layers."""
    part = size // 3
    parts = (chain(part), fan(part - 2), layers(part // 20, 20))
    return json.dumps({"steps": [step for one in parts for step in json.loads(one)["steps"]]})


def test_a_step_of_ten_thousand_costs_what_one_of_a_thousand_does() -> None:
    """A step of a chain, a fan or layers costs about the same in a run of 10,000 as in one of 1,000."""
    small, large = (cost(mixed(size)) for size in (1_000, 10_000))
    # If the steps of one part alone cost a fifth more, all of them cost a fifteenth more on average.
    for before, after in zip(small, large, strict=True):
        assert after <= 1.05 * before


def test_the_longest_texts_stay_below_the_limits() -> None:
    """A thousand failed jobs with the longest texts fit into requests and messages."""
    leaves = [f"leaf{number}".ljust(LONGEST_ID, "x") for number in range(1_000)]
    edges = {"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves}
    said = "😀" * LONGEST_TEXT
    world = World(f"rules: [{{step: leaf*, duration: 5, always_fail: true, message: {said}}}]")
    store, bus = measured(world)
    run_id = world.start(definition(edges))
    assert world.run_to_end(run_id).state == "FAILED"
    assert world.states(run_id)["join"] == "SKIPPED"
    assert LARGEST_REQUEST / 5 < store.largest < LARGEST_REQUEST
    assert LARGEST_MESSAGE / 2 < bus.largest < LARGEST_MESSAGE


def test_values_of_the_run_stay_below_the_limits() -> None:
    """The largest parameters, read by the conditions or the tasks of hundreds of steps, fit into requests."""
    asks = {"when": "len(params.text) > 3", "retry": {"when": f"failure.message != '{'é' * 900}'"}}
    texts = {"task": {"imageUri": "image", "args": ["${{ params.some }}", "${{ step.attempt }}"]}}
    steps = [{"id": f"s{number}", "task": {"imageUri": "image"}, **asks, **texts} for number in range(150)]
    flow = {"params": {"text": {"type": "text"}, "some": {"type": "text"}}, "steps": steps}
    world = World()
    store, _ = measured(world)
    run_id = world.start(json.dumps(flow), params={"text": "x" * 40_000, "some": "é" * 8_000})
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert LARGEST_REQUEST / 2 < store.largest < LARGEST_REQUEST


def test_bodies_and_outputs_stay_below_the_limits() -> None:
    """The largest rendered bodies, kept in the commits that also keep outputs, fit into requests."""
    work = {"dependsOn": ["a"], "outputs": {"text": "text"}}
    body = {"imageUri": "image", "args": ["${{ steps.a.outputs.text }}", "${{ steps.a.outputs.text }}"]}
    steps = [{"id": f"s{number}", "task": body, **work} for number in range(100)]
    first = {"id": "a", "task": {"imageUri": "image"}, "outputs": {"text": "text"}}
    answer = {"synchronous": True, "outputs": {"text": "x" * 32_000}, "message": "😀" * LONGEST_TEXT}
    world = World(json.dumps({"default": answer}))
    store, bus = measured(world)
    run_id = world.start(json.dumps({"steps": [first, *steps]}))
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert LARGEST_REQUEST / 2 < store.largest < LARGEST_REQUEST
    assert bus.largest < LARGEST_MESSAGE


@dataclass(frozen=True, slots=True)
class Talkative:
    """A Task Runner whose jobs go on, in a state and with a message that are new."""

    inner: TaskRunner

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return replace(self.inner.status(base_url, job_id), state="PREPARING", message="😀" * LONGEST_TEXT)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self.inner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.inner.look_up(base_url, idempotency_key)


def test_what_polls_tell_stays_below_the_limit() -> None:
    """Three hundred new states with the longest messages are saved in parts."""
    world = World("default: {duration: 1000}")
    world.start(definition({f"s{number}": [] for number in range(300)}))
    world.settle_down()
    store, _ = measured(world)
    world.services = replace(world.services, task_runner=Talkative(world.services.task_runner))
    world.clock.move(timedelta(seconds=30))
    world.tick()
    assert LARGEST_REQUEST / 2 < store.largest < LARGEST_REQUEST


def test_large_tasks_are_seeded_in_requests_that_are_allowed() -> None:
    """Large tasks are seeded in parts below a megabyte."""
    task: Mapping[str, Any] = {"imageUri": "image", "args": {"text": "x" * 60_000}}
    world = World()
    store, _ = measured(world)
    names = [f"s{number}" for number in range(50)]
    run_id = world.start(definition({name: [] for name in names}, **{name: {"task": task} for name in names}))
    world.settle_down()
    assert world.run(run_id).state == "SUCCEEDED"
    assert LARGEST_REQUEST / 2 < store.largest < LARGEST_REQUEST


def test_a_thousand_runs_at_once_all_end() -> None:
    """A thousand runs at the same time all end, each at its own cost."""
    world = World()
    store, _ = measured(world)
    run_ids = [world.start(chain(4), run_key=str(number)) for number in range(1_000)]
    world.settle_down()
    assert {world.run(run_id).state for run_id in run_ids} == {"SUCCEEDED"}
    assert store.refused == 0
    alone, _, _ = cost(chain(4))
    assert world.store.writes / len(run_ids) == alone * 4


@dataclass(slots=True)
class Meeting:
    """A store in which whoever reads a run waits for three others that do."""

    inner: Store
    together: threading.Barrier

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        if paths[0].startswith("runs/"):
            self.together.wait(10)
        return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)


def test_many_runs_are_looked_after_at_the_same_time() -> None:
    """A thousand open runs are audited at the same time."""
    world = World("default: {duration: 100000}")
    for number in range(4):
        world.start(chain(1), run_key=str(number))
    world.settle_down()
    world.clock.move(timedelta(seconds=70))
    meeting = Meeting(world.services.store, threading.Barrier(4))
    world.store.written.clear()
    handle_tick(replace(world.services, store=meeting, workers=ThreadWorkers(4)), Tick())
    assert not meeting.together.broken
    assert sum(path.endswith("/~end") for path in world.store.written) == 4
