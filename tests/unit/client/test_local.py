"""What the command line makes of the user's choices for a local platform."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NoReturn, cast

import click
import pytest
from click.testing import CliRunner

from atom_client.cli import local_up, platform
from atom_client.cli.commands import cli
from atom_client.cli.local import disk_full_note, exports, keep_up, local_platform, require_log_dir
from atom_client.cli.platform import services_on
from atom_client.cli.platform_choice import PlatformChoice, function_environment, runner_note, token_for
from atom_client.deployment import EMULATORS, PROJECTS
from atom_client.errors import Misuse
from atom_emulator.platform.errors import PartCrashed
from atom_emulator.platform.local import LocalPlatform
from atom_workflows.adapters.firestore.store import TOTAL_TIMEOUT_S
from atom_workflows.errors import BusUnavailable, StoreUnavailable
from atom_workflows.ports import Message


def test_the_functions_get_what_files_read_as_env() -> None:
    """Both the shell's variables and the options reach the functions, and an option replaces a variable."""
    shell = {"WORKFLOW_ENV_registry": "eu.example", "WORKFLOW_ENV_stage": "prod"}
    environment = function_environment(PlatformChoice(env=("stage=test",)), shell, project="atom-local")
    named = {name: value for name, value in environment.items() if name.startswith("WORKFLOW_ENV_")}
    assert named == {"WORKFLOW_ENV_registry": "eu.example", "WORKFLOW_ENV_stage": "test"}


@pytest.mark.parametrize(
    ("url", "given", "variable", "token"),
    [
        (None, None, None, "none"),
        (None, None, "from-shell", "none"),
        (None, "given", "from-shell", "given"),
        ("https://tr.example", None, None, ""),
        ("https://tr.example", None, "from-shell", "from-shell"),
        ("https://tr.example", "given", "from-shell", "given"),
        ("http://localhost:8080", None, None, "none"),
        ("http://[::1]:8080", None, None, "none"),
    ],
)
def test_the_token_for_the_task_runner(url: str | None, given: str | None, variable: str | None, token: str) -> None:
    """The option counts more than the variable, and the default is an identity token."""
    environment = {"WORKFLOW_TR_AUTH_JWT": variable} if variable else {}
    assert token_for(PlatformChoice(task_runner_url=url, token=given), environment) == token


def test_a_platform_that_was_left_running_is_no_danger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning about other users depends on the Firestore that is started, not on one that the shell names."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    assert "Other users" not in runner_note(PlatformChoice(runner="process"))
    assert "Other users" in runner_note(PlatformChoice(runner="process", emulators="google"))


def test_a_token_is_never_printed() -> None:
    """Commands to paste elsewhere leave out a real token."""
    assert exports({"A": "1 2", "WORKFLOW_TR_AUTH_JWT": "secret"}) == "export A='1 2'"
    assert exports({"WORKFLOW_TR_AUTH_JWT": "none"}) == "export WORKFLOW_TR_AUTH_JWT=none"


def test_settings_of_a_deployment_do_not_lead_the_functions_away() -> None:
    """A local platform ignores the shell's cloud settings, except the check interval."""
    shell = {"WORKFLOW_PROJECT": "prod", "WORKFLOW_TOPIC_PREFIX": "p-", "WORKFLOW_CHECK_STATE_DURATION_SEC": "3"}
    assert function_environment(PlatformChoice(), shell, project="atom-local") == {
        "WORKFLOW_PROJECT": "atom-local",
        "WORKFLOW_TOPIC_PREFIX": "",
        "WORKFLOW_CHECK_STATE_DURATION_SEC": "3",
        "WORKFLOW_TR_AUTH_JWT": "none",
    }


def test_only_a_full_disk_makes_logs_incomplete(tmp_path: Path) -> None:
    """A full disk is mentioned where the logs are named."""
    assert disk_full_note(Path("/proc")) == " (their disk is full, so they may be incomplete)"
    assert disk_full_note(tmp_path / "gone") == ""
    assert disk_full_note(tmp_path) == ""


def test_a_platform_that_is_to_start_is_asked_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to this machine go past the proxy before the platform starts."""
    for name, value in {"http_proxy": "http://proxy.test", "no_proxy": "", "NO_PROXY": "", "no_grpc_proxy": ""}.items():
        monkeypatch.setenv(name, value)
    local_platform(PlatformChoice(log_dir=tmp_path), {}, watched=False)
    found = {name: os.environ[name] for name in ("no_proxy", "no_grpc_proxy")}
    assert found == dict.fromkeys(found, "localhost,127.0.0.1,::1")


class Interrupted:
    """A platform that is interrupted while it starts."""

    def __init__(self, crash: PartCrashed | None = None) -> None:
        self.crash = crash

    def __enter__(self) -> NoReturn:
        raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        """Never called, as it is never entered."""


def test_an_interrupted_start_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C while a platform starts says that nothing is left, and ends with 130."""
    with pytest.raises(click.exceptions.Exit) as caught, keep_up(cast("LocalPlatform", Interrupted())):
        pytest.fail("it never started")
    assert (caught.value.exit_code, capsys.readouterr().err) == (130, "Interrupted; nothing was started.\n")


def test_local_up_reports_an_interrupted_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`local up` ends with 0 only when a platform that was up is stopped."""
    monkeypatch.setattr(local_up, "local_platform", lambda *_, **__: Interrupted())
    with pytest.raises(click.exceptions.Exit) as caught:
        local_up.local_up(PlatformChoice(), as_json=False)
    assert (caught.value.exit_code, capsys.readouterr().err) == (130, "Interrupted; nothing was started.\n")


def test_a_platform_that_cannot_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps a local platform from answering, such as a full disk, is not waited for like an outage of Google's."""
    place = dict.fromkeys(EMULATORS, "127.0.0.1:1") | {"GOOGLE_CLOUD_PROJECT": "atom-local"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platform, "LOCAL_PATIENCE_S", 0.2)
    with click.Context(cli):
        services = services_on(place)
    began = time.monotonic()
    with pytest.raises(BusUnavailable):
        services.bus.publish([Message(topic="start", body={})])
    with pytest.raises(StoreUnavailable):
        services.store.get(["runs/flow"])
    assert time.monotonic() - began < TOTAL_TIMEOUT_S


def test_a_crash_is_no_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    """A part that crashes while the platform starts interrupts the main thread; the crash is the error."""
    crash = PartCrashed("start", 1, "no log")
    with pytest.raises(PartCrashed), keep_up(cast("LocalPlatform", Interrupted(crash))):
        pytest.fail("it never started")
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be entered, as another user's, is named with what to do by whatever needs it."""
    # Even the administrator cannot follow this link.
    (tmp_path / ".atom-workflows").symlink_to("x" * 300)
    monkeypatch.chdir(tmp_path)
    for name in (*EMULATORS, *PROJECTS):
        monkeypatch.delenv(name, raising=False)
    for words in (["runs", "list"], ["why", "flow"]):
        done = CliRunner().invoke(cli, words)
        assert (done.exit_code, type(done.exception)) == (1, SystemExit)
        assert "the history of this folder, .atom-workflows, cannot be read: file name too long." in done.output
        assert "work in another folder" in done.output
    with pytest.raises(Misuse, match=r"cannot be written to .*; work in another folder, or give --in-memory and --log"):
        require_log_dir(tmp_path / ".atom-workflows" / "logs" / "1")
