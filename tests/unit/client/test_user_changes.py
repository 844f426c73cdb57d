"""Commands that change something are recorded with the name of whoever gave them, and shown with it."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Mapping

import click
import pytest
from click.testing import CliRunner, Result

from atom_client.cli.actor import current_actor
from atom_client.cli.commands import cli
from atom_client.cli.platform import FIRESTORE_HOST
from atom_emulator.testing.world import World
from atom_workflows.adapters import own_credentials
from atom_workflows.coordinator.services import Services
from atom_workflows.documents import run_path
from atom_workflows.ports import Update
from support.workflows import chain

PATH = "gs://bucket/workflows/flow.yaml"
NIGHTLY = "schedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]"


@pytest.fixture(autouse=True)
def _ana(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ana")
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")


def call(world: World, *args: str) -> Result:
    """Call a command that finds this world's services."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, list(args), obj=connect, catch_exceptions=False)


def test_show_says_who_changed_a_run_and_why() -> None:
    """Each change is a line with its time, and JSON has all of them."""
    world = World("default: {duration: 100}")
    run_id = world.start(chain(2))
    call(world, "runs", "cancel", run_id, "--reason", "the wrong day")
    call(world, "runs", "retry", run_id)
    shown = call(world, "runs", "show", run_id)
    changed = [line for line in shown.stdout.splitlines() if line.startswith("changed ")]
    at = f"{world.clock.now():%Y-%m-%d %H:%M:%S} UTC"
    assert changed == [
        f"changed      cancelled by ana@laptop at {at}: the wrong day",
        f"changed      retried by ana@laptop at {at}",
    ]
    found = json.loads(call(world, "runs", "show", run_id, "--json").stdout)["run"]["changes"]
    when = f"{world.clock.now():%Y-%m-%dT%H:%M:%S}.000Z"
    assert found == [
        {"at": when, "actor": "ana@laptop", "what": "cancel", "why": "the wrong day"},
        {"at": when, "actor": "ana@laptop", "what": "retry", "why": None},
    ]


def test_options_are_shown_and_old_changes_are_counted() -> None:
    """Only the latest changes are lines; how they were made is in parentheses."""
    world = World("default: {duration: 100}")
    run_id = world.start(chain(2))
    for _ in range(4):
        call(world, "runs", "cancel", run_id, "--now")
        call(world, "runs", "retry", run_id)
    shown = call(world, "runs", "show", run_id).stdout
    assert "changes      3 earlier changes; --json shows them\n" in shown
    assert shown.count("\nchanged      ") == 5
    assert "changed      cancelled (--now) by ana@laptop at " in shown


def test_what_others_wrote_is_safe_to_print() -> None:
    """Whoever may write documents can write any name, but no terminal obeys it."""
    world = World()
    run_id = world.start(chain(1))
    hostile = [{"at": world.clock.now(), "actor": "\x1b[31mroot\x1b[0m\n", "what": "\x07own it", "why": "a\u202eb\nc"}]
    world.store.commit([Update(path=run_path(run_id), fields={"changes": hostile})])
    shown = call(world, "runs", "show", run_id).stdout
    assert "changed      own (it) by root at " in shown
    assert ": ab c\n" in shown
    assert "\x1b" not in shown


def test_paused_schedules_are_listed_with_who_paused_them() -> None:
    """The list says who paused a file's schedules, until they are resumed."""
    world = World()
    world.upload(NIGHTLY)
    call(world, "schedules", "pause", PATH, "--reason", "the source is down")
    shown = call(world, "schedules", "list").stdout
    assert f"\n{PATH}: paused by ana@laptop at " in shown
    assert shown.endswith(": the source is down\n")
    [found] = json.loads(call(world, "schedules", "list", "--json").stdout)["files"]
    assert [(one["actor"], one["what"]) for one in found["changes"]] == [("ana@laptop", "pause")]
    call(world, "schedules", "resume", PATH, "--reason", "it is back")
    assert "paused by" not in call(world, "schedules", "list").stdout


def named(obj: object) -> str:
    """Return the name that a command with this platform gives."""
    with click.Context(click.Command("retry"), obj=obj):
        return current_actor()


def test_the_name_is_that_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a deployment it is the account's, if that is known; on a local platform it is the user's."""
    monkeypatch.delenv(FIRESTORE_HOST, raising=False)
    monkeypatch.setattr(own_credentials, "known_account", lambda: "deploy@acme.iam.gserviceaccount.com")
    assert named(None) == "deploy@acme.iam.gserviceaccount.com"
    assert named(lambda _: None) == "ana@laptop"
    monkeypatch.setattr(own_credentials, "known_account", lambda: "")
    assert named(None) == "ana@laptop"
    monkeypatch.setattr(own_credentials, "known_account", pytest.fail)
    monkeypatch.setenv(FIRESTORE_HOST, "127.0.0.1:8080")
    assert named(None) == "ana@laptop"


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, the user's number may be all there is."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    assert named(lambda _: None) == "uid-4711@laptop"
