"""The command line as a process."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from e2e.site import Site

ENTRY: Final = "import sys; from atom_client.__main__ import main; sys.argv[0] = 'atom-workflows'; main()"
INTERRUPTIBLE: Final = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Starts a command as a terminal would: what runs in the background of a script inherits that Ctrl-C is ignored."""

LONGEST_S: Final = 120

_OURS: Final = ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a command ended and what it wrote."""

    code: int
    stdout: str
    stderr: str

    def succeeded(self) -> str:
        """Return what it printed, or fail if it did not succeed."""
        assert self.code == 0, f"exit code {self.code}\n{self.stdout}\n{self.stderr}"
        return self.stdout


def command(*arguments: str | Path) -> list[str]:
    """Return the command line as the installed script runs it."""
    script = Path(sys.executable).with_name("atom-workflows")
    start = [str(script)] if script.exists() else [sys.executable, "-c", ENTRY]
    return [*start, *map(str, arguments)]


def surroundings(site: Site | None = None, **changed: str) -> dict[str, str]:
    """Return a user's environment.

    The site's platform is exported in it, if there is one.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _OURS and not name.startswith(("WORKFLOW_", "PYTEST"))
    }
    exported: Mapping[str, str] = {} if site is None else site.environment
    return {**kept, **exported, **changed}


@lru_cache(maxsize=1)
def elsewhere() -> Path:
    """Return a folder for commands whose folder does not matter: none finds what this project's own runs left."""
    folder = Path(tempfile.mkdtemp(prefix="console-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def console(
    site: Site | None, *arguments: str | Path, cwd: Path | None = None, stdin: str = "", **variables: str
) -> Answer:
    """Run a command to its end, in an environment with these variables.

    It is a process of its own, forked from one that has imported the command line; see `warm_console`.
    """
    asked = {
        "arguments": [str(one) for one in arguments],
        "environment": surroundings(site, **variables),
        "folder": str(cwd or elsewhere()),
    }
    with ExitStack() as stack:
        streams = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3)]
        streams[0].write(stdin)
        streams[0].seek(0)
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.connect(_warm_console())
        sent = json.dumps(asked).encode() + b"\n"
        first = socket.send_fds(connection, [sent], [stream.fileno() for stream in streams])
        connection.sendall(sent[first:])
        code = int(connection.recv(16) or -signal.SIGALRM)
        for stream in streams[1:]:
            stream.seek(0)
        return Answer(code=code, stdout=streams[1].read(), stderr=streams[2].read())


@lru_cache(maxsize=1)
def _warm_console() -> str:
    """Start the process that runs commands, and return its socket."""
    address = str(elsewhere().with_suffix(".socket"))
    server = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("warm_console.py")), address, str(LONGEST_S)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return address


@contextmanager
def started(site: Site | None, *arguments: str | Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Yield a running command, killed at the end if need be."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *command(*arguments)],
        env=surroundings(site),
        cwd=cwd or elsewhere(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # Whoever waits for a line that never comes is set free by the end of the file.
        limit = threading.Timer(LONGEST_S, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()
