"""What the console answers about starts: of files in buckets, as of other times, and of an earlier run's file again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import click
import pytest
import requests

from atom_client.cli.console import console_of_platform
from atom_emulator.testing.world import World
from atom_workflows.errors import SourceForbidden
from unit.client.console.asking import Page

NIGHTLY: Final = "gs://bucket/workflows/nightly.yaml"
FLOW: Final = """
name: nightly
timezone: Europe/Madrid
deadline: {after: 3h}
schedules: [{cron: "30 2 * * *"}]
params:
  mode: {type: text, default: full, enum: [full, delta]}
  limit: {type: int, default: 3}
  rest: {type: any, default: null}
steps: [{id: load, task: {imageUri: image, args: ["${{ params.mode }}"]}}]
"""
FILE: Final = {"name": "nightly.yaml", "text": FLOW}
GIVEN: Final = {"mode": "delta", "rest": '"5"'}


class _Bucket(BaseHTTPRequestHandler):
    """Answers each request with a workflow that lacks a parameter."""

    def do_GET(self) -> None:
        """Answer with the file."""
        content = b"params: {day: {type: date}}\nname: nightly\nsteps: [{id: a, task: {imageUri: i}}]\n"
        self.send_response(200)
        self.send_header("x-goog-generation", "7")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (of the base class)
        """Print nothing."""


@contextmanager
def bucket() -> Iterator[str]:
    """Serve a bucket, and yield its address."""
    server = HTTPServer(("127.0.0.1", 0), _Bucket)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_console_of_a_local_platform_reads_the_bucket_of_that_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a run of an uploaded file could not be started again with other parameters."""
    with bucket() as address:
        platform = {
            "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
            "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
            "STORAGE_EMULATOR_HOST": address,
        }
        for name in platform:
            # The console sets these, and the next test must not find them.
            monkeypatch.setenv(name, "127.0.0.1:2")
        variables = {**platform, "GOOGLE_CLOUD_PROJECT": "demo", "WORKFLOW_TASK_RUNNER_URL": "http://127.0.0.1:1"}
        with click.Context(click.Command("up")), console_of_platform(variables) as server:
            page, _, token = server.address.partition("#token=")
            session = requests.Session()
            session.trust_env = False
            answer = session.post(
                f"{page}api/start",
                json={"path": NIGHTLY, "dry_run": True},
                headers={"X-Atom-Token": token},
                timeout=20,
            ).json()
    assert [one["name"] for one in answer["check"]["params"]] == ["day"]
    assert answer["seen"] == "7"


def test_file_that_may_not_be_read_here_is_left_to_the_platform() -> None:
    """The page says so in words for its reader, and not for whoever deploys the start function."""
    world = World()

    class Locked:
        def read(self, path: str, _: str | None) -> tuple[bytes, str]:
            """See `ports.Source.read`."""
            raise SourceForbidden(f"no permission to read {path}; give the start function a service account")

    found = Page(replace(world.services, source=Locked())).preview("/start", path=NIGHTLY)
    assert found.body["can_start"]
    assert "the start function" not in found.text
    assert f"may not read {NIGHTLY}, so only the platform will check" in found.text


def test_time_that_cannot_be_read_takes_nothing_else_away() -> None:
    """The parameters stay, and the sentence names the field as the form does."""
    found = Page(World().services).preview("/start", file=FILE, scheduled_at="yesterday").body
    assert [one["name"] for one in found["check"]["params"]] == ["mode", "limit", "rest"]
    assert found["check"]["timezone"] == "Europe/Madrid"
    assert [one["field"] for one in found["problems"]] == ["scheduled_at"]
    assert found["problems"][0]["message"].startswith("`As of` is 'yesterday'; write a time such as")
    assert not found["can_start"]


def test_plan_of_a_start_is_about_this_run_only() -> None:
    """Starting a run touches no schedule, and what is late is the run itself."""
    page = Page(World().services)
    started = "\n".join(page.preview("/start", file=FILE, scheduled_at="2026-02-10T02:30").body["check"]["plan_lines"])
    assert "SCHEDULES" not in started
    assert "this run is late after 2026-02-10 05:30 +01:00" in started
    examined = "\n".join(page.post("/files/check", file=FILE).body["plan_lines"])
    assert "SCHEDULES" in examined
    assert "the next scheduled run is late after" in examined


def started(world: World, **body: Any) -> str:
    """Start a run by the page."""
    page = Page(world.services)
    given = {"params": GIVEN, "labels": ["team=data"], **body}
    seen = page.preview("/start", **given).body
    run_id = str(page.post("/start", **given, key=seen["key"], seen=seen["seen"]).body["run_id"])
    world.run_to_end(run_id)
    return run_id


def test_file_is_started_again_with_what_the_run_was_given() -> None:
    """Parameters that the run left to their defaults, and its key, are not among it."""
    world = World()
    world.files.content[NIGHTLY, "1"] = FLOW.encode()
    run_id = started(world, path=NIGHTLY)
    page = Page(world.services)
    again = page.get(f"/runs/{run_id}/start").body
    assert (again["path"], again["file"], again["params"]) == (NIGHTLY, None, GIVEN)
    assert (again["labels"], again["problem"]) == (["team=data"], None)
    second = page.preview("/start", path=again["path"], params=again["params"], labels=again["labels"]).body
    assert second["check"]["plan"]["params"]["rest"] == "5"
    assert second["run_id"] != run_id


def test_sent_file_is_started_again_if_it_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small runs do not store it: then the page asks for it, with the parameters and labels filled in."""
    monkeypatch.chdir(tmp_path)
    world = World()
    address = f"/runs/{started(world, file=FILE)}/start"
    again = Page(world.services).get(address).body
    assert (again["path"], again["file"], again["params"]["mode"]) == (None, None, "delta")
    assert again["problem"].endswith("; choose or paste the file")
    (tmp_path / "nightly.yaml").write_text(FLOW)
    again = Page(world.services).get(address).body
    assert (again["file"], again["params"], again["problem"]) == (FILE, GIVEN, None)
