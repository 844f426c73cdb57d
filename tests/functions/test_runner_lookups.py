"""The coordinator on the runner function: a job that Google does not show yet is never passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from atom_emulator.testing.world import TASK_RUNNER_URL, MovedClock, World
from atom_workflows.adapters.task_runner.answers import (
    Answer,
    read_lookup,
    read_status,
    read_stop,
    read_submission,
    receive_answer,
)
from atom_workflows.core.states import StepState
from atom_workflows.ports import JobAnswer, StopAnswer
from functions.posting import without_handlers
from functions.runner import IMAGE, Runner, running_runner
from support.commands import retry_run
from support.google_jobs.containers import START, Container, Json, Plan
from unit.coordinator.test_lookups import die_at_submission, is_second
from unit.coordinator.test_stopping import cancel, drive, one_step

ENDED_ON_BATCH: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
ENDED_ON_CLOUD_RUN: Final = frozenset({"EXECUTION_SUCCEEDED", "EXECUTION_FAILED", "EXECUTION_CANCELLED"})


@dataclass(slots=True)
class OnGoogle:
    """The runner function as the coordinator's Task Runner, on the coordinator's time."""

    runner: Runner
    inner: World
    task: Json
    began: list[str] = field(default_factory=list)
    began_at: list[datetime] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:  # noqa: ARG002 (it has one address)
        """See `ports.TaskRunner.submit`."""
        headers = {"Idempotency-Key": idempotency_key, "Atom-Job-Timeout": str(int(timeout.total_seconds()))}
        return read_submission(self._call("POST", "/job", json=dict(body), headers=headers))

    def status(self, base_url: str, job_id: str) -> JobAnswer:  # noqa: ARG002 (likewise)
        """See `ports.TaskRunner.status`."""
        return read_status(self._call("GET", "/jobstatus", job_id, query_string={"job_id": job_id}), job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:  # noqa: ARG002 (likewise)
        """See `ports.TaskRunner.stop`."""
        return read_stop(self._call("DELETE", "/job", job_id, query_string={"job_id": job_id}), job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:  # noqa: ARG002 (likewise)
        """See `ports.TaskRunner.look_up`."""
        return read_lookup(self._call("GET", "/jobstatus", query_string={"key": idempotency_key}), idempotency_key)

    def _call(self, method: str, path: str, job_id: str = "", **options: Any) -> Answer:
        time = self.runner.google.time
        time.current = max(time.current, self.inner.clock.now())
        response = self.runner.client.open(path, method=method, **options)
        self.inner.clock.move(time.current - self.inner.clock.now())
        return receive_answer(response.status_code, dict(response.headers), iter([response.data]), job_id=job_id)


@pytest.fixture(params=["batch", "cloud-run"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnGoogle]:
    """Return a coordinator whose jobs run on one of the engines, for an hour each."""
    without_handlers(monkeypatch)
    with running_runner(monkeypatch) as runner:
        inner = World(clock=MovedClock(START), burst=timedelta(seconds=50))
        on_google = OnGoogle(runner, inner, task={"imageUri": IMAGE, "engine": request.param})
        inner.services = replace(inner.services, task_runner=on_google)
        show_jobs_after(on_google, seconds=0)
        yield on_google


def show_jobs_after(world: OnGoogle, *, seconds: float) -> None:
    """Let Google show jobs only once they have this age. Note each job that begins beside another one."""

    def decide(container: Container) -> Plan:
        world.began.append(container.environment["ATOM_ATTEMPT"])
        world.began_at.append(world.runner.google.time.now())
        world.beside += [f"{container.environment['ATOM_ATTEMPT']} beside {one}" for one in running(world)]
        return Plan(invisible_s=seconds, runs_s=3600)

    google = world.runner.google
    google.batch.decide = google.run.decide = decide
    google.batch.placeholder = google.run.placeholder = Plan(invisible_s=seconds)


def running(world: OnGoogle) -> list[str]:
    """Return the attempts whose containers may run."""
    google = world.runner.google
    on_batch = [job.environment for job in google.batch.jobs.values() if job.state not in ENDED_ON_BATCH]
    on_run = [job.environment for job in google.run.jobs.values() if job.status not in ENDED_ON_CLOUD_RUN]
    return [one["ATOM_ATTEMPT"] for one in on_batch + on_run if one]


def started(world: OnGoogle, *, after: bool, **policies: Any) -> str:
    """Start a run whose dispatcher dies after or before `POST /job`, and cancel it at once."""
    run_id = world.inner.start(one_step(timeout="2h", task=world.task, **policies))
    die_at_submission(world.inner, after=after)
    cancel(world.inner, run_id)
    return run_id


def retried(world: OnGoogle, run_id: str) -> timedelta:
    """Retry the run until its second attempt runs, and return how long that took to begin."""
    began = world.inner.clock.now()
    retry_run(world.inner.services, run_id)
    drive(world.inner, run_id, until=is_second)
    step = world.inner.steps(run_id)["a"]
    assert (step.state, step.attempt, step.leftovers, step.unresolved) == (StepState.RUNNING, 2, (), ())
    return world.began_at[-1] - began


@pytest.mark.parametrize("on_lost", ["fail", "retry"])
@pytest.mark.parametrize("seconds", [0, 70, 290])
def test_a_job_that_google_does_not_show_yet_ends_before_the_next_begins(
    world: OnGoogle, on_lost: str, seconds: float
) -> None:
    """A dispatcher died, no one knows its job, and Google says for minutes that there is none; it is stopped first."""
    show_jobs_after(world, seconds=seconds)
    run_id = started(world, after=True, onLost=on_lost)
    retried(world, run_id)
    assert (world.began, world.beside) == (["1", "2"], [])


@pytest.mark.parametrize("on_lost", ["fail", "retry"])
@pytest.mark.parametrize("seconds", [0, 290])
def test_if_there_is_no_job_none_is_started_to_find_that_out(world: OnGoogle, on_lost: str, seconds: float) -> None:
    """The key is taken by a job that runs nothing, so the next attempt begins at once."""
    show_jobs_after(world, seconds=seconds)
    run_id = started(world, after=False, onLost=on_lost)
    waited = retried(world, run_id)
    assert (world.began, world.beside) == (["2"], [])
    assert waited < timedelta(seconds=10)


def test_a_submission_that_is_still_on_its_way_starts_nothing(world: OnGoogle) -> None:
    """A key that was looked up is taken: a slow dispatcher is answered with a job that was cancelled."""
    run_id = started(world, after=False, onLost="fail")
    retried(world, run_id)
    body, key = dict(world.task), f"{run_id}/a/1"
    late = world.submit(TASK_RUNNER_URL, body, idempotency_key=key, timeout=timedelta(hours=1))
    assert (late.state, world.began) == ("CANCELLED", ["2"])
