"""No command prints what someone else named, a file, an object or a key, so that a terminal would obey it."""

from __future__ import annotations

import io
import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from atom_client.__main__ import main
from atom_client.cli.commands import cli
from atom_emulator.testing.world import World
from atom_workflows import log
from atom_workflows.log import MAX_DETAIL, MAX_MESSAGE, JsonLines
from contract.canned import answer, canned
from support.no_cloud import NO_CLOUD

HOSTILE: Final = "a\x1b[2J\x1b]0;owned\x07\u200b\u202e\u2066\ufeff\x9b31m\x7f\rb\nc"
LONG: Final = "n" * 5_000
FLOW: Final = "steps: [{id: a, task: {url: u}}]"

COMMANDS: Final = {
    "validate": ["validate", "FILE", f"no{HOSTILE}.yaml", "BAD"],
    "run a file that is none": ["run", f"no{HOSTILE}.yaml"],
    "run a file that is bad": ["run", "BAD"],
    "run with options": ["run", "FILE", "--tr-url", HOSTILE],
    "run for a time": ["run", "FILE", "--timeout", HOSTILE],
    "start a file that is none": ["start", f"no{HOSTILE}.yaml"],
    "start a file that is bad": ["start", "BAD"],
    "start no object": ["start", f"gs://{HOSTILE}"],
    "start with a label": ["start", "FILE", "--label", HOSTILE],
    "start with a label that is none": ["start", "FILE", "--label", f"{HOSTILE}=x"],
    "upload to nowhere": ["upload", "FILE", f"gs://{HOSTILE}/"],
    "upload to what starts nothing": ["upload", "FILE", f"gs://b/{HOSTILE}"],
    "upload a file that is none": ["upload", f"no{HOSTILE}.yaml", "gs://b/workflows/x.yaml"],
    "upload stdin to a folder": ["upload", "-", f"gs://b/{HOSTILE}/"],
    "cost": ["cost", f"no{HOSTILE}.yaml"],
    "cost of a bad file": ["cost", "BAD"],
    "cost for a time": ["cost", "FILE", "--duration", HOSTILE],
    "graph": ["graph", f"no{HOSTILE}.yaml"],
    "graph of a bad file": ["graph", "BAD"],
    "graph to nowhere": ["graph", "FILE", "--output", f"no/{HOSTILE}.svg"],
    "graph of nothing": ["graph", HOSTILE],
    "plan": ["plan", f"no{HOSTILE}.yaml"],
    "plan of a bad file": ["plan", "BAD"],
    "plan with a parameter": ["plan", "FILE", "--param", f"{HOSTILE}=x", "--params-file", "BAD"],
    "plan with a script": ["plan", "FILE", "--outputs", f"no{HOSTILE}.yaml"],
    "plan with a bad script": ["plan", "FILE", "--outputs", "BAD"],
    "plan with env": ["plan", "FILE", "--env", HOSTILE],
    "validate for GitHub": ["validate", "--format", "github", "BAD", f"no{HOSTILE}.yaml"],
    "validate for programs": ["validate", "--format", "json", "BAD"],
    "start with a parameter": ["start", "FILE", "--param", HOSTILE],
    "local up": ["local", "up", "--log-dir", "FILE"],
    "local up with a script": ["local", "up", "--mock-script", f"no{HOSTILE}.yaml"],
    "local up with a bad script": ["local", "up", "--mock-script", "BAD"],
    "runs list": ["runs", "list", "--state", HOSTILE],
    "dead-letters show": ["dead-letters", "show", HOSTILE],
    "no command": [HOSTILE],
    "no option": ["run", f"--{HOSTILE}"],
    "a project": ["runs", "list", "--project", HOSTILE],
    "a long name": ["validate", LONG],
}
"""Each command with names that someone else chose, refused before it asks any service."""

SERVED: Final = {
    "start": ["start", "FILE"],
    "start with a key": ["start", "FILE", "--key", HOSTILE],
    "start an object": ["start", f"gs://b/{HOSTILE}"],
    "show a run": ["runs", "show", HOSTILE],
    "cancel a run": ["runs", "cancel", HOSTILE],
    "retry a run": ["runs", "retry", HOSTILE],
    "doctor of a run": ["runs", "doctor", HOSTILE],
    "graph to a file": ["graph", "FILE", "--output", f"{HOSTILE}.svg"],
    "graph a workflow": ["graph", "FILE"],
    "upload": ["upload", "FILE", f"gs://b/workflows/{HOSTILE}.yaml"],
    "upload to a folder": ["upload", "FILE", "gs://b/workflows/"],
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a valid and an invalid workflow file with such names."""
    monkeypatch.chdir(tmp_path)
    names = {"FILE": f"good{HOSTILE}.yaml", "BAD": f"bad{HOSTILE}.yaml"}
    (tmp_path / names["FILE"]).write_text(FLOW)
    (tmp_path / names["BAD"]).write_text("steps: [{idd: \u202e}]", encoding="utf-8")
    return names


@pytest.fixture(autouse=True)
def as_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Print as to a terminal, and keep the process's own signals.

    There click leaves escape codes as they are.
    """
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_args, **_more: False)
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(one) for one in signals]
    yield
    for one, handler in zip(signals, before, strict=True):
        signal.signal(one, handler)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Return the lines that are logged."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logging.getLogger("atom_workflows").addHandler(handler)
    yield written
    logging.getLogger("atom_workflows").removeHandler(handler)


def require_harmless(printed: str) -> None:
    """Fail if a terminal would obey a character, or a name begins a line.

    Fails on a line without an end, too.
    """
    assert printed
    assert [sign for sign in printed if sign != "\n" and not sign.isprintable()] == []
    assert not [line for line in printed.splitlines() if line.startswith("c")]
    assert max(map(len, printed.splitlines())) < 1_500


@pytest.mark.parametrize("name", COMMANDS)
def test_a_refusal_names_nothing_that_a_terminal_obeys(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A refusal of a hostile name is printable, short and on one line."""
    for variable, value in NO_CLOUD.items():
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    monkeypatch.setattr("sys.argv", ["atom-workflows", *(files.get(word, word) for word in COMMANDS[name])])
    with pytest.raises(SystemExit):
        main()
    captured = capsys.readouterr()
    require_harmless(captured.out + captured.err)


@pytest.mark.parametrize("name", SERVED)
def test_an_answer_about_a_hostile_name_is_harmless(files: dict[str, str], name: str) -> None:
    """A successful command prints nothing that a terminal obeys."""
    world = World()
    body = json.dumps({"generation": "1"}).encode()
    words = [files.get(word, word) for word in SERVED[name]]
    with canned(lambda _asked, _connection: answer(body)) as storage:
        variables = NO_CLOUD | {"STORAGE_EMULATOR_HOST": storage.url}
        result = CliRunner().invoke(cli, words, obj=lambda _: world.services, env=variables)
    require_harmless(result.output)


def test_a_line_of_the_log_has_an_end(lines: io.StringIO) -> None:
    """A log line about a very long name is limited."""
    log.warning("object.ignored", f"{LONG * 4} is no workflow", object=LONG * 4, count=3)
    [line] = lines.getvalue().splitlines()
    assert len(line) < MAX_MESSAGE + MAX_DETAIL + 200
    assert json.loads(line)["count"] == 3
