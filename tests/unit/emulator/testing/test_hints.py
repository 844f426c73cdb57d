"""Hints in the in-memory world: jobs that notify are reported to the topic `jobs` when they end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.functions import BEGINNING, Functions, Invocation
from atom_emulator.testing.world import START, TASK_RUNNER_URL, World
from atom_workflows.errors import StoreUnavailable, TaskRunnerUnavailable
from atom_workflows.messages.internal import JobEnded, read_job_ended
from atom_workflows.ports import JobAnswer, Message, StopAnswer
from atom_workflows.settings import Settings
from support.workflows import chain, script

NOTIFIES = script(s0={"duration": 25, "notifies": True, "logsUrl": "https://logs.test/7"})


class Seen:
    """An observer that keeps the hints and when they were published, and the invocations for them."""

    def __init__(self) -> None:
        self.hints: list[tuple[JobEnded, float]] = []
        self.invocations = 0
        self.functions: Functions | None = None

    def on_publish(self, messages: Sequence[Message]) -> None:
        """Keep the hints."""
        assert self.functions is not None
        at = (self.functions.timeline.now() - BEGINNING).total_seconds()
        self.hints += [(read_job_ended(message.body), at) for message in messages if message.topic == "jobs"]

    def on_end(self, invocation: Invocation) -> None:
        """Count the invocations for hints."""
        self.invocations += invocation.topic == "jobs"

    def on_tick(self) -> None:
        """Do nothing."""


def test_a_world_reports_ends_as_time_is_moved() -> None:
    """A hint is published once the job has ended, and only once."""
    world = World(NOTIFIES)
    run_id = world.start(chain(1))
    world.settle_down("start", "steps")
    for seconds in (24.9, 0.2, 50.0):
        world.clock.move(timedelta(seconds=seconds))
        world.publish_hints()
    [hint] = world.bus.take_all("jobs")
    assert read_job_ended(hint.body) == JobEnded(idempotency_key=f"{run_id}/s0/1")
    world.deliver(hint)
    assert world.bus.take_all("jobs") == []


def test_functions_are_woken_by_a_hint_when_the_job_ends() -> None:
    """In virtual time a hint comes at the end of the job, a job that does not notify causes none."""
    seen = Seen()
    with Functions(parse_script(NOTIFIES), settings=Settings(task_runner_url=TASK_RUNNER_URL), observer=seen) as played:
        seen.functions = played
        run_id = played.start("flow.yaml", chain(2).encode())
        run = played.run_to_end(run_id, within=timedelta(hours=1))
    assert run.state.is_terminal
    [(hint, at)] = seen.hints
    assert hint == JobEnded(idempotency_key=f"{run_id}/s0/1")
    assert 25 < at < 25.1
    assert seen.invocations == 1


def test_a_stop_moves_the_hint() -> None:
    """A job that is stopped is reported when it has stopped, and one that was skipped ahead at its new end."""
    seen = Seen()
    rules = script(s0={"duration": 1000, "notifies": True, "stop": {"after": 5}})
    with Functions(parse_script(rules), settings=Settings(task_runner_url=TASK_RUNNER_URL), observer=seen) as played:
        seen.functions = played
        played.start("flow.yaml", chain(1).encode())
        played.timeline.move(timedelta(seconds=10))
        runner = played.world.services.task_runner
        assert runner.stop(TASK_RUNNER_URL, "job-000001") is StopAnswer.STOPPING
        played.timeline.move(timedelta(seconds=10))
    assert [round(at, 1) for _, at in seen.hints] == [15.0]


def test_the_worlds_task_runner_answers_as_one_on_the_wire() -> None:
    """Stops, logs and promises to notify come as the client reads them, and calls are noted with their limits."""
    world = World(
        script(s0={"duration": 25, "notifies": True, "logsUrl": "https://logs.test/7"}, s1={"stop": "cannot"})
    )
    runner, body = world.task_runner, {"scaleTier": "BASIC", "labels": {"workflow": "flow", "type": "step"}}
    limit = timedelta(minutes=5)
    runner.submit(TASK_RUNNER_URL, {"job_name": "s0", **body}, idempotency_key="r/s0/1", timeout=limit)
    expected = JobAnswer(job_id="job-000001", state="RUNNING", logs_url="https://logs.test/7", notifies=True)
    assert runner.status(TASK_RUNNER_URL, "job-000001") == expected
    runner.submit(TASK_RUNNER_URL, {"job_name": "s1", **body}, idempotency_key="r/s1/1", timeout=2 * limit)
    stops = [runner.stop(TASK_RUNNER_URL, f"job-00000{number}") for number in (1, 2, 3)]
    assert stops == [StopAnswer.STOPPING, StopAnswer.CANNOT, StopAnswer.GONE]
    assert runner.stopped == ["job-000001", "job-000002", "job-000003"]
    assert runner.timeouts == [limit, 2 * limit]


def test_a_stop_in_the_world_may_get_no_answer() -> None:
    """An answer that is spoilt is an error of the port."""
    world = World("default: {duration: 25, stop_errors: [drop, 500]}")
    body = {"job_name": "s0", "scaleTier": "BASIC", "labels": {"workflow": "flow", "type": "step"}}
    job = world.task_runner.submit(TASK_RUNNER_URL, body, idempotency_key="r/s0/1", timeout=timedelta(minutes=5))
    for _ in range(2):
        with pytest.raises(TaskRunnerUnavailable):
            world.task_runner.stop(TASK_RUNNER_URL, job.job_id)
    assert world.task_runner.stop(TASK_RUNNER_URL, job.job_id) is StopAnswer.STOPPING
    assert world.clock.now() == START


def test_a_hint_that_comes_too_early_is_delivered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint that the checker refuses for now comes again after a second, then two; a malformed one does not."""
    seen = Seen()
    refused: list[float] = []

    def refuse_twice(body: Any) -> JobEnded:
        assert seen.functions is not None
        if len(refused) < 2:
            refused.append((seen.functions.timeline.now() - BEGINNING).total_seconds())
            raise StoreUnavailable("not yet")
        return read_job_ended(body)

    monkeypatch.setattr("atom_emulator.testing.world.read_job_ended", refuse_twice)
    with Functions(parse_script(NOTIFIES), settings=Settings(task_runner_url=TASK_RUNNER_URL), observer=seen) as played:
        seen.functions = played
        played.start("flow.yaml", chain(1).encode())
        played.timeline.move(timedelta(minutes=2))
        assert played.world.bus.unacknowledged("jobs") == 0
        assert [round(at, 1) for at in refused] == [25.0, 26.0]
        assert seen.invocations == 3
        played.world.bus.publish([Message(topic="jobs", body={"type": "job.ended", "job_id": []})])
        assert played.world.deliver(played.world.bus.take_all("jobs")[0])
        assert played.world.bus.unacknowledged("jobs") == 0
