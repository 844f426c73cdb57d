"""Shell completion: files, the ids of runs, and a shell that never waits long or shows an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from atom_client.cli import completion
from atom_client.cli.commands import cli
from atom_client.cli.completion import MOST_RUNS, VARIABLE, FileName, RunName
from atom_client.cli.platform import Connect
from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.services import Services
from atom_workflows.documents import run_path
from atom_workflows.ports import Create
from support.no_cloud import NO_CLOUD

FILES = "file,"


def completed(*words: str, connect: Connect | None = None, program: str = "bash") -> list[str]:
    """Return what a shell offers for the last word, and require that nothing else is printed."""
    line = " ".join(["atom-workflows", *words])
    typed = words[-1] if program == "fish" else str(len(words))
    env = {**NO_CLOUD, VARIABLE: f"{program}_complete", "COMP_WORDS": line, "COMP_CWORD": typed}
    result = CliRunner().invoke(cli, [], prog_name="atom-workflows", obj=connect, env=env, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def with_runs(*ids: str) -> Connect:
    """Return the connection to a platform with these runs, each newer than the one before."""
    world = World()
    fields = {"schema": 1, "state": "FAILED", "step_count": 1, "workflow": "nightly: \x1b[31mload"}
    world.store.commit(
        [
            Create(path=run_path(run_id), fields={**fields, "created_at": START + timedelta(seconds=number)})
            for number, run_id in enumerate(ids)
        ]
    )
    return lambda _: world.services


def params(command: click.Command) -> Iterator[click.Parameter]:
    """Yield the options and arguments of all commands."""
    yield from command.params
    if isinstance(command, click.Group):
        for one in command.commands.values():
            yield from params(one)


def test_commands_and_options_are_offered() -> None:
    """Commands, options and the words that an option takes are completed, without a platform."""
    assert completed("run") == ["plain,run", "plain,runner", "plain,runs"]
    assert "plain,--failed" in completed("runs", "list", "--f")
    assert completed("runs", "list", "--sort", "d") == ["plain,duration"]


def test_every_file_and_every_run_is_completed() -> None:
    """Whatever is shown as FILE or PATH in a help text completes to files, and RUN to runs."""
    shown = {param: param.metavar or (param.name or "").upper() for param in params(cli)}
    files = [param for param, metavar in shown.items() if metavar.rstrip(".") in {"FILE", "PATH", "DIR"}]
    named = [param for param, metavar in shown.items() if metavar in {"RUN", "FILE|RUN"}]
    assert files
    assert named
    assert [param.name for param in files if not isinstance(param.type, FileName | click.Path)] == []
    assert [param.name for param in named if not isinstance(param.type, RunName)] == []


@pytest.mark.parametrize("words", [("validate", ""), ("run", "x"), ("plan", "a", "--outputs", "")])
def test_files_are_left_to_the_shell(words: tuple[str, ...]) -> None:
    """The shell itself completes the names of files."""
    assert completed(*words) == [f"{FILES}{words[-1]}"]


def test_runs_are_offered_newest_first() -> None:
    """Without a letter, the newest runs are offered, and with some, those whose ids begin so."""
    connect = with_runs("b-000000000001", "a-000000000002", "b-000000000003")
    offered = ["plain,b-000000000003", "plain,a-000000000002", "plain,b-000000000001"]
    assert completed("runs", "show", "", connect=connect) == offered
    assert completed("runs", "cancel", "b", connect=connect) == [offered[0], offered[2]]
    assert completed("why", "b-0", connect=connect) == [offered[0], offered[2]]


def test_not_all_of_many_runs_are_offered() -> None:
    """Of many runs, as many are offered as a screen shows."""
    connect = with_runs(*(f"a-{number:012}" for number in range(MOST_RUNS + 20)))
    assert len(completed("runs", "show", "", connect=connect)) == MOST_RUNS
    assert len(completed("runs", "show", "a", connect=connect)) == MOST_RUNS


def test_shells_that_show_descriptions_get_the_state_and_the_workflow() -> None:
    """A description is one line without escape codes, whatever the workflow is called."""
    connect = with_runs("a-000000000001")
    assert completed("runs", "show", "", connect=connect, program="zsh") == [
        "plain",
        "a-000000000001",
        "FAILED nightly: load",
    ]
    assert completed("runs", "show", "a", connect=connect, program="fish") == [
        "plain,a-000000000001\tFAILED nightly: load"
    ]


def test_a_run_may_be_named_by_its_file() -> None:
    """If no id begins with what was typed, files are offered."""
    assert completed("runs", "show", "c", connect=with_runs("a-000000000001")) == [f"{FILES}c"]


def test_graph_offers_files_before_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `graph`, ids are offered only if no file begins with what was typed, whatever characters it has."""
    monkeypatch.chdir(tmp_path)
    connect = with_runs("a-000000000001")
    assert completed("graph", "a", connect=connect) == ["plain,a-000000000001"]
    (tmp_path / "a.yaml").touch()
    assert completed("graph", "a", connect=connect) == [f"{FILES}a"]
    assert completed("graph", "[a", connect=connect) == [f"{FILES}[a"]


def test_a_platform_that_does_not_respond_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell gets its prompt back although the platform hangs."""
    monkeypatch.setattr(completion, "WAIT_S", 0.05)
    forever = threading.Event()

    def hang(_: Mapping[str, str]) -> Services:
        forever.wait()
        raise TimeoutError

    assert completed("runs", "show", "a", connect=hang) == [f"{FILES}a"]
    forever.set()


def refused(_: Mapping[str, str]) -> NoReturn:
    """Fail as a platform that is down."""
    raise ConnectionRefusedError


def quits(_: Mapping[str, str]) -> NoReturn:
    """Exit as code does that cannot go on."""
    raise SystemExit(2)


@pytest.mark.parametrize("connect", [refused, quits, None])
@pytest.mark.parametrize("words", [("runs", "show", ""), ("runs", "show", "--project", "%", "")])
def test_nothing_is_said_when_no_platform_is_up(connect: Connect | None, words: tuple[str, ...]) -> None:
    """Without a platform, or with an option that is wrong, no id is offered and no error appears."""
    assert completed(*words, connect=connect) == [FILES]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_a_script(shell: str) -> None:
    """The script names the program, and asks it by the variable that it reads."""
    result = CliRunner().invoke(cli, ["completion", shell], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in result.stdout


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_page_has_the_line_of_each_shell(shell: str) -> None:
    """The how-to page, and the command's help, have the line that a startup file needs, and the wait of a shell."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "shell-completion.md").read_text(encoding="utf-8")
    call = f"atom-workflows completion {shell}"
    assert (f"`{call} \\| source`" if shell == "fish" else f'`eval "$({call})"`') in page
    assert f"at most {completion.WAIT_S} seconds" in " ".join(page.split())
    assert f"the newest {MOST_RUNS} runs" in page
