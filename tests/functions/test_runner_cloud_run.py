"""The runner function on Cloud Run: tasks with `engine: cloud-run`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest

from functions.posting import without_handlers
from functions.runner import SETTINGS, Answered, Runner, open_session, running_runner
from support.google_jobs.cloud_run import MAX_JOBS, RunJob
from support.google_jobs.containers import START, Container, Plan, Refusal, stamp

CLOUD_RUN: Final = {"engine": "cloud-run"}


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """Run the function on the fakes."""
    without_handlers(monkeypatch)
    with running_runner(monkeypatch) as running:
        yield running


def submit(runner: Runner, key: str = "sales-1/load/1", **fields: Any) -> Answered:
    """Submit a job of Cloud Run."""
    return runner.submit(key, **{**CLOUD_RUN, **fields})


def ended(runner: Runner, **fields: Any) -> dict[str, Any]:
    """Submit a job with that fate, wait for its end, and return what its status says."""
    runner.google.run.decide = lambda _container: Plan(**fields)
    job_id = submit(runner).job["jobId"]
    runner.google.time.pass_by(minutes=10)
    return runner.status(job_id).job


def test_a_job_goes_through_the_states_of_the_contract(runner: Runner) -> None:
    """A job waits, is prepared, runs and succeeds; its end is found by polling."""
    submitted = submit(runner).job
    assert (submitted["state"], "notifies" in submitted) == ("QUEUED", False)
    assert "cloud_run_job" in submitted["logsUrl"]
    states = []
    for _ in range(4):
        states.append(runner.status(submitted["jobId"]).job["state"])
        runner.google.time.pass_by(seconds=1)
    runner.google.time.pass_by(seconds=10)
    assert [*states, runner.status(submitted["jobId"]).job["state"]] == [
        *("QUEUED", "PREPARING", "RUNNING", "RUNNING"),
        "SUCCEEDED",
    ]


def test_one_request_creates_and_starts_the_job(runner: Runner) -> None:
    """The job's token starts its only execution, and a repeated submission finds it."""
    first = submit(runner).job["jobId"]
    assert submit(runner).job["jobId"] == first
    assert runner.google.methods().count("run.projects.locations.jobs.create") == 2
    assert [job.document["startExecutionToken"] for job in runner.google.run.jobs.values()] == ["1"]


def test_a_job_has_the_size_of_its_machine(runner: Runner) -> None:
    """`masterType` says how many processors and how much memory the job gets."""
    submit(runner, masterType="e2-highmem-4", args=["--day", "2026-03-01"], timeout=3600)
    [job] = runner.google.run.jobs.values()
    task = job.document["template"]["template"]
    [container] = task["containers"]
    assert container["resources"] == {"limits": {"cpu": "8", "memory": "32768Mi"}}
    assert (container["args"], task["timeout"], task["maxRetries"]) == (["--day", "2026-03-01"], "3600s", 0)
    assert task["serviceAccount"] == SETTINGS.job_account


@pytest.mark.parametrize(
    ("machine", "cpus"),
    [
        ("n1-standard-1", "1"),
        ("e2-standard-2", "2"),
        ("e2-highmem-2", "4"),
        ("n1-highmem-4", "8"),
        ("e2-highcpu-8", "8"),
    ],
)
def test_much_memory_takes_more_processors(runner: Runner, machine: str, cpus: str) -> None:
    """A machine with more memory than Cloud Run allows for its processors gets as many as are needed."""
    assert submit(runner, masterType=machine).status == 200
    [job] = runner.google.run.jobs.values()
    assert job.document["template"]["template"]["containers"][0]["resources"]["limits"]["cpu"] == cpus


@pytest.mark.parametrize("tells_creation", [True, False])
def test_a_job_has_one_id_although_its_creation_takes_time(runner: Runner, *, tells_creation: bool) -> None:
    """A repeated submission is answered with the id of the first, however long Cloud Run took to create the job."""

    def take_time(_container: Container) -> Plan:
        runner.google.time.pass_by(seconds=2)
        return Plan()

    runner.google.run.decide = take_time
    runner.google.run.tells_creation = tells_creation
    first = submit(runner).job["jobId"]
    runner.google.time.pass_by(seconds=3)
    assert submit(runner).job["jobId"] == first


@pytest.mark.parametrize("machine", ["e2-standard-16", "e2-highmem-8", "a2-highgpu-1g", "e2-standard-3"])
def test_a_machine_that_is_too_large_is_refused(runner: Runner, machine: str) -> None:
    """What does not fit into Cloud Run is refused, with the way to Batch."""
    answer = submit(runner, masterType=machine)
    assert (answer.status, "Batch" in answer.body["message"]) == (400, True)


def test_outputs_are_read_from_the_jobs_file(runner: Runner) -> None:
    """The JSON object that a job wrote is its outputs."""
    assert ended(runner, outputs=b'{"rows": 12}')["outputs"] == {"rows": 12}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"exit_code": 2}, "EXIT_2"),
        (
            {"signal": 9, "message": "Memory limit of 512 MiB exceeded with 520 MiB used."},
            "OOM",
        ),
        ({"signal": 9, "message": "The configured timeout was reached."}, "TIMEOUT"),
        ({"signal": 15, "message": "Container terminated on signal 15."}, "SIGNAL_15"),
        ({"is_image_missing": True}, "NOT_STARTED"),
    ],
)
def test_a_failure_has_a_reason(runner: Runner, fields: dict[str, Any], reason: str) -> None:
    """A failed job has a reason, and Cloud Run's own words as message."""
    job = ended(runner, **fields)
    assert (job["state"], job["reason"]) == ("FAILED", reason)
    assert job["message"]


def test_a_job_is_stopped(runner: Runner) -> None:
    """A stop cancels the execution; it can be repeated, also once the job has ended."""
    job_id = submit(runner).job["jobId"]
    early = runner.stop(job_id)
    assert (early.status, early.headers["Retry-After"]) == (503, "5")
    runner.google.time.pass_by(seconds=3)
    assert runner.stop(job_id).job["state"] == "CANCELLING"
    runner.google.time.pass_by(seconds=6)
    assert runner.status(job_id).job["state"] == "CANCELLED"
    assert runner.stop(job_id).job["state"] == "CANCELLED"


def test_a_job_that_cannot_be_seen_yet_is_not_unknown(runner: Runner) -> None:
    """A job is unknown only if it cannot be found minutes after its creation."""
    runner.google.run.decide = lambda _container: Plan(invisible_s=60)
    job_id = submit(runner).job["jobId"]
    assert (runner.status(job_id).job["state"], submit(runner).job["state"]) == ("QUEUED", "QUEUED")
    assert runner.stop(job_id).status == 503
    runner.google.run.jobs.clear()
    runner.google.time.pass_by(minutes=6)
    assert (runner.status(job_id).status, runner.stop(job_id).status) == (404, 404)


def test_a_quota_is_waited_for(runner: Runner) -> None:
    """A region that has all the jobs it may have takes no more for the moment."""
    crowd(runner, MAX_JOBS, ended_before=timedelta(0))
    answer = submit(runner)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "60")


def test_a_full_region_is_emptied(runner: Runner) -> None:
    """A submission that is refused for lack of room removes old jobs, so that a later one finds room."""
    crowd(runner, MAX_JOBS, ended_before=timedelta(hours=2))
    assert submit(runner).status == 429
    assert submit(runner).status == 200


def test_jobs_with_long_arguments_are_removed(runner: Runner) -> None:
    """However long the arguments of the region's jobs are, a sweep finds those that are old."""
    crowd(runner, 100, ended_before=timedelta(days=4))
    for job in runner.google.run.jobs.values():
        job.document["template"] = {"template": {"containers": [{"args": ["x" * 100_000]}]}}
    submit(runner)
    assert len(runner.google.run.jobs) == 81


def test_long_arguments_hide_no_state(runner: Runner) -> None:
    """A job with arguments of more than a megabyte is seen to end."""
    runner.google.run.decide = lambda _container: Plan(exit_code=2)
    job_id = submit(runner, args=["x" * 1_500_000]).job["jobId"]
    runner.google.time.pass_by(minutes=1)
    assert runner.status(job_id).job["state"] == "FAILED"


def crowd(runner: Runner, number: int, *, ended_before: timedelta, deployment: str = "atom") -> None:
    """Fill the region with jobs that have ended."""
    for each in range(number):
        name = f"aw-{each:040x}"
        at = START - ended_before
        document = {
            "name": f"projects/acme/locations/europe-west1/jobs/{name}",
            "labels": {"atom-deployment": deployment},
            "createTime": stamp(at),
            "latestCreatedExecution": {
                "name": f"{name}-1",
                "completionStatus": "EXECUTION_SUCCEEDED",
                "completionTime": stamp(at),
            },
        }
        job = RunJob(document=document, plan=Plan(), created=at, status="EXECUTION_SUCCEEDED")
        runner.google.run.jobs[name] = job


@pytest.mark.parametrize(
    ("number", "age", "deployment", "left"),
    [
        (30, timedelta(days=4), "atom", 11),
        (30, timedelta(days=2), "atom", 31),
        (30, timedelta(days=4), "other", 31),
        (750, timedelta(hours=2), "atom", 731),
        (750, timedelta(minutes=30), "atom", 751),
    ],
)
def test_old_jobs_are_removed(runner: Runner, number: int, age: timedelta, deployment: str, left: int) -> None:
    """A sweep removes some of the deployment's own jobs that ended long ago, sooner if the region is full of them."""
    crowd(runner, number, ended_before=age, deployment=deployment)
    submit(runner)
    assert len(runner.google.run.jobs) == left
    submit(runner, "sales-1/load/2")  # Not again so soon.
    assert len(runner.google.run.jobs) == left + 1


def test_old_placeholders_are_removed(runner: Runner) -> None:
    """A placeholder is kept for far longer than a submission may take, and then counts as a job that has ended."""
    runner.look_up("sales-1/load/1")
    runner.google.time.pass_by(days=2)
    submit(runner, "sales-1/load/2")
    assert len(runner.google.run.jobs) == 2
    runner.google.time.pass_by(days=2)
    submit(runner, "sales-1/load/3")
    assert [job.environment["ATOM_ATTEMPT"] for job in runner.google.run.jobs.values()] == ["2", "3"]


def test_old_outputs_are_removed(runner: Runner) -> None:
    """A sweep removes outputs files that no one can need any more, and no others.

    A job may run for fourteen days after it wrote its outputs, and be asked about for three more.
    """
    objects = runner.google.bucket.objects
    objects |= {f"aw-ff{each}.json": (b"{}", START - timedelta(days=18)) for each in range(5)}
    objects["aw-fff.json"] = (b"{}", START - timedelta(days=16))
    submit(runner)
    assert list(objects) == ["aw-fff.json"]


def test_a_sweep_that_fails_changes_no_answer(runner: Runner) -> None:
    """A job is answered though old things cannot be removed."""
    runner.google.storage_refusals = [Refusal(500, "INTERNAL", "")] * 3
    assert submit(runner).status == 200


def test_a_running_job_is_never_removed(runner: Runner) -> None:
    """However old it is, a job that has not ended stays."""
    runner.google.run.decide = lambda _container: Plan(runs_s=10 * 86_400)
    submit(runner)
    runner.google.time.pass_by(days=6)
    submit(runner, "sales-1/load/2")
    assert len(runner.google.run.jobs) == 2


def test_sessions_are_opened_once() -> None:
    """The helper's session carries its token without any server."""
    assert open_session().credentials.token
