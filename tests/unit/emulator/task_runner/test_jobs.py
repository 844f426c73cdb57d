"""Which answer each call gets, with time passed in."""

from __future__ import annotations

from typing import Any

import pytest

from atom_emulator.task_runner.jobs import Answer, Jobs
from atom_emulator.task_runner.script import FOREVER, Behavior, Fault, FaultKind, Loss, Rule, Script


def job(name: str = "load", **fields: Any) -> dict[str, Any]:
    """Build a body that keeps the contract."""
    labels = {"workflow": "daily", "type": "step"} | fields.pop("labels", {})
    return {
        "job_name": name,
        "imageUri": "eu.gcr.io/x/load:1",
        "scaleTier": "BASIC",
        "labels": labels,
    } | fields


def jobs(*, idempotent: bool = True, **behavior: Any) -> Jobs:
    """Build a Task Runner in which all jobs behave the same."""
    return Jobs(Script(default=Behavior(**behavior), idempotent=idempotent))


def submitted(runner: Jobs, key: str | None = None, now: float = 0.0, **fields: Any) -> Answer:
    """Submit a job that keeps the contract."""
    return runner.submit(job(**fields), key, now)


def test_without_a_script_a_job_has_succeeded_at_once() -> None:
    """Without a script a job is SUCCEEDED at once."""
    runner = Jobs()
    answer = submitted(runner)
    assert (answer.status, answer.state) == (200, "SUCCEEDED")
    assert runner.status(answer.job_id, 0.0) == answer


def test_a_job_with_a_duration_goes_through_its_states() -> None:
    """A job's states share its duration equally, then it ends."""
    runner = jobs(duration_s=3.0, states=("QUEUED", "PREPARING", "RUNNING"))
    started = submitted(runner, now=10.0)
    seen = [runner.status(started.job_id, now).state for now in (10.0, 11.0, 12.9, 13.0, 99.0)]
    assert [started.state, *seen] == ["QUEUED", "QUEUED", "PREPARING", "RUNNING", "SUCCEEDED", "SUCCEEDED"]


def test_the_next_change_is_the_earliest_of_any_job() -> None:
    """A change is another state or the end; jobs that have ended change no more."""
    runner = jobs(duration_s=4.0, states=("QUEUED", "RUNNING"))
    submitted(runner, now=10.0)
    submitted(runner, now=11.0)
    assert [runner.next_change(now) for now in (10.0, 11.5, 12.0, 13.5, 14.0, 15.0)] == [12, 12, 13, 14, 15, None]


def test_time_can_be_skipped_for_jobs() -> None:
    """A job that has not ended is that much nearer to its end, and one that has stays as it was."""
    runner = jobs(duration_s=100.0)
    ended, running = submitted(runner, now=0.0), submitted(runner, now=60.0)
    runner.skip(50.0, now=100.0)
    assert [runner.status(running.job_id, now).state for now in (100.0, 109.9, 110.0)] == [
        "RUNNING",
        "RUNNING",
        "SUCCEEDED",
    ]
    assert runner.status(ended.job_id, 100.0).state == "SUCCEEDED"


def test_a_terminal_last_state_is_the_end() -> None:
    """A job whose states end in CANCELLED is cancelled after its duration."""
    runner = jobs(duration_s=2.0, states=("RUNNING", "CANCELLED"))
    started = submitted(runner)
    assert runner.status(started.job_id, 1.9).state == "RUNNING"
    assert runner.status(started.job_id, 2.0).state == "CANCELLED"


def test_the_default_duration_is_for_rules_without_one() -> None:
    """A rule's own duration, even 0, counts more than the default."""
    rules = (
        Rule(step="now", behavior=Behavior(duration_s=0.0)),
        Rule(step="sync", behavior=Behavior(synchronous=True)),
    )
    runner = Jobs(Script(rules=rules), default_duration_s=5.0)
    states = [submitted(runner, name=name).state for name in ("now", "sync", "other")]
    assert states == ["SUCCEEDED", "SUCCEEDED", "RUNNING"]


def test_the_first_attempts_fail_then_the_step_succeeds() -> None:
    """With `fail_times: 2` a step's first two attempts fail."""
    runner = jobs(fail_times=2)
    keys = ["r1/a/1", "r1/a/2", "r2/a/1", "r1/a/3"]
    answers = [submitted(runner, key) for key in keys]
    assert [answer.state for answer in answers] == ["FAILED", "FAILED", "FAILED", "SUCCEEDED"]
    assert answers[0].message == "attempt 1 failed as the script says"


def test_attempts_are_counted_by_labels_if_the_key_has_no_number() -> None:
    """Without a counting key, workflow, run and job name make the step."""
    runner = jobs(fail_times=1)
    states = [submitted(runner, labels={"run": run}).state for run in ("r1", "r1", "r2")]
    assert states == ["FAILED", "SUCCEEDED", "FAILED"]


def test_always_fail_fails_every_attempt() -> None:
    """A step that always fails carries the script's message."""
    runner = jobs(always_fail=True, message="boom")
    assert {(a.state, a.message) for a in (submitted(runner), submitted(runner))} == {("FAILED", "boom")}


def test_a_repeated_idempotency_key_answers_the_same_job() -> None:
    """The same key starts one job, and no key always starts another."""
    runner = jobs()
    first = submitted(runner, "r/a/1")
    assert submitted(runner, "r/a/1") == first
    ids = {
        first.job_id,
        submitted(runner, "r/a/2").job_id,
        submitted(runner).job_id,
        submitted(runner).job_id,
    }
    assert len(ids) == 4


def test_idempotency_can_be_switched_off() -> None:
    """A Task Runner that ignores the key starts a job per submission."""
    runner = jobs(idempotent=False)
    assert submitted(runner, "k").job_id != submitted(runner, "k").job_id


def test_submit_errors_are_used_up_one_per_call() -> None:
    """Each submission of a step takes its next fault, until none is left."""
    runner = jobs(submit_errors=(Fault(status=503, times=2), Fault(status=429, retry_after_s=1)))
    statuses = [submitted(runner, "r/a/1").status for _ in range(4)]
    assert statuses == [503, 503, 429, 200]
    assert submitted(runner, "r/b/1", name="b").status == 503


def test_a_fault_may_last_for_ever() -> None:
    """A fault without an end spoils every call."""
    runner = jobs(submit_errors=(Fault(kind=FaultKind.DROP, times=FOREVER),))
    assert {submitted(runner).fault.kind for _ in range(5)} == {FaultKind.DROP}  # type: ignore[union-attr] # it has


def test_an_accepted_fault_starts_the_job() -> None:
    """A repeated key finds the job whose first answer was lost."""
    runner = jobs(submit_errors=(Fault(kind=FaultKind.DROP, accepted=True),), fail_times=1)
    lost, repeated = submitted(runner, "r/a/1"), submitted(runner, "r/a/1")
    assert lost.fault is not None
    assert (repeated.job_id, repeated.state) == (lost.job_id, "FAILED")


def test_status_errors_are_used_up_one_per_call() -> None:
    """Status calls take the faults in turn while the job goes on."""
    runner = jobs(duration_s=1.0, status_errors=(Fault(status=500), Fault(kind=FaultKind.HTML)))
    started = submitted(runner)
    answers = [runner.status(started.job_id, 2.0) for _ in range(3)]
    assert [answer.fault is None for answer in answers] == [False, False, True]
    assert answers[2].state == "SUCCEEDED"


@pytest.mark.parametrize(
    ("loss", "expected"), [(Loss.NEVER, [200, 200]), (Loss.ONCE, [404, 200]), (Loss.ALWAYS, [404, 404])]
)
def test_a_lost_job_is_unknown_to_status(loss: Loss, expected: list[int]) -> None:
    """A job may be unknown for the first attempt, or always."""
    runner = jobs(lose_job=loss, duration_s=1.0)
    started = [submitted(runner, f"r/a/{attempt}") for attempt in (1, 2)]
    assert [runner.status(answer.job_id, 0.0).status for answer in started] == expected


def test_an_unknown_job_is_404() -> None:
    """A job id that was never given out is not found."""
    assert Jobs().status("job-9", 0.0).status == 404


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (Rule(step="lo?d"), True),
        (Rule(step="extract"), False),
        (Rule(step="step-7"), True),
        (Rule(image="*/load:*"), True),
        (Rule(image="*/load:*", step="extract"), False),
        (Rule(engine="edge"), False),
        (Rule(labels={"workflow": "daily"}), True),
        (Rule(labels={"workflow": "weekly"}), False),
    ],
)
def test_all_conditions_of_a_rule_must_hold(rule: Rule, matches: bool) -> None:  # noqa: FBT001 - a parameter
    """Step (job name or label), image and labels are matched together."""
    assert rule.matches(job(labels={"step": "step-7"})) is matches


def test_a_rule_may_name_a_step_whose_job_has_another_name() -> None:
    """Two steps may give their jobs one name, so a rule can say which step it means: the key has its id."""
    runner = Jobs(Script(rules=(Rule(step="load-orders", behavior=Behavior(always_fail=True)),)))
    assert [submitted(runner, f"run/{step}/1").state for step in ("load-orders", "load-events")] == [
        "FAILED",
        "SUCCEEDED",
    ]


def test_a_rule_may_name_an_engine() -> None:
    """Jobs of an engine can be answered at once while others take their time."""
    runner = Jobs(Script(rules=(Rule(engine="edge"),), default=Behavior(duration_s=60.0)))
    assert [submitted(runner, engine=engine).state for engine in ("edge", "batch")] == ["SUCCEEDED", "RUNNING"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (None, "the body must be a JSON object"),
        (job(name=""), "job_name must be a non-empty string"),
        (job(scaleTier=None), "scaleTier must be a non-empty string"),
        (job(imageUri=3), "imageUri must be a string"),
        (job(args="--x"), "args must be a list or a map"),
        (job(jobName="x"), "unknown field jobName"),
        (job() | {"labels": None}, "labels must be a map of strings"),
        (job(labels={"workflow": ""}), "labels must contain the workflow"),
        (job(labels={"type": "job"}), "labels must contain type: step"),
    ],
)
def test_a_body_that_breaks_the_contract_is_refused(body: Any, problem: str) -> None:
    """A job outside the contract is answered 400 with the reason."""
    answer = Jobs().submit(body, None, 0.0)
    assert (answer.status, answer.message) == (400, problem)


def test_reset_forgets_jobs_and_faults_but_repeats_no_id() -> None:
    """A reset starts the script again, and never repeats a job id."""
    runner = jobs(fail_times=1)
    before = submitted(runner, "r/a/1")
    runner.reset()
    after = submitted(runner, "r/a/1")
    assert (after.state, runner.status(before.job_id, 0.0).status) == ("FAILED", 404)
    assert after.job_id != before.job_id


def test_each_attempt_has_its_own_outputs_and_reason() -> None:
    """Failed attempts have a reason and successful ones outputs, of which the last entries hold for later attempts."""
    runner = jobs(fail_times=3, outputs=(None, None, None, {"rows": 4}, {"rows": 5}), reasons=("OOM", None, "EXIT_2"))
    answers = [submitted(runner, f"run/load/{attempt}") for attempt in range(1, 7)]
    assert [answer.reason for answer in answers] == ["OOM", None, "EXIT_2", None, None, None]
    assert [answer.outputs for answer in answers] == [None, None, None, {"rows": 4}, {"rows": 5}, {"rows": 5}]


def test_a_job_has_outputs_and_a_reason_once_it_has_ended() -> None:
    """While a job runs, its answers have neither; a cancelled one has a reason."""
    runner = jobs(duration_s=5.0, outputs=({"rows": 1},), reasons=("OOM",))
    started = submitted(runner)
    assert (started.state, started.outputs, started.reason) == ("RUNNING", None, None)
    ended = runner.status(started.job_id, 5.0)
    assert (ended.state, ended.outputs, ended.reason) == ("SUCCEEDED", {"rows": 1}, None)
    cancelled = submitted(jobs(states=("CANCELLED",), outputs=({"rows": 1},), reasons=("PREEMPTED",)))
    assert (cancelled.outputs, cancelled.reason) == (None, "PREEMPTED")


def test_a_key_finds_its_job() -> None:
    """The lookup of a key is answered as a status call about its job, and one that is lost or unknown with none."""
    runner = jobs(duration_s=3.0)
    started = submitted(runner, "run/load/1")
    found = runner.look_up("run/load/1", 1.0)
    assert (found.key, found.job_id, found.state) == ("run/load/1", started.job_id, "RUNNING")
    assert runner.look_up("run/load/2", 1.0) == Answer(status=200, key="run/load/2")
    losing = jobs(lose_job=Loss.ALWAYS)
    submitted(losing, "run/load/1")
    lost = losing.look_up("run/load/1", 1.0)
    assert (lost.status, lost.key, lost.state) == (200, "run/load/1", "")


def test_one_that_ignores_keys_cannot_look_them_up() -> None:
    """It answers as to a status call without an id, and does not repeat the key."""
    runner = jobs(idempotent=False)
    submitted(runner, "run/load/1")
    answer = runner.look_up("run/load/1", 0.0)
    assert (answer.status, answer.key) == (404, "")


def test_a_lookup_may_fail_like_a_status_call() -> None:
    """The faults of status calls strike lookups as well."""
    runner = jobs(duration_s=3.0, status_errors=(Fault(status=503),))
    submitted(runner, "run/load/1")
    assert [runner.look_up("run/load/1", 1.0).status for _ in range(2)] == [503, 200]
