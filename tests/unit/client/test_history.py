"""Commands in a folder that has a history, while no platform is up."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_client.deployment import names_no_place
from atom_emulator.firestore.database import Database
from atom_emulator.firestore.history import History
from atom_emulator.firestore.memory import MemoryStore
from atom_emulator.platform.project_folder import ProjectFolder
from atom_workflows.adapters.system import SystemClock
from atom_workflows.ports import Create
from support.no_cloud import NO_CLOUD

RUN = {
    "schema": 1,
    "workflow": "nightly",
    "state": "RUNNING",
    "task_runner_url": "http://127.0.0.1:1",
    "source": {"path": "nightly.yaml"},
    "step_count": 1,
    "created_at": datetime(2026, 3, 1, tzinfo=UTC),
    "started_at": datetime(2026, 3, 1, tzinfo=UTC),
}
STEP = {"schema": 1, "state": "RUNNING", "due_at": datetime(2026, 3, 1, tzinfo=UTC), "remaining": 0}
NOTE = "No platform is up; this is the history in .atom-workflows.\n"


@pytest.fixture(autouse=True)
def history(empty_folder: Path) -> Path:
    """Write a history with an open run into the working folder."""
    folder = ProjectFolder.of(empty_folder)
    with folder.held(alone=True, by="a test"), closing(History(folder.history)) as history:
        database = Database(SystemClock().now, history.database("projects/atom-local/databases/(default)"))
        runs = {"runs/nightly-00cfe846bce2": RUN, "runs/nightly-00cfe846bce2/steps/load": STEP}
        MemoryStore(database=database).commit([Create(path=path, fields=fields) for path, fields in runs.items()])
    return folder.path


def call(*words: str, **variables: str) -> Result:
    """Call a command that finds no platform but what the folder has."""
    return CliRunner().invoke(cli, words, env=NO_CLOUD | variables, catch_exceptions=False)


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "list"),
        ("runs", "list", "--running"),
        ("runs", "show", "--last"),
        ("runs", "show", "nightly", "--json"),
        ("runs", "show", "nightly-00cf"),
        ("schedules", "list"),
    ],
)
def test_commands_that_read_need_no_platform(words: tuple[str, ...]) -> None:
    """Whatever only reads answers from the history, and says so beside its output."""
    result = call(*words)
    assert (result.exit_code, result.stderr) == (0, NOTE)


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "cancel", "nightly"),
        ("runs", "doctor", "nightly"),
        ("dead-letters", "list"),
        ("doctor",),
    ],
)
def test_commands_that_change_something_say_how_to_start_a_platform(words: tuple[str, ...]) -> None:
    """Whatever needs a platform says that none is up, and how to start one; the history stays as it is."""
    before = call("runs", "show", "--last", "--json").stdout
    result = call(*words)
    assert result.exit_code == 1
    assert "no platform is up in this folder" in result.stderr
    assert "`atom-workflows local up`" in result.stderr
    assert call("runs", "show", "--last", "--json").stdout == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("runs", "cancel", "nightly"), "its history, .atom-workflows, can be read but not changed."),
        (
            ("dead-letters", "list"),
            "there are no dead letters to look at: they are messages, which only a platform has.",
        ),
        (("doctor",), "there is nothing to check."),
    ],
)
def test_a_command_says_what_it_needs_a_platform_for(words: tuple[str, ...], why: str) -> None:
    """A command that changes nothing does not say that nothing can be changed."""
    assert f"no platform is up in this folder, so {why}" in call(*words).output


def test_a_run_that_has_ended_is_not_cancelled(history: Path) -> None:
    """Cancelling it says that it has ended, since no platform could do it."""
    with closing(History(history / "history.db", afresh=True)) as file:
        database = Database(SystemClock().now, file.database("projects/atom-local/databases/(default)"))
        changed = {**RUN, "state": "SUCCEEDED", "created_at": datetime(2026, 3, 2, tzinfo=UTC)}
        MemoryStore(database=database).commit([Create(path="runs/nightly-11cfe846bce2", fields=changed)])
    result = call("runs", "cancel", "nightly-11cf")
    assert (result.exit_code, "run nightly-11cfe846bce2 has ended: it is SUCCEEDED" in result.stderr) == (1, True)


def test_the_newest_state_is_read_while_a_run_goes_on(history: Path) -> None:
    """A history is read as it is now, even while a platform writes to it."""
    with closing(History(history / "history.db", afresh=True)) as file:
        database = Database(SystemClock().now, file.database("projects/atom-local/databases/(default)"))
        changed = {**RUN, "state": "SUCCEEDED", "created_at": datetime(2026, 3, 2, tzinfo=UTC)}
        MemoryStore(database=database).commit([Create(path="runs/nightly-11cfe846bce2", fields=changed)])
        listed = call("runs", "list").stdout
    assert listed.index("nightly-11cfe846bce2") < listed.index("nightly-00cfe846bce2")


def test_an_open_run_is_watched_as_it_was_left() -> None:
    """Watching an open run while no platform is up shows the last known state, and ends with 1."""
    result = call("runs", "watch", "nightly")
    assert (result.exit_code, "This is the last known state: no platform is up" in result.stdout) == (1, True)


def test_completion_reads_the_history_without_a_word() -> None:
    """The shell is offered the runs of the history, and nothing is printed in the middle of a command."""
    variables = {
        "_ATOM_WORKFLOWS_COMPLETE": "bash_complete",
        "COMP_WORDS": "atom-workflows runs show nig",
        "COMP_CWORD": "3",
    }
    result = CliRunner().invoke(cli, [], prog_name="atom-workflows", env=NO_CLOUD | variables)
    assert "nightly-00cfe846bce2" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("variable", ["GOOGLE_CLOUD_PROJECT", "WORKFLOW_PROJECT", "FIRESTORE_EMULATOR_HOST"])
def test_a_place_that_is_named_comes_first(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project or a platform in the environment is what is meant, whatever the folder has."""
    for name in NO_CLOUD:
        monkeypatch.delenv(name, raising=False)
    assert names_no_place()
    monkeypatch.setenv(variable, "127.0.0.1:1")
    assert not names_no_place()
    assert os.environ[variable]


def test_a_platform_that_is_up_is_adopted(history: Path) -> None:
    """The variables of the platform that is up here are those of the command, and a killed one's are not."""
    folder = ProjectFolder(history)
    variables = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}
    with folder.held(alone=True, by="a test"), folder.announced(variables):
        result = call("runs", "list")
        assert "nothing responds at 127.0.0.1:1" in result.stderr
        state = (history / "platform.json").read_text()
    for name in variables:
        os.environ.pop(name, None)
    (history / "platform.json").write_text(state)
    assert call("runs", "list").stderr == NOTE
