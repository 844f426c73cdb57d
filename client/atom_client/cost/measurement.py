"""Measure what a run uses.

The deployed coordinator executes the run once, in memory and in virtual time. The usage of its store, bus, Task Runner
and clock is counted, so no figure comes from a model. The only assumptions are how many seconds calls take, and that
every job succeeds after the same amount of time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

from atom_client.cost.idle_time import IdleTime
from atom_client.cost.usage import Assumptions, NotEstimated, Tally, billed
from atom_workflows.core.durations import format_duration
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Step, Workflow
from atom_workflows.ports import Message
from atom_workflows.settings import MIN_KEEP_RUNS_S

if TYPE_CHECKING:
    from atom_emulator.task_runner.script import Script
    from atom_emulator.testing.functions import Functions, Invocation, Latency

LONGEST: Final = timedelta(seconds=MIN_KEEP_RUNS_S) / 2
"""The longest run that can be estimated.

No deployment renews the documents of a run that is open for less than this, so ticks during idle time repeat exactly.
"""

AT_ONCE: Final = "edge"
"""The engine whose jobs have already ended when the response to their submission arrives."""

OUTPUTS_LABEL: Final = "outputs"
"""A label that has the same value for all steps of a workflow that declare outputs with the same names.

With it, the mock Task Runner needs one rule for each set of names rather than one for each step.
"""

_OF_CHECKER: Final = ("tick", "jobs")
"""The topics whose events the checker handles."""

_PATH: Final = "gs://bucket/workflows/workflow.yaml"


def measure(workflow: Workflow, definition: bytes, given: Assumptions) -> Tally:
    """Measure one run of a workflow.

    `definition` is the content of the workflow's file.

    Raises:
        NotEstimated: with jobs of this length, the run would not succeed or would take too long.

    """
    from atom_emulator.testing.functions import PUSHED, Functions  # noqa: PLC0415 (not installed everywhere)

    _require_patience(workflow, given.job)
    meter = Meter(PUSHED)
    with (
        _counting_lines() as lines,
        Functions(
            _script(given, workflow),
            settings=given.settings,
            latency=_latency(given),
            tick_every=given.tick,
            observer=meter,
        ) as functions,
    ):
        run_id = functions.start(_PATH, definition)
        meter.idle = IdleTime(functions, run_id, lambda: meter.count(functions, lines.count))
        run = functions.run_to_end(run_id, within=LONGEST)
        tally = meter.idle.total()
    took = timedelta(0) if run.finished_at is None else run.finished_at - run.created_at + meter.idle.skipped
    if run.finished_at is None or took > LONGEST:
        raise _too_long()
    if run.state is not RunState.SUCCEEDED:
        raise NotEstimated(f"the run would end as {run.state}: {run.errors[0]['message']}")
    # The skipped time did not count towards the run's timeout.
    if workflow.timeout is not None and took > workflow.timeout:
        limit = format_duration(workflow.timeout)
        raise NotEstimated(f"the run would be stopped by its timeout of {limit}; give a shorter --duration")
    return replace(tally, took_s=took.total_seconds())


def measure_tick(given: Assumptions) -> Tally:
    """Measure a tick that finds nothing to do."""
    from atom_emulator.testing.functions import PUSHED, Functions  # noqa: PLC0415 (not installed everywhere)

    meter = Meter(PUSHED)
    with Functions(
        _script(given), settings=given.settings, latency=_latency(given), tick_every=given.tick, observer=meter
    ) as functions:
        functions.timeline.move(given.tick)
        return meter.count(functions, lines=0)


class Meter:
    """Tallies what is published and how long functions take. Implements the emulator's `Observer`.

    A message on a `pushed` topic is delivered to a function.
    """

    def __init__(self, pushed: Collection[str]) -> None:
        self.idle: IdleTime | None = None
        self._pushed = pushed
        self._tally = Tally()

    def on_publish(self, messages: Sequence[Message]) -> None:
        """Count one request for each topic."""
        sizes: dict[str, list[int]] = {}
        for message in messages:
            data = message.raw or json.dumps(message.body, separators=(",", ":"), ensure_ascii=False).encode()
            # Attributes are billed as well.
            size = len(data) + sum(len(name) + len(value) for name, value in message.attributes.items())
            sizes.setdefault(message.topic, []).append(size)
        for topic, of_topic in sizes.items():
            self._tally.publish(of_topic, delivered=topic in self._pushed)

    def on_end(self, invocation: Invocation) -> None:
        """Add the billed time of an invocation."""
        seconds = billed((invocation.ended - invocation.began).total_seconds())
        if invocation.topic in _OF_CHECKER:
            self._tally.watched_s += seconds
        else:
            self._tally.dispatched_s += seconds

    def on_tick(self) -> None:
        """Skip idle time."""
        if self.idle is not None:
            self.idle.skip()

    def count(self, functions: Functions, lines: int) -> Tally:
        """Return all current counts."""
        world = functions.world
        return replace(
            self._tally,
            writes=world.store.writes,
            reads=world.store.reads,
            documents=sum(path.startswith("runs/") for path in world.store.written),
            submissions=len(world.task_runner.submitted),
            polls=len(world.task_runner.polled),
            lines=lines,
            objects_read=world.files.reads,
        )


def _require_patience(workflow: Workflow, job: timedelta) -> None:
    """Raise `NotEstimated` if a step, or the run, would take too long."""
    for step in workflow.all_steps:
        if takes_time(step) and job >= step.timeout:
            limit = format_duration(step.timeout)
            raise NotEstimated(f"step {step.id} would time out after {limit}; give a shorter --duration")
    if jobs_in_a_row(workflow) * job > LONGEST:
        raise _too_long()


def _too_long() -> NotEstimated:
    return NotEstimated(
        f"the run would take more than {LONGEST.days} days, which is too long to estimate; give a shorter --duration"
    )


def takes_time(step: Step) -> bool:
    """Return True if the step has a job that takes time."""
    return step.task is not None and step.task.engine != AT_ONCE


def jobs_in_a_row(workflow: Workflow) -> int:
    """Return the length of the longest chain of jobs that take time.

    Adds the longest chain under `finally` to that of the main part.
    """
    return _longest_chain(workflow.steps) + (_longest_chain(workflow.finally_steps) if workflow.finally_steps else 0)


def _longest_chain(given: Sequence[Step]) -> int:
    steps = {step.id: step for step in given}
    in_a_row: dict[str, int] = {}
    for step_id in TopologicalSorter({step.id: step.depends_on for step in given}).static_order():
        before = max((in_a_row[need] for need in steps[step_id].depends_on), default=0)
        in_a_row[step_id] = before + takes_time(steps[step_id])
    return max(in_a_row.values())


def _script(given: Assumptions, workflow: Workflow | None = None) -> Script:
    """Return a script that makes every job succeed.

    Each job goes through the assumed number of states, and returns a number for each output that its step declares.
    """
    from atom_emulator.task_runner.script import Behavior, Rule, Script  # noqa: PLC0415 (not installed everywhere)

    states = [("RUNNING", "QUEUED")[number % 2] for number in range(given.new_states + 1)]
    usual = Behavior(duration_s=given.job.total_seconds(), states=tuple(reversed(states)), notifies=given.notifies)
    rules: dict[tuple[str | None, bool], Rule] = {}
    for step in workflow.all_steps if workflow else ():
        label = step.task.labels.get(OUTPUTS_LABEL) if step.task else None
        key = label or step.id, takes_time(step)
        if step.outputs and key not in rules:
            behavior = replace(usual if key[1] else Behavior(), outputs=(dict.fromkeys(step.outputs, 1),))
            if label:
                which = Rule(labels={OUTPUTS_LABEL: label}, engine=None if key[1] else AT_ONCE, behavior=behavior)
            else:
                which = Rule(step=step.id, behavior=behavior)
            rules[key] = which
    # Rules for a specific engine come first, since the others match its jobs, too.
    chosen = sorted(rules.values(), key=lambda rule: rule.engine is None)
    return Script(rules=(*chosen, Rule(engine=AT_ONCE)), default=usual)


def _latency(given: Assumptions) -> Latency:
    from atom_emulator.testing.functions import Latency  # noqa: PLC0415 (not installed everywhere)

    return Latency(
        read_s=given.read_s,
        commit_s=given.commit_s,
        publish_s=given.publish_s,
        task_runner_s=given.task_runner_s,
        cpu_s=given.cpu_s,
    )


class Lines(logging.Handler):
    """Counts the lines that would be written to a log."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 (only the number of lines matters)
        """Count a line."""
        self.count += 1


@contextmanager
def _counting_lines() -> Iterator[Lines]:
    """Count the lines that the functions would log, without printing them."""
    lines = Lines()
    logger = logging.getLogger("atom_workflows")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers
    logger.propagate, logger.handlers = False, [lines]
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.propagate, logger.handlers = propagate, handlers
        logger.setLevel(level)
