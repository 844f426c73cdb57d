"""The Task Runner as a child process, and short words for what tests do with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from support.deadline import eventually

SECRET: Final = "s3cret-of-this-start"  # noqa: S105 (of these tests)
PYTHON: Final = sys.executable
WITHIN_S: Final = 60.0
TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


class Laptop:
    """A running server. A second one in the same folder is its successor."""

    def __init__(self, folder: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder / "jobs"
        self.started_in = folder
        secret, ready = folder / "secret", folder / "ready.json"
        secret.write_text(SECRET)
        ready.unlink(missing_ok=True)
        files = [f"--folder={self.folder}", f"--secret-file={secret}", f"--ready-file={ready}"]
        self.process = subprocess.Popen(
            [PYTHON, "-m", "atom_emulator.laptop_runner", *files, *options],
            cwd=folder,
            env={**os.environ, **(env or {})},
        )
        eventually(lambda: ready.exists() or self.process.poll(), within_s=WITHIN_S, what="the server")
        self.url = f"http://127.0.0.1:{json.loads(ready.read_text())['port']}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Make a call with the secret."""
        headers = {"Authorization": f"Bearer {SECRET}", **options.pop("headers", {})}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=WITHIN_S, **options)

    def post(self, *args: str, step: str = "step", attempt: int = 1, timeout_s: int | None = None) -> requests.Response:
        """Submit a job that runs this program."""
        headers = {"Idempotency-Key": f"run-1/{step}/{attempt}"}
        if timeout_s is not None:
            headers["Atom-Job-Timeout"] = str(timeout_s)
        body = {
            "job_name": step,
            "engine": "process",
            "scaleTier": "BASIC",
            "args": list(args),
            "labels": {"workflow": "daily", "type": "step"},
        }
        return self.call("POST", "/job", json=body, headers=headers)

    def submit(self, *args: str, step: str = "step", attempt: int = 1, timeout_s: int | None = None) -> dict[str, Any]:
        """Submit a job, and return it."""
        answer = self.post(*args, step=step, attempt=attempt, timeout_s=timeout_s)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()["job"]
        return job

    def python(self, code: str, *args: str, step: str = "step", timeout_s: int | None = None) -> dict[str, Any]:
        """Submit a job that runs this Python code."""
        return self.submit(PYTHON, "-I", "-S", "-c", code, *args, step=step, timeout_s=timeout_s)

    def status(self, step: str = "step", attempt: int = 1) -> dict[str, Any]:
        """Return the state of a job."""
        job: dict[str, Any] = self.call("GET", f"/jobstatus?job_id=run-1/{step}/{attempt}").json()["job"]
        return job

    def stop_job(self, step: str = "step") -> requests.Response:
        """Ask for a job to be stopped."""
        return self.call("DELETE", f"/job?job_id=run-1/{step}/1")

    def ended(self, step: str = "step") -> dict[str, Any]:
        """Wait for the end of a job, and return it."""
        job: dict[str, Any] = {}

        def look() -> bool:
            job.update(self.status(step))
            return job["state"] in TERMINAL

        eventually(look, within_s=WITHIN_S, what=f"the end of {step}")
        return job

    def files(self, step: str = "step") -> Path:
        """Return the folder of a job."""
        return self.folder / "run-1" / step / "1"

    def started(self, name: str, step: str = "step") -> str:
        """Wait until a job has written a file, and return its content."""
        file = self.files(step) / name
        return eventually(lambda: file.exists() and file.read_text(), within_s=WITHIN_S, what=name) or ""

    def descendants(self) -> list[psutil.Process]:
        """Return every process below the server."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def warden(self) -> psutil.Process:
        """Return the process that supervises the jobs."""
        (warden,) = psutil.Process(self.process.pid).children()
        return warden

    def kill(self) -> None:
        """Kill the server alone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop the server as Ctrl-C does, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WITHIN_S)
