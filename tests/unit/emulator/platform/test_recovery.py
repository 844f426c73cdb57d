"""A history is prepared for the next platform: leases, jobs of earlier Task Runners, and what has expired."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atom_emulator.firestore.database import Database
from atom_emulator.firestore.history import History
from atom_emulator.firestore.queries import Query
from atom_emulator.firestore.values import to_micros
from atom_emulator.firestore.writes import Put
from atom_emulator.platform.errors import ForeignFile, HistoryUnusable, RunnerMissing
from atom_emulator.platform.recovery import (
    OwnRunner,
    gather_mock_jobs,
    join_history,
    last_port,
    prepare_messages,
    recover,
    remove_files,
)

DATABASE = "projects/atom-local/databases/(default)"
OLD, NEW, OUTSIDE = "http://127.0.0.1:4001", "http://127.0.0.1:4002", "http://127.0.0.1:9"
MOCK = OwnRunner(kind="mock", url=NEW)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
BEFORE = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a history that does not exist yet."""
    return tmp_path / "history.db"


def write(file: Path, documents: dict[str, dict[str, Any]]) -> None:
    """Write documents."""
    with closing(History(file)) as history:
        database = Database(lambda: datetime.now(UTC), history.database(DATABASE))
        database.commit([Put(path=path, fields=fields) for path, fields in documents.items()])


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Return every document."""
    with closing(History(file)) as history:
        found, _ = Database(lambda: datetime.now(UTC), history.database(DATABASE)).query(
            Query(collection=None, group=True)
        )
        return {record.path: record.fields for record in found}


def test_leases_end_and_jobs_and_open_runs_are_due(file: Path) -> None:
    """Whatever a process that no longer exists had to itself is due, and so are each job's poll and run's audit."""
    write(
        file,
        {
            "runs/a": {"state": "RUNNING", "expire_at": LATER},
            "runs/a/steps/claimed": {"state": "DISPATCHING", "due_at": LATER, "n": 1},
            "runs/a/steps/running": {"state": "RUNNING", "due_at": LATER, "notifies": True},
            "runs/a/steps/retrying": {"state": "RETRYING", "due_at": LATER},
            "runs/a/steps/~end": {"state": "PENDING", "due_at": LATER},
            "runs/b": {"state": "SUCCEEDED", "expire_at": LATER},
            "runs/b/steps/~end": {"state": "SUCCEEDED", "due_at": None},
            "control/checker": {"holder": "x", "until": LATER},
        },
    )
    began = datetime.now(UTC)
    assert recover(file, DATABASE, MOCK).open_runs == ["a"]
    found = read(file)
    assert began <= found["runs/a/steps/claimed"]["due_at"] <= datetime.now(UTC)
    assert found["runs/a/steps/claimed"]["n"] == 1
    assert found["runs/a/steps/~end"]["due_at"] < LATER
    assert found["control/checker"]["until"] < LATER
    assert began <= found["runs/a/steps/running"]["due_at"] <= datetime.now(UTC)
    assert found["runs/a/steps/retrying"]["due_at"] == LATER
    assert found["runs/b/steps/~end"]["due_at"] is None


def test_a_clock_that_was_set_back_delays_nothing(file: Path) -> None:
    """What a step waits for is due at once if it was written in the future, and not if it was written before."""
    waiting = {"state": "RETRYING", "due_at": LATER}
    write(file, {"runs/a": {"state": "RUNNING"}, "runs/a/steps/s": waiting})
    recover(file, DATABASE, MOCK)
    assert read(file)["runs/a/steps/s"] == waiting
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE documents SET updated = ?", [to_micros(LATER)])
    recover(file, DATABASE, MOCK)
    assert read(file)["runs/a/steps/s"]["due_at"] < datetime.now(UTC)


def test_jobs_move_to_the_new_task_runner(file: Path) -> None:
    """What an earlier Task Runner of this kind had is the new one's, and other addresses stay as they are."""
    own = f'{{"url": "{OLD}"}}'
    write(
        file,
        {
            "runs/a": {"state": "RUNNING", "task_runner_url": OLD},
            "runs/a/steps/s": {"task_runner_url": OLD, "logs_url": f"{OLD}/logs/1", "task": own, "other": f"{OLD}1"},
            "runs/b": {"state": "RUNNING", "task_runner_url": OUTSIDE},
        },
    )
    join_history(file, OwnRunner(kind="mock", url=OLD))
    assert sorted(recover(file, DATABASE, MOCK).open_runs) == ["a", "b"]
    found = read(file)
    assert found["runs/a"]["task_runner_url"] == NEW
    assert found["runs/a/steps/s"] == {
        "task_runner_url": NEW,
        "logs_url": f"{NEW}/logs/1",
        "task": own,
        "other": f"{OLD}1",
    }
    assert found["runs/b"]["task_runner_url"] == OUTSIDE
    assert last_port(file) == 4002


def test_an_open_run_needs_the_task_runner_that_it_had(file: Path) -> None:
    """A mock does not pretend to run what is left of a run that programs have begun; the sentence names what would."""
    write(file, {"runs/a": {"state": "RUNNING", "task_runner_url": OLD}, "runs/a/steps/s": {"task_runner_url": OLD}})
    join_history(file, OwnRunner(kind="process", url=OLD))
    before = read(file)
    for other in (MOCK, OwnRunner(kind="other")):
        with pytest.raises(RunnerMissing, match=r"run a is open .* --runner process"):
            recover(file, DATABASE, other)
    assert read(file) == before
    write(file, {"runs/a": {"state": "CANCELLED", "task_runner_url": OLD}})
    assert recover(file, DATABASE, MOCK).open_runs == []


def test_the_script_of_a_mock_is_remembered(file: Path) -> None:
    """What an open run needs includes its mock's script, which a mock without one is told of; any script will do."""
    path = {"state": "RUNNING", "task_runner_url": OLD}
    write(file, {"runs/a": path, "runs/b": path})
    join_history(file, OwnRunner(kind="mock", url=OLD, script="my mock.yaml"))
    needed = r"2 runs, such as a, are open .*local up --runner mock --mock-script 'my mock.yaml'` goes on with them"
    with pytest.raises(RunnerMissing, match=rf"{needed}.* ends each; .* cancels them at once, without their steps"):
        recover(file, DATABASE, OwnRunner(kind="process", url=NEW))
    assert recover(file, DATABASE, MOCK).script == "my mock.yaml"
    assert recover(file, DATABASE, MOCK).script == "my mock.yaml"
    assert recover(file, DATABASE, OwnRunner(kind="mock", url=NEW, script="other.yaml")).script == ""
    ended = {**path, "state": "SUCCEEDED", "task_runner_url": NEW}
    write(file, {"runs/a": ended, "runs/b": ended})
    assert recover(file, DATABASE, MOCK).script == ""


def test_an_open_run_needs_its_own_task_runner_to_be_allowed(file: Path) -> None:
    """A run on a Task Runner elsewhere does not fail on a platform that may not use it; the sentence names it."""
    write(file, {"runs/a": {"state": "RUNNING", "task_runner_url": OUTSIDE}, "runs/b": {"state": "QUEUED"}})
    with pytest.raises(RunnerMissing, match=rf"run a is open .* `atom-workflows local up --tr-url {OUTSIDE}`"):
        recover(file, DATABASE, MOCK, may_use=lambda url: url == NEW)
    assert recover(file, DATABASE, MOCK, may_use=lambda url: url == OUTSIDE).open_runs == ["a", "b"]


def test_what_has_expired_is_deleted_whole(file: Path) -> None:
    """A run past its date is deleted with everything below it, and nothing else is."""
    write(
        file,
        {
            "runs/a": {"state": "SUCCEEDED", "expire_at": BEFORE},
            "runs/a/steps/s": {"expire_at": LATER},
            "runs/a-b": {"state": "SUCCEEDED", "expire_at": LATER},
            "runs/a-b/steps/s": {"expire_at": BEFORE},
            "groups/g": {"expire_at": BEFORE},
            "schedules/x": {"due_at": None},
        },
    )
    assert recover(file, DATABASE, MOCK).expired_runs == ["a"]
    assert sorted(read(file)) == ["runs/a-b", "runs/a-b/steps/s", "schedules/x"]


def test_files_go_with_their_runs(tmp_path: Path) -> None:
    """The jobs of an expired run are removed, and logs that are older than any run can be."""
    jobs, logs = tmp_path / "jobs", tmp_path / "logs"
    for folder in (jobs / "gone" / "s", jobs / "kept" / "s", logs / "old", logs / "new"):
        folder.mkdir(parents=True)
        (folder / "job.log").write_text("x")
    (logs / "note.txt").write_text("mine")
    for path in (logs / "old", logs / "old" / "job.log", logs / "new"):
        os.utime(path, (1, 1))
    remove_files(["gone", "absent", "..", "."], jobs=jobs, logs=logs, keep=timedelta(days=90))
    assert [one.name for one in jobs.iterdir()] == ["kept"]
    assert {one.name for one in logs.iterdir()} == {"new", "note.txt"}
    remove_files([], jobs=tmp_path / "none", logs=tmp_path / "none", keep=timedelta(0))


def test_a_mock_knows_the_jobs_of_open_runs(tmp_path: Path) -> None:
    """The journals of earlier mocks become one, without the jobs of runs that have ended and without half lines."""

    def line(job_id: str, key: str) -> str:
        return json.dumps({"id": job_id, "at": 1.0, "job": {}, "idempotency_key": key}) + "\n"

    stop = json.dumps({"id": "j1", "at": 2.0}) + "\n"
    own = tmp_path / "jobs" / "platform.jsonl"
    gather_mock_jobs(own.parent, own, ["open"])
    own.write_text(line("j1", "open/s/1") + line("j2", "ended/s/1") + stop + '{"id": "j9"')
    (own.parent / "other.jsonl").write_text(line("k1", "open/t/1") + '{"id": "j2", "at": 3.0}\n7\n')
    for _ in range(2):
        gather_mock_jobs(own.parent, own, ["open"])
        kept = own.read_text().splitlines(keepends=True)
        assert sorted(kept) == sorted([line("j1", "open/s/1"), stop, line("k1", "open/t/1")])
        assert [one.name for one in own.parent.iterdir()] == ["platform.jsonl"]


def test_a_history_from_elsewhere_is_not_gone_on_with(file: Path) -> None:
    """A copy of a history, or one that came with the folder, starts nothing; whoever only reads it still can."""
    write(file, {"runs/a": {"state": "RUNNING"}})
    recover(file, DATABASE, MOCK)
    copy = file.with_name("copy.db")
    copy.write_bytes(file.read_bytes())
    with pytest.raises(ForeignFile, match=r"copy\.db was not made here"):
        recover(copy, DATABASE, MOCK)
    join_history(copy, MOCK)
    with pytest.raises(ForeignFile):
        recover(copy, DATABASE, MOCK)
    assert read(copy) == read(file)
    file.rename(file.with_name("moved.db"))
    assert recover(file.with_name("moved.db"), DATABASE, MOCK).open_runs == ["a"]


def test_messages_from_elsewhere_are_not_delivered(file: Path) -> None:
    """Only the file that belongs to the history is used, since a message may start a run."""
    messages = file.with_name("messages.db")
    for _ in range(2):
        prepare_messages(messages, file)
    content = messages.read_bytes()
    messages.rename(file.with_name("away.db"))
    messages.write_bytes(content)
    with pytest.raises(ForeignFile, match=r"messages\.db was not made here"):
        prepare_messages(messages, file)
    messages.unlink()
    messages.touch()
    with pytest.raises(ForeignFile):
        prepare_messages(messages, file.with_name("new.db"))


@pytest.mark.parametrize("content", [b"hello " * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_history_that_cannot_be_read_is_left_alone(file: Path, content: bytes) -> None:
    """A damaged file is named, with what to do, and is not changed."""
    file.write_bytes(content)
    with pytest.raises(HistoryUnusable, match=r"history\.db cannot be used: it is damaged.*--in-memory"):
        recover(file, DATABASE, MOCK)
    assert file.read_bytes() == content
