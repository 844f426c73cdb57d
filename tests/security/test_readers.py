"""Those who read logs, terminals and events see no secret, and nothing there obeys what others wrote."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Final

import pytest
from click.testing import CliRunner
from rich.console import Console

from atom_client.cli.commands import cli
from atom_client.cli.live import step_line
from atom_client.cli.live_view import picture
from atom_client.cli.screen import Screen
from atom_client.views.progress import RunView
from atom_emulator.testing.world import World
from atom_workflows import log
from atom_workflows.adapters.pubsub.change_feed import changes_in
from atom_workflows.coordinator.services import Services
from atom_workflows.handlers.start import on_start
from atom_workflows.log import JsonLines

EVIL: Final = '\x1b[2J\x1b]0;owned\x07\r\n{"severity": "EMERGENCY"}\x9b31m\u202e\u2028\x85\x7f\x00"'
UNSEEN: Final = frozenset(
    chr(code)
    for block in ((0x00, 0x09), (0x0B, 0x20), (0x7F, 0xA0), (0x200E, 0x2010), (0x2028, 0x202F), (0x2066, 0x2070))
    for code in range(*block)
)
"""What no terminal may be sent: controls but for the line's end, and what turns or ends a line."""


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Return the stream that the functions log to."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("atom_workflows")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_a_decision_is_one_line(lines: io.StringIO) -> None:
    """A log entry is one printable line of JSON, whatever it holds."""
    log.warning("run.invalid", EVIL, object=EVIL + "\ud800", reason=[EVIL])
    [line] = lines.getvalue().splitlines()
    assert line.isprintable()
    said = json.loads(line)
    assert (said["severity"], said["message"], said["reason"]) == ("WARNING", EVIL, [EVIL])


def test_no_detail_takes_the_place_of_severity_or_message(lines: io.StringIO) -> None:
    """No detail replaces a line's severity or message."""
    log.warning("x", "said", severity="DEBUG")
    said = json.loads(lines.getvalue())
    assert (said["severity"], said["message"]) == ("WARNING", "said")


def test_no_argument_is_in_a_log_or_an_event(lines: io.StringIO) -> None:
    """Arguments and parameters are in no log line and no event."""
    world = World("default: {states: [FAILED], message: out of memory}")
    definition = "steps: [{id: a, retry: {maxAttempts: 2}, task: {url: u, args: [s3cret-arg]}}]"
    body = {"definition": definition, "params": {"p": "s3cret-param"}, "run_key": "k"}
    text, status, _ = on_start(world.services, {"content-type": "application/json"}, json.dumps(body).encode())
    assert status == 202
    run_id = json.loads(text)["run_id"]
    world.run_to_end(run_id)
    assert world.run(run_id).state == "FAILED"
    written = lines.getvalue() + repr(world.changes())
    assert "step" in written
    assert "s3cret" not in written


def printed(world: World, *args: str) -> str:
    """Return what a command prints."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, ["runs", *args], obj=connect, catch_exceptions=False).output


def test_no_command_prints_what_a_terminal_obeys() -> None:
    """Commands print no control characters from outside."""
    script = json.dumps({"rules": [{"step": "a", "states": ["FAILED"], "message": EVIL}]})
    world = World(script)
    named = "\x1b[2J\u202e\x9b.yaml"
    body = {"workflow_path": named, "run_key": EVIL, "labels": {"l": EVIL}, "params": {"p": EVIL}}
    good = "steps: [{id: a, description: d, task: {url: u}}]"
    ids = []
    for definition in (good, "steps: [{id: a, \u202eoops: [b]}]"):
        text, _, _ = on_start(
            world.services, {"content-type": "application/json"}, json.dumps(body | {"definition": definition}).encode()
        )
        ids.append(json.loads(text)["run_id"])
        body["run_key"] = "other" + EVIL
    world.run_to_end(ids[0])
    assert [world.run(each).state.value for each in ids] == ["FAILED", "INVALID"]
    output = printed(world, "list") + "".join(printed(world, "show", each) for each in ids)
    output += "".join(printed(world, "show", each, "--json") for each in ids)
    assert "owned" not in printed(world, "show", ids[0])
    assert UNSEEN.isdisjoint(output)


def test_no_event_makes_the_live_view_obey() -> None:
    """The live view shows an event's texts without control characters."""
    change = {
        "step": "a" + EVIL,
        "state": "RUNNING",
        "attempt": 1,
        "at": "2026-01-01T00:00:00+00:00",
        "job_state": "QUEUED" + EVIL,
        "message": "m" + EVIL + "[bold]x[/bold]",
    }
    view = RunView(run_id="r", total=1).with_changes([change])
    [step] = view.steps.values()
    drawn = io.StringIO()
    Console(file=drawn, width=300).print(picture(view, elapsed_s=1, screen=Screen(width=300, height=30)))
    assert UNSEEN.isdisjoint(drawn.getvalue() + step_line(step))
    assert "[bold]x[/bold]" in drawn.getvalue()


@pytest.mark.parametrize("depth", [65, 300, 990, 100_000])
def test_deep_json_ends_no_command(depth: int) -> None:
    """Deeply nested JSON from a service counts as an empty answer."""
    deep = '{"run_id": "r", "changes": ' + "[" * depth + "]" * depth + "}"
    assert changes_in(deep.encode(), "r") == []
