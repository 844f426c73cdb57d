"""Runs that Google's own tools start: files uploaded to the bucket, and start messages published."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from e2e.backends import EMBEDDED_ONLY
from e2e.bucket import Bucket, run_shell
from e2e.console import started
from e2e.site import Site
from support.call_log import submissions, violations
from support.deadline import eventually
from support.json_shapes import require_documented
from support.services import Service, need
from support.workflows import definition

PAIR: Final = {"first": [], "second": ["first"]}
TOOLS: Final[Mapping[str, Service]] = {"gsutil": "gsutil", "gcloud-storage": "gcloud"}


def fresh(suffix: str = ".yaml") -> str:
    """Return a file name that no other test has."""
    return f"flow-{uuid.uuid4().hex[:8]}{suffix}"


def require_success(site: Site, run_id: str) -> dict[str, Any]:
    """Require the pair to succeed and return the run's document.

    With one job a step, in order.
    """
    run = site.ended(run_id)
    assert (run["state"], run["errors"]) == ("SUCCEEDED", [])
    calls = site.calls(run_id)
    assert violations(calls, PAIR) == []
    assert submissions(calls) == dict.fromkeys(PAIR, 1)
    return run


@pytest.fixture
def bucket(site: Site, tmp_path: Path) -> Bucket:
    """Return the shared platform's bucket."""
    need("storage")
    return Bucket(site=site, folder=tmp_path)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_uploads_a_file(bucket: Bucket, tool: str) -> None:
    """An upload by gsutil or gcloud starts a run, which succeeds."""
    need(TOOLS[tool])
    file = fresh()
    name = f"workflows/{file}"
    bucket.tool(tool, file, definition(PAIR))
    run = require_success(bucket.site, bucket.new_run(name, {}))
    assert (run["trigger"]["kind"], run["source"]["path"]) == ("upload", bucket.path(name))
    assert run["source"]["generation"].isdecimal()


def test_gcloud_publishes_a_start_message(bucket: Bucket) -> None:
    """A message published by gcloud starts a run of an existing object."""
    need("gcloud")
    file = fresh()
    name = f"workflows/{file}"
    bucket.put(name, definition(PAIR))
    uploaded = {bucket.new_run(name, {}): None}
    bucket.tool("publish", file, "")
    run_id = bucket.new_run(name, uploaded)
    assert require_success(bucket.site, run_id)["trigger"]["kind"] == "message"
    for each in uploaded:
        require_success(bucket.site, each)


@EMBEDDED_ONLY
def test_the_printed_command_is_pasted(backend: str, tmp_path: Path) -> None:
    """The printed gsutil command works unchanged."""
    need("storage")
    need("gsutil")
    with started(None, "local", "up", "--json", "--log-dir", "logs", cwd=tmp_path) as process:
        shown = json.loads(whole_object(process))
        require_documented("local up", shown)
        (tmp_path / "FILE.yaml").write_text(definition(PAIR))
        run_shell(shown["commands"]["gsutil"], tmp_path)
        log = tmp_path / shown["log_dir"] / "dispatcher.log"
        eventually(lambda: re.search(r"run file-\w+ is SUCCEEDED", log.read_text()), within_s=60, what="a success")
        process.terminate()
        process.wait(60)


def whole_object(process: subprocess.Popen[str]) -> str:
    """Return a process's output up to a JSON object's end."""
    text = ""

    def is_whole() -> bool:
        nonlocal text
        assert process.stdout is not None
        text += process.stdout.readline()
        return text.rstrip().endswith("}") and text.count("{") == text.count("}")

    eventually(is_whole, within_s=60, what="a JSON object", every_s=0)
    return text


def test_overwriting_starts_a_new_run(bucket: Bucket) -> None:
    """Each generation of an object starts a run of its own."""
    name = f"workflows/{fresh()}"
    runs: dict[str, str] = {}
    for _ in range(3):
        generation = bucket.put(name, definition(PAIR))
        runs[bucket.new_run(name, runs)] = generation
    for run_id, generation in runs.items():
        assert require_success(bucket.site, run_id)["source"]["generation"] == generation
    assert len(set(runs.values())) == 3


def test_an_object_that_is_gone(bucket: Bucket) -> None:
    """An object that was deleted before it was read becomes an INVALID run."""
    name = f"workflows/{fresh()}"
    generation = bucket.put(name, definition(PAIR))
    known = {bucket.new_run(name, {}): None}
    bucket.remove(name)
    bucket.notify(name, str(int(generation) + 1))
    run = bucket.site.ended(bucket.new_run(name, known))
    assert run["state"] == "INVALID"
    assert [error["message"] for error in run["errors"]] == [f"{bucket.path(name)} does not exist, or no longer exists"]
