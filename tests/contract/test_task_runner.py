"""The TaskRunner port over HTTP, against the mock Task Runner: what each of its answers becomes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests

from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.tokens import FixedToken
from atom_workflows.errors import TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer, StopAnswer
from contract.canned import HOUR

START_S = 60.0
BODY = {"job_name": "load", "scaleTier": "BASIC", "labels": {"workflow": "daily", "type": "step"}}


class Mock:
    """The mock Task Runner as a process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def script(self, **behavior: Any) -> None:
        """Forget everything and behave like this from now on."""
        requests.post(f"{self.url}/_reset", timeout=60).raise_for_status()
        requests.put(f"{self.url}/_script", json={"default": behavior}, timeout=60).raise_for_status()

    def calls(self) -> list[dict[str, Any]]:
        """Return its calls in order."""
        return [json.loads(line) for line in requests.get(f"{self.url}/_log", timeout=60).text.splitlines()]


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    """Run one mock for the tests of this file."""
    ready_file = tmp_path_factory.mktemp("task-runner") / "ready.json"
    process = subprocess.Popen([sys.executable, "-m", "atom_emulator.task_runner", "--ready-file", str(ready_file)])
    deadline = time.monotonic() + START_S
    while not ready_file.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
    yield Mock(f"http://127.0.0.1:{json.loads(ready_file.read_text())['port']}")
    process.terminate()
    assert process.wait(START_S) == 0


@pytest.fixture
def client() -> TaskRunnerClient:
    """Return a client with a token."""
    return TaskRunnerClient(FixedToken("s3cret-token"), submit_timeout_s=60, status_timeout_s=60)


def submit(client: TaskRunnerClient, mock: Mock, key: str = "run/load/1") -> JobAnswer:
    """Submit the one job of these tests."""
    return client.submit(mock.url, BODY, idempotency_key=key, timeout=HOUR)


def test_a_job_goes_from_submission_to_its_end(client: TaskRunnerClient, mock: Mock) -> None:
    """Submit answers id and state, status the same job's state and message."""
    mock.script(duration=0.01, always_fail=True, message="out of memory")
    submitted = submit(client, mock)
    assert submitted.state == "RUNNING"
    deadline = time.monotonic() + START_S
    while (now := client.status(mock.url, submitted.job_id)).state == "RUNNING":
        assert time.monotonic() < deadline
    assert now == JobAnswer(job_id=submitted.job_id, state="FAILED", message="out of memory")


def test_an_answer_may_be_the_end_at_once(client: TaskRunnerClient, mock: Mock) -> None:
    """A synchronous task's submission is answered with its terminal state."""
    mock.script(synchronous=True)
    assert submit(client, mock).state == "SUCCEEDED"


def test_a_repeated_key_answers_the_first_job(client: TaskRunnerClient, mock: Mock) -> None:
    """A repeated Idempotency-Key starts one job, another key another."""
    mock.script(duration=60)
    first, again, other = (submit(client, mock, key) for key in ("r/load/1", "r/load/1", "r/load/2"))
    assert first.job_id == again.job_id != other.job_id
    assert [call["idempotency_key"] for call in mock.calls()] == ["r/load/1", "r/load/1", "r/load/2"]


def test_a_job_is_stopped_and_then_has_ended(client: TaskRunnerClient, mock: Mock) -> None:
    """A stop is accepted for a job that runs, and again for one that has ended; another job is unknown."""
    mock.script(duration=60, logsUrl="https://logs.test/7", notifies=True)
    job = submit(client, mock)
    assert (job.logs_url, job.notifies) == ("https://logs.test/7", True)
    assert [client.stop(mock.url, job.job_id) for _ in range(2)] == [StopAnswer.STOPPING] * 2
    assert client.status(mock.url, job.job_id) == replace(job, state="CANCELLED", message="stopped on request")
    assert client.stop(mock.url, "job-x") is StopAnswer.GONE


def test_a_task_runner_may_be_unable_to_stop_jobs(client: TaskRunnerClient, mock: Mock) -> None:
    """The job goes on, whether the call is not supported or fails."""
    mock.script(duration=60, stop="cannot", stop_errors=[500])
    job = submit(client, mock)
    with pytest.raises(TaskRunnerUnavailable, match="HTTP 500"):
        client.stop(mock.url, job.job_id)
    assert client.stop(mock.url, job.job_id) is StopAnswer.CANNOT
    assert client.status(mock.url, job.job_id) == job


def test_a_slow_answer_is_given_up(client: TaskRunnerClient, mock: Mock) -> None:
    """An answer later than the timeout raises TaskRunnerUnavailable."""
    mock.script(delay=3, duration=60)
    hasty = TaskRunnerClient(FixedToken("none"), submit_timeout_s=0.1, status_timeout_s=0.1)
    job = submit(client, mock)
    with pytest.raises(TaskRunnerUnavailable, match="no response in time"):
        submit(hasty, mock)
    with pytest.raises(TaskRunnerUnavailable, match="no response in time"):
        hasty.status(mock.url, job.job_id)


def test_threads_may_share_a_client(client: TaskRunnerClient, mock: Mock) -> None:
    """Calls from many threads each get their own answer."""
    mock.script(duration=60)
    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(lambda n: submit(client, mock, f"r/load/{n}"), range(64)))
        states = list(pool.map(lambda job: client.status(mock.url, job.job_id), jobs))
    assert states == jobs
    assert len({job.job_id for job in jobs}) == 64


def test_outputs_and_a_reason_come_over_the_wire(client: TaskRunnerClient, mock: Mock) -> None:
    """What the script says of each attempt is what the port returns, also beyond a limit."""
    mock.script(fail_times=1, outputs=[None, {"rows": 12}, {"log": "x" * 40_000}], reason="OOM")
    first, second, third = (submit(client, mock, f"run/load/{attempt}") for attempt in (1, 2, 3))
    assert (first.state, first.outputs, first.reason) == ("FAILED", "", "OOM")
    assert second == JobAnswer(job_id=second.job_id, state="SUCCEEDED", outputs='{"rows":12}')
    assert client.status(mock.url, second.job_id) == second
    assert third.outputs == ""
    assert "larger than 32,768 bytes" in third.outputs_problem
