"""The identity server and the mock Task Runner as child processes, spoken to over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from support.deadline import eventually

START_S = 60.0
AUDIENCE = "https://task-runner.test"


@dataclass(frozen=True, slots=True)
class Server:
    """A running child process that answers at `url`."""

    url: str

    def read(self, path: str) -> Any:
        """Return what a side door answers."""
        response = requests.get(f"{self.url}{path}", timeout=60)
        assert response.status_code == 200, response.text
        return response.json()

    def reset(self) -> None:
        """Forget counters, faults and jobs."""
        assert requests.post(f"{self.url}/_reset", timeout=60).status_code == 200


@dataclass(frozen=True, slots=True)
class Identity(Server):
    """The identity server."""

    def faults(self, *faults: str | int) -> None:
        """Spoil the next ID tokens, each with one of these faults."""
        assert requests.put(f"{self.url}/_faults", json=faults, timeout=60).status_code == 200

    def made(self, how: str) -> int:
        """Return how many ID tokens were requested in this way."""
        return int(self.read("/_counters").get(how, 0))

    def file(self, folder: Path, door: str) -> Path:
        """Write a credential file and return its path.

        It is of a new key (`_key`), or impersonates an account (`_impersonation`).
        """
        path = folder / f"{door}.json"
        path.write_text(json.dumps(self.read(f"/{door}")))
        return path


@contextmanager
def running(folder: Path, module: str, *options: str) -> Iterator[str]:
    """Run a server module until the block ends, and yield its URL.

    It must end cleanly.
    """
    ready_file = folder / "ready.json"
    command = [sys.executable, "-m", module, "--ready-file", str(ready_file), *options]
    process = subprocess.Popen(command)
    try:
        eventually(lambda: ready_file.exists() or process.poll() is not None, within_s=START_S, what=module)
        yield f"http://127.0.0.1:{json.loads(ready_file.read_text())['port']}"
    finally:
        process.terminate()
        assert process.wait(START_S) == 0
