"""The runner function on Batch: what each call does, and what its answers say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from functions.posting import without_handlers
from functions.runner import NOTICES, TOKEN, Runner, running_runner
from support.google_jobs.containers import Container, Plan, Refusal, stamp

GONE: Final = "batch:europe-west1:aw-" + "0" * 40 + ":1700000000"
KEY: Final = "sales-1/load/1"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """Run the function on the fakes."""
    without_handlers(monkeypatch)
    with running_runner(monkeypatch) as running:
        yield running


def plan(runner: Runner, **fields: Any) -> None:
    """Decide what becomes of the jobs that are submitted from now on."""
    runner.google.batch.decide = lambda _container: Plan(**fields)


def ended(runner: Runner, **fields: Any) -> dict[str, Any]:
    """Submit a job with that fate, wait for its end, and return what its status says."""
    plan(runner, **fields)
    job_id = runner.submit().job["jobId"]
    runner.google.time.pass_by(minutes=10)
    answer = runner.status(job_id)
    assert answer.status == 200
    return answer.job


def test_a_job_goes_through_the_states_of_the_contract(runner: Runner) -> None:
    """Batch's states are reported in the contract's words, with a link to the log."""
    submitted = runner.submit()
    assert (submitted.status, submitted.job["state"], submitted.job["notifies"]) == (200, "QUEUED", True)
    assert submitted.job["logsUrl"].startswith("https://console.cloud.google.com/logs/query;query=labels.job_uid")
    states = []
    for _ in range(4):
        runner.google.time.pass_by(seconds=1.1)
        states.append(runner.status(submitted.job["jobId"]).job["state"])
        runner.google.time.pass_by(seconds=3)
    assert states == ["PREPARING", "RUNNING", "RUNNING", "SUCCEEDED"]


def test_the_same_key_is_the_same_job(runner: Runner) -> None:
    """A repeated submission starts nothing, and is answered with the job and its id."""
    first = runner.submit()
    runner.google.time.pass_by(seconds=30)
    again = runner.submit()
    assert (again.status, again.job["jobId"], again.job["state"]) == (200, first.job["jobId"], "SUCCEEDED")
    assert runner.submit("sales-1/load/2").job["jobId"] != first.job["jobId"]
    assert len(runner.google.batch.jobs) == 2


@pytest.mark.parametrize("engine", ["batch", "cloud-run"])
def test_a_key_finds_its_job_on_either_engine(runner: Runner, engine: str) -> None:
    """The lookup of a key is answered as a status call about its job, and repeats the key."""
    job_id = runner.submit(engine=engine).job["jobId"]
    runner.submit("sales-1/load/2", engine=engine)
    runner.google.time.pass_by(minutes=10)
    found = runner.look_up(KEY)
    assert (found.status, found.body) == (200, {"key": KEY, **runner.status(job_id).body})
    assert (found.job["jobId"], found.job["state"]) == (job_id, "SUCCEEDED")


@pytest.mark.parametrize("key", ["anything", "ä" * 600, "sales-1/load"])
def test_a_key_that_no_submission_can_have_has_no_job(runner: Runner, key: str) -> None:
    """It is answered with none, and Google is not asked."""
    answer = runner.look_up(key)
    assert (answer.status, answer.body) == (200, {"key": key, "jobId": None})
    assert runner.google.sent == []


@pytest.mark.parametrize("engine", ["batch", "cloud-run"])
def test_a_key_without_a_job_is_taken(runner: Runner, engine: str) -> None:
    """If neither engine has a job with the key, it is answered with a job that was cancelled, and starts none later."""
    started: list[Container] = []

    def decide(container: Container) -> Plan:
        started.append(container)
        return Plan()

    runner.google.batch.decide = runner.google.run.decide = decide
    found = runner.look_up(KEY)
    assert (found.status, found.body["key"], found.job["state"]) == (200, KEY, "CANCELLED")
    assert runner.look_up(KEY).body == found.body
    job_ids = {found.job["jobId"], runner.submit(engine=engine).job["jobId"]}
    for job_id in job_ids:
        assert runner.status(job_id).job["state"] == runner.stop(job_id).job["state"] == "CANCELLED"
    runner.google.time.pass_by(minutes=10)
    assert runner.submit(engine=engine).job["state"] == "CANCELLED"
    assert started == []


def test_a_placeholder_on_batch_gets_no_machine(runner: Runner) -> None:
    """Batch starts each job, so a placeholder is cancelled at once; if that fails, it does nothing for a moment."""
    runner.look_up(KEY)
    [placeholder] = runner.google.batch.jobs.values()
    assert placeholder.cancelled_at == placeholder.created
    assert placeholder.document["taskGroups"][0]["taskSpec"]["runnables"] == [{"script": {"text": "exit 0"}}]
    assert "notifications" not in placeholder.document


def test_a_task_cannot_pass_for_a_placeholder(runner: Runner) -> None:
    """Whatever its labels are, a job is reported as it is."""
    plan(runner, runs_s=600)
    job_id = runner.submit(labels={"atom-placeholder": "true"}).job["jobId"]
    runner.google.time.pass_by(seconds=30)
    assert runner.status(job_id).job["state"] == runner.look_up(KEY).job["state"] == "RUNNING"


@pytest.mark.parametrize("engine", ["batch", "cloud-run"])
def test_a_job_that_cannot_be_seen_yet_is_found_later(runner: Runner, engine: str) -> None:
    """A name that is taken shows that there is a job; the caller has to come again until it is visible."""
    invisible = Plan(invisible_s=290, runs_s=600)
    runner.google.batch.decide = runner.google.run.decide = lambda _container: invisible
    job_id = runner.submit(engine=engine).job["jobId"]
    early = runner.look_up(KEY)
    assert (early.status, early.headers["Retry-After"]) == (503, "5")
    runner.google.time.pass_by(seconds=290)
    assert (runner.look_up(KEY).job["jobId"], runner.look_up(KEY).job["state"]) == (job_id, "RUNNING")


def test_a_key_that_is_taken_on_one_engine_is_not_believed(runner: Runner) -> None:
    """A lookup that could not take the key on the other engine has no answer, and the next one finds a job there."""
    invisible = Plan(invisible_s=60, runs_s=600)
    runner.google.run.decide = lambda _container: invisible
    runner.google.batch.placeholder = runner.google.run.placeholder = invisible
    runner.google.run.refusals = [Refusal(404, "NOT_FOUND", "no such job"), Refusal(500, "INTERNAL", "")]
    assert runner.look_up(KEY).status == 502
    job_id = runner.submit(engine="cloud-run").job["jobId"]
    assert runner.look_up(KEY).status == 503
    runner.google.time.pass_by(minutes=1)
    assert runner.look_up(KEY).job["jobId"] == job_id


@pytest.mark.parametrize(("began_on", "other"), [("batch", "cloud-run"), ("cloud-run", "batch")])
def test_a_key_looked_up_starts_no_job_on_another_engine(runner: Runner, began_on: str, other: str) -> None:
    """An expression may name another engine for a later attempt, whose submission must not run beside the first job."""
    started: list[str] = []

    def decide(container: Container) -> Plan:
        started.append(container.environment["ATOM_ATTEMPT"])
        return Plan(invisible_s=60, runs_s=600)

    runner.google.batch.decide = runner.google.run.decide = decide
    job_id = runner.submit(engine=began_on).job["jobId"]
    assert runner.look_up(KEY).status == 503
    assert runner.submit(engine=other).status == 503
    runner.google.time.pass_by(minutes=1)
    assert runner.submit(engine=other).job["jobId"] == job_id
    assert started == ["1"]


@pytest.mark.parametrize("began_on", ["batch", "cloud-run"])
def test_a_job_is_found_although_the_other_engine_does_not_answer(runner: Runner, began_on: str) -> None:
    """There is only one job with a key, so one that is shown is the answer."""
    plan(runner, runs_s=600)
    job_id = runner.submit(engine=began_on).job["jobId"]
    other = runner.google.run if began_on == "batch" else runner.google.batch
    other.refusals = [Refusal(500, "INTERNAL", "")]
    assert runner.look_up(KEY).job["jobId"] == job_id


@pytest.mark.parametrize("is_batch", [True, False])
def test_a_lookup_that_one_engine_does_not_answer_finds_nothing_out(runner: Runner, *, is_batch: bool) -> None:
    """An error of either engine hides whether there is a job, so it is not taken for none."""
    engine = runner.google.batch if is_batch else runner.google.run
    engine.refusals = [Refusal(403, "PERMISSION_DENIED", "no")]
    assert runner.look_up(KEY).status == 502


def test_a_repeated_submission_of_an_invisible_job_is_answered(runner: Runner) -> None:
    """A job that is taken but cannot be shown yet is in progress."""
    plan(runner, invisible_s=60)
    runner.submit()
    again = runner.submit()
    assert (again.status, again.job["state"]) == (200, "QUEUED")


def test_a_new_job_that_cannot_be_seen_yet_is_not_unknown(runner: Runner) -> None:
    """Right after its creation, a job that is not found counts as queued."""
    plan(runner, invisible_s=60, runs_s=1)
    job_id = runner.submit().job["jobId"]
    assert runner.status(job_id).job["state"] == "QUEUED"
    runner.google.time.pass_by(minutes=2)
    assert runner.status(job_id).job["state"] == "SUCCEEDED"


def test_a_job_that_is_gone_is_unknown_after_some_minutes(runner: Runner) -> None:
    """A job that is not found minutes after its creation is answered as unknown, by its name."""
    job_id = runner.submit().job["jobId"]
    runner.google.batch.jobs.clear()
    assert runner.status(job_id).job["state"] == "QUEUED"
    runner.google.time.pass_by(minutes=5)
    for answer in (runner.status(job_id), runner.stop(job_id)):
        assert (answer.status, job_id in answer.body["message"]) == (404, True)


@pytest.mark.parametrize("job_id", [GONE, "", "job-17", "batch:../x:aw-1:2", "batch:europe-west1:aw-x:1", "ä" * 600])
def test_an_id_of_someone_else_is_unknown(runner: Runner, job_id: str) -> None:
    """An id that names no job here is answered with 404 in the contract's form."""
    for answer in (runner.status(job_id), runner.stop(job_id)):
        assert answer.status == 404
        assert answer.body["message"].startswith("there is no job")


def test_outputs_are_read_from_the_jobs_file(runner: Runner) -> None:
    """The JSON object that a job wrote is its outputs."""
    assert ended(runner, outputs=b' {"rows": 12} ')["outputs"] == {"rows": 12}


def test_a_job_without_an_outputs_file_has_no_outputs(runner: Runner) -> None:
    """A missing file means no outputs, not a failure."""
    job = ended(runner)
    assert (job["state"], "outputs" in job) == ("SUCCEEDED", False)


@pytest.mark.parametrize("content", [b"[1]", b"{", b'{"a": "' + b"x" * 40_000 + b'"}', b" " * 200_000 + b"{}"])
def test_outputs_that_cannot_be_used_are_explained(runner: Runner, content: bytes) -> None:
    """A file that breaks a limit is left out, and a sentence says why."""
    job = ended(runner, outputs=content)
    assert (job["state"], "outputs" in job) == ("SUCCEEDED", False)
    assert "outputs" in job["message"]


@pytest.mark.parametrize("refusal", [Refusal(403, "FORBIDDEN", "no storage.objects.get"), Refusal(500, "INTERNAL", "")])
def test_a_success_is_not_reported_without_its_outputs(runner: Runner, refusal: Refusal) -> None:
    """While the outputs cannot be read, there is no answer about the job."""
    plan(runner, outputs=b'{"rows": 1}', runs_s=1)
    job_id = runner.submit().job["jobId"]
    runner.google.time.pass_by(minutes=1)
    runner.google.storage_refusals = [refusal]
    assert runner.status(job_id).status == 502
    assert runner.status(job_id).job["outputs"] == {"rows": 1}


def test_a_missing_bucket_is_no_answer(runner: Runner) -> None:
    """A bucket that is gone does not make jobs look as if they had no outputs."""
    plan(runner, runs_s=1)
    job_id = runner.submit().job["jobId"]
    runner.google.time.pass_by(minutes=1)
    runner.google.storage_refusals = [Refusal(404, "NOT_FOUND", "The specified bucket does not exist.")]
    assert runner.status(job_id).status == 502


@pytest.mark.parametrize(
    ("code", "reason"),
    [(2, "EXIT_2"), (137, "OOM"), (125, "NOT_STARTED"), (50005, "TIMEOUT"), (50002, "VM_LOST"), (50000, "BATCH_ERROR")],
)
def test_an_exit_code_becomes_a_reason(runner: Runner, code: int, reason: str) -> None:
    """A failed job has the reason of its exit code, and Batch's own words as message."""
    job = ended(runner, exit_code=code)
    assert (job["state"], job["reason"]) == ("FAILED", reason)
    assert str(code) in job["message"]


def test_an_exit_code_is_found_without_the_task(runner: Runner) -> None:
    """The job's own events tell the exit code if the task cannot be shown."""
    plan(runner, exit_code=3)
    job_id = runner.submit().job["jobId"]
    runner.google.time.pass_by(minutes=1)
    for job in runner.google.batch.jobs.values():
        job.plan = Plan(exit_code=3)
    runner.status(job_id)
    for job in runner.google.batch.jobs.values():
        job.task_events.clear()
    assert runner.status(job_id).job["reason"] == "EXIT_3"


def test_an_image_that_cannot_be_pulled_fails_the_job(runner: Runner) -> None:
    """A container that never started has a reason of its own."""
    job = ended(runner, is_image_missing=True)
    assert (job["reason"], "check the image" in job["message"]) == ("NOT_STARTED", True)


def test_a_preempted_job_says_so(runner: Runner) -> None:
    """A job whose VM was taken away failed with the reason PREEMPTED."""
    job_id = runner.submit().job["jobId"]
    runner.google.time.pass_by(seconds=5)
    [name] = runner.google.batch.jobs
    runner.google.batch.preempt(name)
    job = runner.status(job_id).job
    assert (job["state"], job["reason"]) == ("FAILED", "PREEMPTED")


def test_a_job_is_stopped(runner: Runner) -> None:
    """A stopped job is cancelling, then cancelled; asking again changes nothing."""
    job_id = runner.submit().job["jobId"]
    runner.google.time.pass_by(seconds=3)
    assert runner.stop(job_id).job["state"] == "CANCELLING"
    assert runner.stop(job_id).job["state"] == "CANCELLING"
    runner.google.time.pass_by(seconds=6)
    assert runner.status(job_id).job["state"] == "CANCELLED"
    assert (runner.stop(job_id).status, runner.stop(job_id).job["state"]) == (200, "CANCELLED")


def test_a_job_that_has_ended_is_not_stopped(runner: Runner) -> None:
    """A stop that comes too late is answered with how the job ended."""
    job_id = runner.submit().job["jobId"]
    runner.google.time.pass_by(minutes=1)
    assert runner.stop(job_id).job["state"] == "SUCCEEDED"


def test_a_job_that_cannot_be_seen_is_stopped_later(runner: Runner) -> None:
    """A stop that Batch cannot carry out yet asks to come again."""
    plan(runner, invisible_s=60, runs_s=600)
    job_id = runner.submit().job["jobId"]
    early = runner.stop(job_id)
    assert (early.status, early.headers["Retry-After"]) == (503, "5")
    runner.google.time.pass_by(minutes=2)
    assert runner.stop(job_id).job["state"] == "CANCELLING"


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (Refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric"), 429, "60"),
        (Refusal(403, "PERMISSION_DENIED", "Batch API has not been used in project"), 503, "30"),
        (Refusal(400, "INVALID_ARGUMENT", "machine type is invalid"), 400, None),
        (Refusal(404, "NOT_FOUND", "location is not found"), 400, None),
        (Refusal(500, "INTERNAL", "Internal error encountered."), 502, None),
        (Refusal(503, "UNAVAILABLE", "The service is currently unavailable."), 502, None),
    ],
)
def test_a_refused_creation_means_what_google_says(
    runner: Runner, refusal: Refusal, status: int, retry_after: str | None
) -> None:
    """Quotas and grants are worth waiting for, a wrong request is refused, and the rest is unclear."""
    runner.google.batch.refusals = [refusal] * 3
    answer = runner.submit()
    assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)
    assert str(refusal) in answer.body["message"]
    assert not runner.google.batch.jobs


def test_a_passing_quota_error_is_not_noticed(runner: Runner) -> None:
    """A refusal that passes within a submission's time is tried again."""
    runner.google.batch.refusals = [Refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded")]
    assert runner.submit().status == 200


@pytest.mark.parametrize(
    "image",
    [
        "python:3.13",
        "docker.io/acme/load",
        "europe-docker.pkg.dev/acme-evil/images/load",
        "evil.dev/x",
        "",
        "a b",
        "x/..",
    ],
)
def test_an_image_from_elsewhere_is_refused(runner: Runner, image: str) -> None:
    """An image outside the allowed prefixes is refused, and Google is not asked."""
    answer = runner.submit(imageUri=image)
    assert (answer.status, runner.google.sent) == (400, [])
    assert "image" in answer.body["message"]


@pytest.mark.parametrize(("engine", "status"), [("batch", 200), ("", 200), ("process", 400), ("edge", 400)])
def test_an_engine_of_another_task_runner_is_refused(runner: Runner, engine: str, status: int) -> None:
    """A task that is meant for another Task Runner does not run here."""
    answer = runner.submit(engine=engine)
    assert answer.status == status
    assert status == 200 or "batch or cloud-run" in answer.body["message"]


def test_submissions_at_the_same_time_start_one_job(runner: Runner) -> None:
    """However many submissions of one attempt come at once, there is one job, and all are answered with it."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: runner.submit(), range(24)))
    assert {(one.status, one.job["jobId"]) for one in answers} == {(200, answers[0].job["jobId"])}
    assert len(runner.google.batch.jobs) == 1


def test_long_arguments_hide_no_state(runner: Runner) -> None:
    """A job with arguments of more than a megabyte is seen to end, and its end is passed on."""
    plan(runner, exit_code=2)
    job_id = runner.submit(args=["x" * 1_500_000]).job["jobId"]
    runner.google.time.pass_by(minutes=1)
    assert runner.status(job_id).job["state"] == "FAILED"
    [job] = runner.google.batch.jobs.values()
    assert runner.notice({"JobName": job.document["name"], "NewJobState": "FAILED"}) == 204
    assert len(runner.published.messages) == 1


@pytest.mark.parametrize("engine", ["batch", "cloud-run"])
def test_a_lost_race_is_not_an_existing_job(runner: Runner, engine: str) -> None:
    """HTTP 409 without a job that has the name is unclear, and the next submission creates the job."""
    lost = Refusal(409, "ABORTED", "The operation was aborted.")
    runner.google.batch.refusals, runner.google.run.refusals = [lost], [lost]
    assert runner.submit(engine=engine).status == 502
    assert runner.submit(engine=engine).status == 200


@pytest.mark.parametrize("refusal", [Refusal(429, "RESOURCE_EXHAUSTED", "Quota"), Refusal(403, "FORBIDDEN", "Denied")])
def test_a_refusal_after_a_lost_answer_is_unclear(runner: Runner, refusal: Refusal) -> None:
    """A job that an earlier try may have created does not count as refused, so that it can still be stopped."""
    runner.google.batch.refusals = [Refusal(503, "UNAVAILABLE", "lost"), *[refusal] * 2]
    assert runner.submit().status == 502


def test_an_end_is_passed_on_as_a_hint(runner: Runner) -> None:
    """Each terminal notice of Batch becomes one hint with the attempt's key."""
    notices: list[tuple[str, Any]] = []
    runner.google.batch.notify = lambda topic, attributes: notices.append((topic, attributes))
    ended(runner)
    [(topic, attributes)] = notices
    assert (topic, runner.notice(attributes)) == (NOTICES, 204)
    [message] = runner.published.messages
    assert (message.topic, message.body) == ("jobs", {"type": "job.ended", "idempotency_key": KEY})


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"JobName": "projects/acme/locations/europe-west1/jobs/someone-elses", "NewJobState": "SUCCEEDED"},
        {"JobName": f"projects/acme/locations/europe-west1/jobs/aw-{'0' * 40}", "NewJobState": "SUCCEEDED"},
        {"JobName": f"projects/acme/locations/europe-west1/jobs/aw-{'0' * 40}", "NewJobState": "RUNNING"},
        {"JobName": f"projects/acme/locations/../jobs/aw-{'0' * 40}", "NewJobState": "FAILED"},
    ],
)
def test_a_notice_about_nothing_of_ours_is_acknowledged(runner: Runner, attributes: dict[str, str]) -> None:
    """A notice that names no job of this Task Runner gives no hint and does not come again."""
    assert (runner.notice(attributes), runner.published.messages) == (204, [])


def test_a_notice_of_a_running_job_is_not_believed(runner: Runner) -> None:
    """A notice gives a hint only once the job shows its end, and comes again for a minute."""
    runner.submit()
    [job] = runner.google.batch.jobs.values()
    attributes = {"JobName": job.document["name"], "NewJobState": "SUCCEEDED"}
    assert runner.notice(attributes, stamp(runner.google.time.now())) == 503
    assert runner.notice(attributes) == 204
    assert runner.published.messages == []
    runner.google.time.pass_by(minutes=1)
    assert (runner.notice(attributes), len(runner.published.messages)) == (204, 1)


def test_a_notice_comes_again_if_it_cannot_be_passed_on(runner: Runner) -> None:
    """While Batch or Pub/Sub does not answer, a notice is delivered again."""
    ended(runner)
    [job] = runner.google.batch.jobs.values()
    attributes = {"JobName": job.document["name"], "NewJobState": "SUCCEEDED"}
    runner.google.batch.refusals = [Refusal(500, "INTERNAL", "")]
    assert runner.notice(attributes) == 503
    runner.published.is_down = True
    assert runner.notice(attributes) == 503


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"message": 1, "subscription": "s"}', b'{"x": 1}', b" " * 100_000]
)
def test_a_malformed_notice_is_acknowledged(runner: Runner, body: bytes) -> None:
    """A push that contains no message is acknowledged, since it would be the same the next time."""
    assert runner.client.post("/", data=body, content_type="application/json").status_code == 204


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("PUT", "/job"), ("GET", "/job"), ("POST", "/jobstatus")])
def test_other_calls_are_not_there(runner: Runner, method: str, path: str) -> None:
    """The function answers the contract's calls and notices only."""
    assert runner.client.open(path, method=method).status_code == 404


def test_a_web_page_cannot_submit(runner: Runner) -> None:
    """A request from a web page is refused."""
    headers = {"Origin": "https://evil.example", "Idempotency-Key": KEY}
    assert runner.client.post("/job", json={}, headers=headers).status_code == 403
    assert runner.google.sent == []


def test_a_body_that_is_too_large_is_refused(runner: Runner) -> None:
    """A submission larger than a workflow file is refused for good."""
    assert runner.client.post("/job", data=b"x" * (4 * 1024 * 1024 + 1)).status_code == 413


def test_the_token_appears_nowhere(runner: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an answer nor a log line quotes the function's token, whatever Google answers."""
    runner.google.batch.refusals = [Refusal(400, "INVALID_ARGUMENT", f"bad header: Bearer {TOKEN}")]
    answer = runner.submit()
    assert answer.status == 400
    assert TOKEN not in json.dumps(answer.body) + capsys.readouterr().out
    assert {one.authorization for one in runner.google.sent} == {f"Bearer {TOKEN}"}


def test_nothing_listens(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection nothing was sent, so the submission may simply be repeated."""
    with running_runner(monkeypatch) as other:
        pass
    answer = other.submit()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
