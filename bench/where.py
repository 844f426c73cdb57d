"""Measure where the time of a step goes: the handlers run in this process, and each of their outside calls is timed."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path
from atom_workflows.log import JsonLines
from atom_workflows.messages.internal import ReadyStep, StepsReady
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import (
    Bus,
    Document,
    JobAnswer,
    Message,
    Query,
    StopAnswer,
    Store,
    TaskRunner,
    Write,
    WriteResult,
)
from bench.measure import FILE, Inconsistent
from bench.workloads import Workload, chain

SHORT: Final = Workload(name="short", title="run of 4", definition=chain(4))
LONG: Final = Workload(name="long", title="chain of 100", definition=chain(100))

Done = TypeVar("Done")

PASSES: Final = 20
RUNS_A_PASS: Final[Mapping[Workload, int]] = {LONG: 1, SHORT: 10}


class Part(StrEnum):
    """The activities on which time is spent."""

    SUBMIT = "dispatcher: `POST /job`"
    COMMIT = "dispatcher: commits"
    READ = "dispatcher: reads"
    PUBLISH = "dispatcher: publishing"
    OWN = "dispatcher: all else (decisions, records, log)"
    START = "start: its commit and publishing"
    START_OWN = "start: all else (YAML, checks, the graph)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Milliseconds per step for each part, as the median of all passes."""

    workload: Workload
    ms: Mapping[Part, float]

    @property
    def total_ms(self) -> float:
        """The milliseconds per step of all parts together."""
        return sum(self.ms.values())


@dataclass(slots=True)
class _Watch:
    """Seconds by part. If `inside` is set, all calls are attributed to that part."""

    seconds: defaultdict[Part, float] = field(default_factory=lambda: defaultdict(float))
    inside: Part | None = None

    @contextmanager
    def on(self, part: Part) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[self.inside or part] += time.perf_counter() - began


@dataclass(slots=True)
class _Store:
    inner: Store
    watch: _Watch

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        with self.watch.on(Part.READ):
            return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        with self.watch.on(Part.COMMIT):
            return self.inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        with self.watch.on(Part.READ):
            return self.inner.query(query)

    def count(self, query: Query) -> int:
        with self.watch.on(Part.READ):
            return self.inner.count(query)


@dataclass(slots=True)
class _Bus:
    inner: Bus
    watch: _Watch

    def publish(self, messages: Sequence[Message]) -> None:
        with self.watch.on(Part.PUBLISH):
            self.inner.publish(messages)


@dataclass(slots=True)
class _TaskRunner:
    inner: TaskRunner
    watch: _Watch

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        with self.watch.on(Part.SUBMIT):
            return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        return self.inner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        return self.inner.look_up(base_url, idempotency_key)


def measure(services: Services, *, passes: int = PASSES) -> list[Where]:
    """Measure both workloads after a warm-up pass.

    `services` publish to topics that no one listens to. Raises `Inconsistent`.
    """
    with _logging_to_nothing():
        return [_measured(services, workload, passes) for workload in RUNS_A_PASS]


@contextmanager
def _logging_to_nothing() -> Iterator[None]:
    """Format log lines as in a function, and discard them."""
    logger = logging.getLogger("atom_workflows")
    handlers, level, propagates = logger.handlers, logger.level, logger.propagate
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        handler = logging.StreamHandler(nothing)
        handler.setFormatter(JsonLines())
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.handlers, logger.propagate = handlers, propagates
            logger.setLevel(level)


def _measured(services: Services, workload: Workload, passes: int) -> Where:
    found = [_pass(services, workload) for _ in range(passes + 1)][1:]
    runs = RUNS_A_PASS[workload]
    steps = runs * workload.steps
    return Where(workload=workload, ms={part: 1000 * median(one[part] for one in found) / steps for part in Part})


def _pass(plain: Services, workload: Workload) -> Mapping[Part, float]:
    watch = _Watch()
    services = replace(
        plain,
        store=_Store(plain.store, watch),
        bus=_Bus(plain.bus, watch),
        task_runner=_TaskRunner(plain.task_runner, watch),
    )
    for _ in range(RUNS_A_PASS[workload]):
        run_id = _start(services, watch, workload)
        _dispatch(services, watch, run_id)
        document = plain.store.get([run_path(run_id)])[0]
        if document is None or document.fields["state"] != RunState.SUCCEEDED:
            raise Inconsistent(f"run {run_id} of {workload.title} did not succeed in one pass of the handlers")
    return watch.seconds


def _start(services: Services, watch: _Watch, workload: Workload) -> str:
    body = {"definition": workload.definition, "workflow_path": FILE, "run_key": uuid.uuid4().hex}
    event = read_start_event(body, event_id="bench")
    watch.inside = Part.START
    run_id = _timed(watch, Part.START_OWN, lambda: handle_start(services, event).run_id)
    watch.inside = None
    return run_id


def _dispatch(services: Services, watch: _Watch, run_id: str) -> None:
    event = StepsReady(run_id=run_id, steps=(ReadyStep(step_id="s0"),))
    _timed(watch, Part.OWN, lambda: handle_steps(services, event))


def _timed(watch: _Watch, own: Part, work: Callable[[], Done]) -> Done:
    """Do the work, and record its time without its calls."""
    before, began = sum(watch.seconds.values()), time.perf_counter()
    done = work()
    took = time.perf_counter() - began
    watch.seconds[own] += took - (sum(watch.seconds.values()) - before)
    return done
