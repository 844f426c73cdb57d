"""The whole platform as a context manager."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from atom_emulator.platform.errors import PortTaken
from atom_emulator.platform.functions_source import find_functions
from atom_emulator.platform.options import FUNCTIONS, PartName, PlatformOptions
from atom_emulator.platform.part import PartSpec
from atom_emulator.platform.supervisor import Supervisor
from atom_emulator.platform.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from atom_emulator.platform.errors import PartCrashed
    from atom_emulator.platform.part import Part

_HOST: Final = "127.0.0.1"

_PYTHON: Final = (sys.executable, "-P", "-m")
"""Without the working directory on the path: a user's own files must not stand in for modules."""

_NOT_PASSED_ON: Final = frozenset({"DEBUG", "FUNCTION_USE_ASGI", "HOST", "PORT", "WEB_CONCURRENCY"})
"""Variables of the user's shell that would change how the functions are served."""


class LocalPlatform:
    """Runs every part while the `with` block lasts; whatever ends the block, no process is left behind.

    Entering raises `PlatformError` if the platform cannot start. If a part crashes later, everything is stopped and
    `wait`, or leaving the block, raises `PartCrashed`.
    """

    def __init__(self, options: PlatformOptions | None = None) -> None:
        self.options = options or PlatformOptions()
        self.log_dir = self.options.log_dir or _new_log_dir()
        self.addresses: dict[PartName, str] = {}
        self.start_seconds: dict[PartName, float] = {}
        self._supervisor = Supervisor(grace_s=self.options.grace_s, on_crash=self._crashed)
        self._stack = ExitStack()
        self._closing = threading.Lock()
        self._spawned_at: dict[PartName, float] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What a user exports to reach the platform, and what the functions are given."""
        return {
            "FIRESTORE_EMULATOR_HOST": self.addresses[PartName.FIRESTORE],
            "PUBSUB_EMULATOR_HOST": self.addresses[PartName.PUBSUB],
            "GOOGLE_CLOUD_PROJECT": self.options.project,
            "WORKFLOW_TASK_RUNNER_URL": self.addresses[PartName.TASK_RUNNER],
            "WORKFLOW_TR_AUTH_JWT": "none",
            "WORKFLOW_CHECK_STATE_DURATION_SEC": "1",
            **self.options.environment,
        }

    @property
    def task_runner_log(self) -> Path:
        """The mock Task Runner's log of calls, one JSON object a line."""
        return self.log_dir / "task-runner-calls.jsonl"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        crash = self.crash
        if crash is not None and crash is not error:
            raise crash from error

    @property
    def crash(self) -> PartCrashed | None:
        """The crash that stopped the platform, if there was one."""
        return self._supervisor.crash

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the platform is stopped; False if time is up before. Raises `PartCrashed`."""
        return self._supervisor.wait(timeout_s)

    def stop(self) -> None:
        """Stop everything. May be called twice."""
        self._close()

    def _close(self) -> None:
        with self._closing:  # A crash and the end of the block may come together.
            self._stack.close()

    def _crashed(self, crash: PartCrashed) -> None:
        self._close()
        if self.options.on_crash is not None:
            self.options.on_crash(crash)

    def _start(self) -> None:
        sources = find_functions(self.options.functions_dir)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # Left in the opposite order: the folder is removed when nobody writes to it any more.
        scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="atom-")))
        self._stack.callback(self._supervisor.stop)
        listeners = {function: self._listener(function) for function in FUNCTIONS}
        servers = self._start_servers(scratch)
        # Google's client takes 0.3 s to import, which pass while the servers start.
        from atom_emulator.platform.topology import SUBSCRIBED, PubSub  # noqa: PLC0415 - see above

        for name, (part, ready_file) in servers.items():
            self._await_ready_file(name, part, ready_file)
        functions = {
            function: self._start_function(function, sources, scratch, listener)
            for function, listener in listeners.items()
        }
        pubsub = PubSub(self.addresses[PartName.PUBSUB], self.options.project)
        self._stack.callback(pubsub.close)
        pubsub.create({topic: self._endpoint(topic, function) for topic, function in SUBSCRIBED.items()})
        for function, part in functions.items():
            self._await_answer(function, part)
        ticker = Ticker(pubsub.tick, every_s=self.options.tick_every_s)
        self._stack.callback(ticker.stop)
        ticker.start()

    def _endpoint(self, topic: str, function: str) -> str:
        return f"{self.addresses[PartName(function)]}/projects/{self.options.project}/topics/{topic}"

    # -- servers

    def _start_servers(self, scratch: Path) -> dict[PartName, tuple[Part, Path]]:
        given = {
            PartName.FIRESTORE: self.options.firestore_address,
            PartName.PUBSUB: self.options.pubsub_address,
            PartName.TASK_RUNNER: self.options.task_runner_url,
        }
        self.addresses |= {name: address for name, address in given.items() if address}
        return {name: self._start_server(name, scratch) for name, address in given.items() if not address}

    def _start_server(self, name: PartName, scratch: Path) -> tuple[Part, Path]:
        ready_file = scratch / f"{name}.json"
        port = self.options.ports.get(name, 0)
        if port:
            _bound(name, port).close()
        module = f"atom_emulator.{name.replace('-', '_')}"
        command = [*_PYTHON, module, "--port", str(port), "--ready-file", str(ready_file)]
        if name is PartName.TASK_RUNNER:
            command += self._task_runner_options()
        return self._spawn(name, command, dict(os.environ), None), ready_file

    def _task_runner_options(self) -> list[str]:
        options = ["--log", str(self.task_runner_log)]
        options += ["--default-duration", str(self.options.task_runner_duration_s)]
        if self.options.task_runner_script is not None:
            options += ["--script", str(self.options.task_runner_script.resolve())]
        return options

    def _await_ready_file(self, name: PartName, part: Part, ready_file: Path) -> None:
        self._supervisor.wait_until(
            part, lambda: _port_in(ready_file) is not None, timeout_s=self.options.start_timeout_s
        )
        address = f"{_HOST}:{_port_in(ready_file)}"
        self.addresses[name] = f"http://{address}" if name is PartName.TASK_RUNNER else address
        self._is_ready(name)

    # -- functions

    def _listener(self, function: PartName) -> socket.socket:
        listener = _bound(function, self.options.ports.get(function, 0))
        self._stack.callback(listener.close)
        # Listening from the start: what is sent before the function is ready waits, and nobody polls.
        listener.listen(1024)
        self.addresses[function] = f"http://{_HOST}:{listener.getsockname()[1]}"
        return listener

    def _start_function(self, function: PartName, sources: Path, scratch: Path, listener: socket.socket) -> Part:
        command = [
            *(*_PYTHON, "functions_framework"),
            f"--source={sources / function / 'main.py'}",
            f"--target={function}",
            "--signature-type=cloudevent",
            f"--host={_HOST}",
            f"--port={listener.getsockname()[1]}",
        ]
        return self._spawn(function, command, self._function_environment(function, scratch), listener)

    def _function_environment(self, function: PartName, scratch: Path) -> Mapping[str, str]:
        own = scratch / function
        own.mkdir()
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
        serving = {
            "THREADS": str(self.options.threads),
            "WORKERS": "1",
            "PYTHONUNBUFFERED": "1",
            # gunicorn puts a control socket of a fixed name there, which several servers would fight over.
            "XDG_RUNTIME_DIR": str(own),
        }
        return kept | serving | self.environment

    def _await_answer(self, function: PartName, part: Part) -> None:
        address = self.addresses[function].removeprefix("http://")
        self._supervisor.wait_until(part, lambda: _answers(address), timeout_s=self.options.start_timeout_s)
        self._is_ready(function)

    # -- both

    def _spawn(
        self, name: PartName, command: list[str], environment: Mapping[str, str], listener: socket.socket | None
    ) -> Part:
        self._spawned_at[name] = time.monotonic()
        log = self.log_dir / f"{name}.log"
        spec = PartSpec(name=name, command=command, environment=environment, log=log, listener=listener)
        return self._supervisor.start(spec)

    def _is_ready(self, name: PartName) -> None:
        self.start_seconds[name] = time.monotonic() - self._spawned_at[name]


def _new_log_dir() -> Path:
    started = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}"
    return Path.cwd() / ".atom-workflows" / "logs" / started


def _bound(name: PartName, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((_HOST, port))
    except OSError as error:
        bound.close()
        raise PortTaken(name, port) from error
    return bound


def _port_in(ready_file: Path) -> int | None:
    try:
        return int(json.loads(ready_file.read_text())["port"])
    except (FileNotFoundError, ValueError):
        return None  # Not there yet, or not whole.


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", "/robots.txt")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
