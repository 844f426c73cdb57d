"""What a restarted Task Runner knows of the jobs of the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atom_emulator.task_runner.jobs import Jobs
from atom_emulator.task_runner.journal import InvalidJournal, Journal
from atom_emulator.task_runner.script import Behavior, Fault, FaultKind, Loss, Script, Stop
from unit.emulator.task_runner.test_jobs import submitted

SCRIPT = Script(default=Behavior(duration_s=10, fail_times=1))


def restarted(journal: Journal) -> Jobs:
    """Return a Task Runner that begins with the journal's jobs."""
    jobs = Jobs(SCRIPT, id_prefix="new", journal=journal)
    jobs.restore(journal.read())
    return jobs


def test_jobs_go_on_over_a_restart(tmp_path: Path) -> None:
    """A job keeps its id, times, key and attempt over a restart."""
    journal = Journal(tmp_path / "jobs.jsonl")
    before = submitted(Jobs(SCRIPT, journal=journal), "run/load/1", now=100.0)
    after = restarted(journal)
    assert after.status(before.job_id, 105.0).state == "RUNNING"
    assert after.status(before.job_id, 110.0).state == "FAILED"
    assert submitted(after, "run/load/1", now=106.0).job_id == before.job_id
    second = submitted(after, "run/load/2", now=111.0)
    assert after.status(second.job_id, 121.0).state == "SUCCEEDED"
    assert len(list(journal.read())) == 2


def test_attempts_keep_their_outputs_over_a_restart(tmp_path: Path) -> None:
    """The outputs and the reason of an attempt are those of the script, before and after a restart."""
    script = Script(default=Behavior(fail_times=1, outputs=(None, {"rows": 2}), reasons=("OOM",)))
    journal = Journal(tmp_path / "jobs.jsonl")
    before = Jobs(script, journal=journal)
    answers = [submitted(before, f"run/load/{attempt}") for attempt in (1, 2)]
    after = Jobs(script, id_prefix="new", journal=journal)
    after.restore(journal.read())
    assert [after.status(answer.job_id, 1.0) for answer in answers] == answers
    assert [(answer.outputs, answer.reason) for answer in answers] == [(None, "OOM"), ({"rows": 2}, None)]


def test_jobs_keep_their_behavior_under_another_script(tmp_path: Path) -> None:
    """A job goes on as the script chose when it was accepted, though the next Task Runner has no script."""
    fault = Fault(kind=FaultKind.DROP, times=2, accepted=True)
    script = Script(
        default=Behavior(
            duration_s=10,
            states=("QUEUED", "RUNNING"),
            outputs=(None, {"rows": 2}),
            reasons=("OOM",),
            fail_times=1,
            stop_errors=(fault,),
            stop=Stop(after_s=3, fault=fault),
            logs_url="https://logs.example.com",
            lose_job=Loss.NEVER,
        )
    )
    journal = Journal(tmp_path / "jobs.jsonl")
    before = Jobs(script, journal=journal)
    made = [submitted(before, f"run/load/{attempt}", now=0.0).job_id for attempt in (1, 2)]
    after = Jobs(id_prefix="new", journal=journal)
    after.restore(journal.read())
    for now in (1.0, 6.0, 10.0):
        assert [after.status(job, now) for job in made] == [before.status(job, now) for job in made]
    assert after.status(made[1], 10.0).outputs == {"rows": 2}
    assert after.stop(made[0], 11.0) == before.stop(made[0], 11.0)


@pytest.mark.parametrize("loss", [Loss.ONCE, Loss.ALWAYS])
def test_a_lost_job_stays_lost_under_another_script(loss: Loss, tmp_path: Path) -> None:
    """A job that the script lost is unknown to the next Task Runner, too."""
    journal = Journal(tmp_path / "jobs.jsonl")
    lost = submitted(Jobs(Script(default=Behavior(lose_job=loss)), journal=journal), "run/load/1", now=0.0)
    after = Jobs(id_prefix="new", journal=journal)
    after.restore(journal.read())
    assert after.status(lost.job_id, 1.0).status == 404


def test_a_journal_without_behavior_follows_the_script(tmp_path: Path) -> None:
    """A job that an older version accepted behaves as the script of the new one says."""
    path = tmp_path / "jobs.jsonl"
    journal = Journal(path)
    made = submitted(Jobs(journal=journal), "run/load/1", now=100.0)
    line = json.loads(path.read_text())
    del line["behavior"]
    path.write_text(json.dumps(line) + "\n")
    assert restarted(journal).status(made.job_id, 105.0).state == "RUNNING"


def test_a_stopped_job_stays_stopped_over_a_restart(tmp_path: Path) -> None:
    """A restarted Task Runner knows which jobs it was asked to stop, and when, and reports their ends again."""
    script = Script(default=Behavior(duration_s=100, notifies=True, stop=Stop(after_s=5)))
    journal = Journal(tmp_path / "jobs.jsonl")
    before = Jobs(script, journal=journal)
    stopped, other = (submitted(before, f"run/load/{attempt}", now=0.0).job_id for attempt in (1, 2))
    for _ in range(2):
        before.stop(stopped, 10.0)
    assert [one.idempotency_key for one in before.take_ended(15.0)] == ["run/load/1"]
    after = Jobs(script, id_prefix="new", journal=journal)
    after.restore(journal.read())
    assert [after.status(stopped, now).state for now in (14.9, 15.0)] == ["CANCELLING", "CANCELLED"]
    assert after.status(other, 99.0).state == "RUNNING"
    assert [one.idempotency_key for one in after.take_ended(100.0)] == ["run/load/1", "run/load/2"]
    assert len(list(journal.read())) == 3


def test_an_emptied_journal_is_a_task_runner_that_forgot(tmp_path: Path) -> None:
    """Jobs that are not in the journal are unknown."""
    journal = Journal(tmp_path / "jobs.jsonl")
    first = Jobs(SCRIPT, journal=journal)
    lost = submitted(first, "run/load/1")
    first.reset()
    assert restarted(journal).status(lost.job_id, 1.0).status == 404


def test_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    """An incomplete last line is no job, as it was never answered."""
    path = tmp_path / "jobs.jsonl"
    journal = Journal(path)
    kept = submitted(Jobs(SCRIPT, journal=journal), "run/load/1")
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    assert [one.job_id for one in journal.read()] == [kept.job_id]
    added = submitted(restarted(journal), "run/store/1")
    assert [one.job_id for one in journal.read()] == [kept.job_id, added.job_id]


def test_a_task_runner_without_a_journal_yet_knows_no_job(tmp_path: Path) -> None:
    """A missing journal and an empty one hold no job."""
    journal = Journal(tmp_path / "jobs.jsonl")
    assert list(journal.read()) == []
    journal.clear()
    assert list(journal.read()) == []


@pytest.mark.parametrize("line", ["", "{}", "[]", "null", "no JSON", '{"id": "a", "job": {}}', "\udcff"])
def test_a_file_that_is_no_journal_is_refused(line: str, tmp_path: Path) -> None:
    """A file that is no journal is refused with its line and a remedy."""
    path = tmp_path / "jobs.jsonl"
    journal = Journal(path)
    submitted(Jobs(SCRIPT, journal=journal), "run/load/1")
    with path.open("ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(InvalidJournal, match=r"jobs\.jsonl: line 2 is not a job that a Task Runner wrote"):
        restarted(journal)
