"""How often jobs that notify are asked about, and how soon their ends are noticed."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from atom_emulator.platform.options import PartName
from e2e.backends import site_on
from e2e.site import Site

JOBS: Final = int(os.environ.get("CHAINED_JOBS", "8"))
"""How many jobs of the chain; `make e2e` runs 20."""

JOB_S: Final = 3
MOST_S_A_JOB: Final = 3.3
MOST_CALLS_A_JOB: Final = 2


@dataclass(slots=True)
class Counting:
    """A proxy that passes calls on to a Task Runner, and counts them."""

    target: str = ""
    calls: Counter[str] = field(default_factory=Counter)


@contextmanager
def counting() -> Iterator[tuple[str, Counting]]:
    """Yield the address of a proxy whose target is still to be set."""
    proxy, lock = Counting(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = requests.request(
                self.command, f"{proxy.target}{self.path}", headers=headers, data=body, timeout=60
            )
            with lock:
                proxy.calls[self.command] += 1
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 (names that the base class calls)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", proxy
    finally:
        server.shutdown()
        server.server_close()


def chain_of(task: dict[str, Any]) -> str:
    """Return a workflow of jobs that run one after the other."""
    steps = [
        {"id": f"s{place:02}", "dependsOn": [f"s{place - 1:02}"] if place else [], "task": task}
        for place in range(JOBS)
    ]
    return json.dumps({"name": "flow", "steps": steps})


def run_chain(site: Site, proxy: Counting, task: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds and the status calls of a job on average."""
    proxy.target = site.platform.addresses[PartName.TASK_RUNNER]
    run_id = site.start(chain_of(task))
    run = site.ended(run_id, within_s=JOBS * JOB_S * 3)
    assert run["state"] == "SUCCEEDED", run["errors"]
    took = (run["finished_at"] - run["started_at"]).total_seconds()
    assert proxy.calls["POST"] == JOBS
    return took / JOBS, proxy.calls["GET"] / JOBS


@pytest.mark.parametrize("runner", ["mock", "process"])
def test_jobs_that_notify_are_asked_about_twice_at_most(runner: str, tmp_path: Path) -> None:
    """A chain of jobs of 3 s takes at most 3.3 s a job, with at most two status calls for each."""
    with counting() as (url, proxy):
        environment = {"WORKFLOW_TASK_RUNNER_URL": url, "WORKFLOW_CHECK_STATE_DURATION_SEC": "1"}
        options: dict[str, Any] = {"tick_every_s": 60.0, "environment": environment}
        task: dict[str, Any] = {"imageUri": "x"}
        if runner == "process":
            options |= {"runner": runner, "jobs_dir": tmp_path / "jobs"}
            task = {"engine": "process", "args": ["sleep", str(JOB_S)]}
        else:
            script = tmp_path / "script.yaml"
            script.write_text(f"default: {{duration: {JOB_S}, notifies: true}}")
            options |= {"task_runner_script": script}
        with site_on("embedded", tmp_path / "logs", **options) as site:
            seconds, calls = run_chain(site, proxy, task)
    sys.stdout.write(f"{runner}: {seconds:.2f} s and {calls:.2f} status calls a job\n")
    assert seconds <= MOST_S_A_JOB
    assert calls <= MOST_CALLS_A_JOB
