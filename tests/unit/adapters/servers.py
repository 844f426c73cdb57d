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

START_S = 20.0
AUDIENCE = "https://task-runner.test"


@dataclass(frozen=True, slots=True)
class Server:
    """A running child process that answers at `url`."""

    url: str

    def read(self, path: str) -> Any:
        """What a side door answers."""
        response = requests.get(f"{self.url}{path}", timeout=5)
        assert response.status_code == 200, response.text
        return response.json()

    def reset(self) -> None:
        """Forget counters, faults and jobs."""
        assert requests.post(f"{self.url}/_reset", timeout=5).status_code == 200


@dataclass(frozen=True, slots=True)
class Identity(Server):
    """The identity server."""

    def faults(self, *faults: str | int) -> None:
        """What is wrong with the next ID tokens, one each."""
        assert requests.put(f"{self.url}/_faults", json=faults, timeout=5).status_code == 200

    def made(self, how: str) -> int:
        """How many ID tokens were asked for in this way."""
        return int(self.read("/_counters").get(how, 0))

    def file(self, folder: Path, door: str) -> Path:
        """A credential file: of a new key (`_key`), or one that impersonates (`_impersonation`)."""
        path = folder / f"{door}.json"
        path.write_text(json.dumps(self.read(f"/{door}")))
        return path


@contextmanager
def running(folder: Path, module: str, *options: str) -> Iterator[str]:
    """Run a server module until the block ends; its URL. It must end cleanly."""
    ready_file = folder / "ready.json"
    command = [sys.executable, "-m", module, "--ready-file", str(ready_file), *options]
    process = subprocess.Popen(command)
    try:
        eventually(lambda: ready_file.exists() or process.poll() is not None, within_s=START_S, what=module)
        yield f"http://127.0.0.1:{json.loads(ready_file.read_text())['port']}"
    finally:
        process.terminate()
        assert process.wait(START_S) == 0
