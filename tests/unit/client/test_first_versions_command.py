"""The first version's command line, with its three flags, still runs a workflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from atom_client.cli.sources import request_for
from contract.canned import answer, canned

EXAMPLES = Path(__file__).parents[3] / "examples"
ENTRY = "from atom_client.__main__ import main; main()"
DONE = answer(b'{"job": {"state": "SUCCEEDED", "jobId": "7", "message": ""}}', Content_Type="application/json")
PLATFORM = ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT")


def test_the_three_flags_run_a_workflow_on_a_task_runner(tmp_path: Path) -> None:
    """Steps are submitted to `--tr-url` with the token of `--tr-auth-jwt`."""
    shell = {name: value for name, value in os.environ.items() if name not in PLATFORM and "WORKFLOW_" not in name}
    with canned(lambda _asked, _connection: DONE) as task_runner:
        flags = (f"--workflow-path={EXAMPLES / 'fork_join.yaml'}", f"--tr-url={task_runner.url}")
        command = [sys.executable, "-c", ENTRY, "run", *flags, "--tr-auth-jwt=xxx.yyy.zzz", "--json"]
        done = subprocess.run(command, env=shell, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {asked.target for asked in task_runner.asked} == {"/job"}
    assert {asked.headers["Authorization"] for asked in task_runner.asked} == {"Bearer xxx.yyy.zzz"}
    names = [json.loads(asked.body)["job_name"] for asked in task_runner.asked]
    assert (names[0], names[-1], len(names)) == ("extract", "report", 6)


def test_a_file_in_a_bucket_is_left_to_the_start_function() -> None:
    """`--workflow-path=gs://…` requests a run of that object without reading it."""
    request = request_for("gs://bucket/workflows/daily.yaml")
    body = request.message_body(None)
    assert body == {"workflow_path": "gs://bucket/workflows/daily.yaml", "run_key": request.run_key}
