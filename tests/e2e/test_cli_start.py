"""Runs that the command line asks a platform for: by a message, and by an upload."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path

from e2e.backends import EMBEDDED_ONLY
from e2e.console import console, started
from e2e.site import Site
from support.services import need
from support.workflows import definition

PAIR = {"first": [], "second": ["first"]}


def test_a_run_is_started_and_followed(site: Site, tmp_path: Path) -> None:
    """`start --wait` follows a run, and the same key starts it once."""
    file = tmp_path / "pair.yaml"
    file.write_text(definition(PAIR))
    key = uuid.uuid4().hex
    first, again = (console(site, "start", file, "--key", key, "--wait", "--json") for _ in range(2))
    shown = json.loads(first.succeeded())
    assert (shown["run"]["state"], [step["id"] for step in shown["steps"]]) == ("SUCCEEDED", ["first", "second"])
    shown_again = json.loads(again.succeeded())
    assert shown_again["run"]["id"] == shown["run"]["id"]
    assert (shown["started_before"], shown_again["started_before"]) == (False, True)
    assert len(site.calls(shown["run"]["id"])) == 2


def test_a_start_never_reports_the_invalid_run_of_an_earlier_one(site: Site, tmp_path: Path) -> None:
    """`start --wait` does not report its key's earlier INVALID run."""
    file = tmp_path / "pair.yaml"
    file.write_text(definition(PAIR))
    arguments = ("start", file, "--key", uuid.uuid4().hex, "--wait", "--timeout", "20")
    elsewhere = ("--tr-url", "https://elsewhere.example")
    # As if it were allowed, for the command line to send what the platform refuses.
    refused = console(site, *arguments, *elsewhere, WORKFLOW_TASK_RUNNER_ALLOW=elsewhere[1])
    assert (refused.code, "is INVALID and was not started" in refused.stdout) == (2, True), refused.stderr
    again = console(site, *arguments, *elsewhere, "--timeout", "3", WORKFLOW_TASK_RUNNER_ALLOW=elsewhere[1])
    assert (again.code, "is still INVALID from an earlier start" in again.stderr) == (1, True), again.stdout
    assert " SUCCEEDED in " in console(site, *arguments).succeeded()


@EMBEDDED_ONLY
def test_a_run_that_fails(site: Site, tmp_path: Path) -> None:
    """`start --wait` exits with 1 if the run fails."""
    site.script("default: {always_fail: true}")
    file = tmp_path / "pair.yaml"
    file.write_text(definition(PAIR))
    answer = console(site, "start", file, "--wait")
    assert (answer.code, "runs retry pair-" in answer.stdout) == (1, True), answer.stderr


@EMBEDDED_ONLY
def test_a_retry_is_followed(site: Site, tmp_path: Path) -> None:
    """`retry --wait` shows what runs again, but not what it keeps."""
    site.script("rules: [{step: second, fail_times: 2}]")
    file = tmp_path / "pair.yaml"
    file.write_text(definition(PAIR))
    run_id = json.loads(console(site, "start", file, "--wait", "--json").stdout)["run"]["id"]
    again = console(site, "runs", "retry", run_id, "--wait")
    assert (again.code, f"runs retry {run_id}" in again.stdout) == (1, True), again.stderr
    assert "continues: 1 step will run again, using the file as it was when the run was started." in again.stdout
    assert "] second FAILED" in again.stdout
    assert "] first" not in again.stdout
    last = console(site, "runs", "retry", run_id, "--wait", "--json")
    assert json.loads(last.succeeded())["run"]["state"] == "SUCCEEDED"
    refused = console(site, "runs", "retry", run_id, "--wait")
    assert (refused.code, "is SUCCEEDED; name the steps to run again" in refused.stderr) == (1, True)


@EMBEDDED_ONLY
def test_ctrl_c_leaves_the_run_going(site: Site, tmp_path: Path) -> None:
    """Ctrl-C stops waiting, and prints how to show the run."""
    site.script("default: {duration: 30}")
    file = tmp_path / "pair.yaml"
    file.write_text(definition(PAIR))
    key = uuid.uuid4().hex
    with started(site, "start", file, "--wait", "--key", key) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().split()[1]
        site.submitted(run_id, "first")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert f"Run {run_id} continues: `atom-workflows runs show {run_id}`" in process.stderr.read()
    console(site, "runs", "cancel", run_id).succeeded()


def test_an_uploaded_file_names_its_run(site: Site, tmp_path: Path) -> None:
    """`upload` names the run that the bucket's notification will start."""
    need("storage")
    assert site.platform.storage is not None
    file = tmp_path / f"flow-{uuid.uuid4().hex[:8]}.yaml"
    file.write_text(definition(PAIR))
    shown = json.loads(
        console(site, "upload", file, f"gs://{site.platform.storage.bucket}/workflows/", "--json").stdout
    )
    run = site.ended(shown["run"])
    assert (run["state"], run["source"]["generation"]) == ("SUCCEEDED", shown["generation"])
