"""Jobs that are asked to stop, and the hints about jobs that have ended, with time passed in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atom_emulator.task_runner.jobs import Answer
from atom_emulator.task_runner.script import FOREVER, Behavior, Fault, FaultKind, Loss, Rule, Script, Stop
from atom_emulator.task_runner.service import encode_answer
from atom_workflows.messages.internal import JobEnded
from unit.emulator.task_runner.test_jobs import jobs, submitted


def hint(key: str) -> JobEnded:
    """Return the hint about the job of that key."""
    return JobEnded(idempotency_key=key)


def test_a_job_is_cancelled_at_once() -> None:
    """Unless the script says otherwise, a job that is asked to stop has ended, with nothing to show for it."""
    runner = jobs(duration_s=10, outputs=({"rows": 1},), reasons=("OOM",))
    job_id = submitted(runner, now=0.0).job_id
    answer = runner.stop(job_id, 4.0)
    assert (answer.status, answer.state, answer.outputs) == (200, "CANCELLED", None)
    assert runner.status(job_id, 4.0) == runner.stop(job_id, 99.0) == answer


def test_a_job_may_take_a_while_to_stop() -> None:
    """Until then it is CANCELLING, also for whoever submits it again, and a second request delays nothing."""
    runner = jobs(duration_s=100, stop=Stop(after_s=5))
    job_id = submitted(runner, "run/load/1", now=0.0).job_id
    assert runner.stop(job_id, 10.0).state == runner.stop(job_id, 14.0).state == "CANCELLING"
    assert submitted(runner, "run/load/1", now=14.9) == runner.status(job_id, 14.9)
    assert [runner.status(job_id, now).state for now in (14.9, 15.0)] == ["CANCELLING", "CANCELLED"]
    assert [runner.next_change(now) for now in (10.0, 15.0)] == [15.0, None]


def test_a_job_that_has_ended_stays_as_it_ended() -> None:
    """A request that comes too late changes nothing."""
    runner = jobs(duration_s=10)
    job_id = submitted(runner, now=0.0).job_id
    assert runner.stop(job_id, 10.0).state == "SUCCEEDED"


def test_a_task_runner_may_accept_a_stop_and_ignore_it() -> None:
    """The job is CANCELLING for ever, and no time that is skipped ends it."""
    runner = jobs(duration_s=10, stop=Stop(ignored=True), notifies=True)
    job_id = submitted(runner, now=0.0).job_id
    assert runner.stop(job_id, 4.0).state == "CANCELLING"
    runner.skip(1e9, 5.0)
    assert runner.status(job_id, 1e12).state == "CANCELLING"
    assert (runner.next_change(5.0), runner.take_ended(1e12)) == (None, [])


@pytest.mark.parametrize("status", [405, 500, 404])
def test_a_task_runner_may_be_unable_to_stop(status: int) -> None:
    """Each request gets that answer, and the job goes on as if there had been none."""
    runner = jobs(duration_s=10, stop=Stop(fault=Fault(status=status, times=FOREVER)))
    job_id = submitted(runner, now=0.0).job_id
    assert [runner.stop(job_id, now).status for now in (1.0, 2.0, 3.0)] == [status] * 3
    assert [runner.status(job_id, now).state for now in (9.0, 10.0)] == ["RUNNING", "SUCCEEDED"]


def test_answers_to_stops_may_be_spoilt() -> None:
    """A spoilt answer stops the job only if the script says that the request was accepted."""
    faults = (Fault(status=429, retry_after_s=2), Fault(kind=FaultKind.DROP), Fault(kind=FaultKind.DROP, accepted=True))
    runner = jobs(duration_s=10, stop_errors=faults)
    job_id = submitted(runner, now=0.0).job_id
    spoilt = []
    for now in (1.0, 2.0):
        spoilt.append(encode_answer(runner.stop(job_id, now)))
        assert runner.status(job_id, now).state == "RUNNING"
    spoilt.append(encode_answer(runner.stop(job_id, 3.0)))
    assert [(one.status, one.drop) for one in spoilt] == [(429, False), (0, True), (0, True)]
    assert runner.status(job_id, 3.0).state == "CANCELLED"
    assert runner.stop(job_id, 4.0).state == "CANCELLED"


def test_an_unknown_or_lost_job_cannot_be_stopped() -> None:
    """The answer is that of a status call."""
    runner = jobs(duration_s=10, lose_job=Loss.ALWAYS)
    job_id = submitted(runner, now=0.0).job_id
    assert runner.stop(job_id, 1.0) == runner.status(job_id, 1.0)
    assert runner.stop("job-9", 1.0) == runner.status("job-9", 1.0)
    assert runner.stop(job_id, 1.0).status == 404


def test_every_answer_names_the_log_and_says_that_it_notifies() -> None:
    """Both are in the answers to all three calls; without them answers are as before."""
    runner = jobs(duration_s=10, logs_url="https://logs.test/7", notifies=True)
    job_id = submitted(runner, now=0.0).job_id
    for answer in (runner.status(job_id, 1.0), runner.stop(job_id, 2.0), runner.status(job_id, 2.0)):
        assert (answer.logs_url, answer.notifies) == ("https://logs.test/7", True)
        assert b'"logsUrl": "https://logs.test/7", "notifies": true' in encode_answer(answer).body
    plain = encode_answer(Answer(status=200, job_id="7", state="RUNNING")).body
    assert plain == b'{"job": {"state": "RUNNING", "jobId": "7", "message": ""}}'


# -- hints -----------------------------------------------------------------------------------------------------------


def test_each_end_is_reported_once_when_it_comes() -> None:
    """The hints are those of the jobs that notify, in the order of their ends, and no two for one job."""
    notifies = Behavior(duration_s=10, notifies=True)
    runner = jobs(duration_s=3)
    runner.script = replace(runner.script, rules=(Rule(step="n*", behavior=notifies),))
    for name, now in (("n2", 2.0), ("quiet", 0.0), ("n1", 1.0)):
        submitted(runner, f"run/{name}/1", now=now, job_name=name)
    submitted(runner, "run/n1/1", now=5.0, job_name="n1")
    assert runner.next_end == 11.0
    assert runner.take_ended(10.9) == []
    assert runner.take_ended(11.0) == [hint("run/n1/1")]
    assert runner.next_end == 12.0
    assert runner.take_ended(50.0) == [hint("run/n2/1")]
    assert runner.take_ended(99.0) == []


def test_a_job_that_its_submission_reported_gets_no_hint() -> None:
    """A job that ends at once, or is lost, is not reported."""
    at_once = jobs(notifies=True)
    lost = jobs(notifies=True, duration_s=5, lose_job=Loss.ALWAYS)
    for runner in (at_once, lost):
        submitted(runner, "run/load/1", now=0.0)
        assert (runner.next_end, runner.take_ended(99.0)) == (None, [])


def test_a_stop_moves_the_end_that_is_reported() -> None:
    """A job is reported when it has stopped, whether that is before or after its own end."""
    runner = jobs(duration_s=10, notifies=True, stop=Stop(after_s=5))
    early, late = (submitted(runner, f"run/{name}/1", now=0.0).job_id for name in ("early", "late"))
    runner.stop(early, 1.0)
    runner.stop(late, 9.0)
    assert runner.next_end == 6.0
    assert runner.take_ended(6.0) == [hint("run/early/1")]
    assert runner.take_ended(13.9) == []
    assert runner.take_ended(14.0) == [hint("run/late/1")]
    assert runner.next_end is None


def test_skipped_time_brings_hints_nearer() -> None:
    """A job whose end is brought nearer is reported at that end alone."""
    runner = jobs(duration_s=100, notifies=True)
    submitted(runner, "run/load/1", now=0.0)
    runner.skip(90.0, 5.0)
    assert runner.next_end == 10.0
    assert [runner.take_ended(now) for now in (9.0, 10.0, 100.0)] == [[], [hint("run/load/1")], []]


@pytest.mark.parametrize("key", [None, "load", "daily-load-1", "run/load", "a/b/c/1"])
def test_a_job_without_a_key_of_ours_is_named_by_its_id(key: str | None) -> None:
    """A key that no coordinator of ours made would mean nothing to one."""
    runner = jobs(duration_s=1, notifies=True)
    job_id = submitted(runner, key, now=0.0).job_id
    assert runner.take_ended(1.0) == [JobEnded(job_id=job_id)]


def test_a_reset_forgets_the_hints() -> None:
    """Jobs that were forgotten are not reported."""
    runner = jobs(duration_s=1, notifies=True)
    submitted(runner, "run/load/1", now=0.0)
    runner.reset()
    assert (runner.next_end, runner.take_ended(9.0)) == (None, [])


def test_times_that_no_float_holds_end_in_time() -> None:
    """However the times are rounded, a job that is reported has ended."""
    for began in (1_767_225_600.1, 1_767_225_600.123457, 0.3):
        for duration_s in (0.1, 0.7, 3.3):
            runner = jobs(duration_s=duration_s, notifies=True, states=("QUEUED", "PREPARING", "RUNNING"))
            job_id = submitted(runner, "run/load/1", now=began).job_id
            ends = runner.next_end
            assert ends is not None
            assert runner.status(job_id, ends).state == "SUCCEEDED"
            assert runner.take_ended(ends) == [hint("run/load/1")]


def test_scripts_without_hints_are_as_before() -> None:
    """Nothing is kept for jobs that do not notify."""
    assert Script().default == Behavior(notifies=False, stop=Stop(), stop_errors=(), logs_url=None)
    runner = jobs(duration_s=5)
    submitted(runner, "run/load/1", now=0.0)
    assert runner.next_end is None
