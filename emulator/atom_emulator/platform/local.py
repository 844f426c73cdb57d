"""The whole platform as a context manager."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from atom_emulator.job_hints import write_address
from atom_emulator.log_files import OWN_FOLDER, append_to, make_folder
from atom_emulator.platform.errors import EmulatorUnreachable, StorageMissing
from atom_emulator.platform.fork_server import ForkServer, fork_server
from atom_emulator.platform.function_process import function_command, serving_environment
from atom_emulator.platform.functions_source import find_functions
from atom_emulator.platform.google import find_installed
from atom_emulator.platform.keeping import Keeping, keeping
from atom_emulator.platform.laptop import LaptopRunner
from atom_emulator.platform.network import (
    HOST,
    accepts_connections,
    answers_http,
    bind_port,
    bypass_proxies,
    port_of,
    reserve_port,
)
from atom_emulator.platform.options import FUNCTIONS, PartName, PlatformOptions
from atom_emulator.platform.part import PartSpec
from atom_emulator.platform.scratch import scratch_folder
from atom_emulator.platform.servers import Server, build_embedded, mock_options
from atom_emulator.platform.storage import OBJECT_PREFIX, Storage, find_program
from atom_emulator.platform.supervisor import Supervisor
from atom_emulator.platform.ticker import Ticker
from atom_workflows.settings import from_environment, max_deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from atom_emulator.platform.errors import PartCrashed
    from atom_emulator.platform.part import Part
    from atom_emulator.platform.topology import PubSub

TOKEN_VARIABLE: Final = "WORKFLOW_TR_AUTH_JWT"  # noqa: S105 (the variable's name)

_EMULATORS: Final = frozenset({PartName.FIRESTORE, PartName.PUBSUB})


class LocalPlatform:
    """Runs every part while the `with` block lasts; however the block ends, no process is left running.

    Entering raises `PlatformError` if the platform cannot start. If a part crashes later, everything is stopped and
    `wait`, or leaving the block, raises `PartCrashed`.

    `resumed` are the runs of an earlier platform that this one goes on with, and `cancelled` those that it ended since
    they need another Task Runner. `missing_script` is the mock's script that the resumed runs began with, if it is not
    used now, or "".

    `pubsub_url` is where gcloud can publish. `storage` is None without Cloud Storage, and `storage_missing` then says
    why it is missing.
    """

    def __init__(self, options: PlatformOptions | None = None) -> None:
        self.options = options or PlatformOptions()
        started = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}"
        self.log_dir = self.options.log_dir or Path.cwd() / OWN_FOLDER / "logs" / started
        self.addresses: dict[PartName, str] = {}
        self.start_seconds: dict[PartName, float] = {}
        self.pubsub_url = ""
        self.storage: Storage | None = None
        self.storage_missing = ""
        self.resumed: list[str] = []
        self.cancelled: list[str] = []
        self.missing_script = ""
        self._kept: Keeping | None = None
        self._fork_server: ForkServer | None = None
        self._task_runner_port = 0
        self._supervisor = Supervisor(grace_s=self.options.grace_s, on_crash=self._handle_crash)
        self._stack = ExitStack()
        self._closing = threading.Lock()
        self._spawned_at: dict[PartName, float] = {}
        self._laptop = None if self.options.runner == "mock" or self.options.task_runner_url else LaptopRunner()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a user exports to reach the platform. The functions receive them, too."""
        return {
            "FIRESTORE_EMULATOR_HOST": self.addresses[PartName.FIRESTORE],
            "PUBSUB_EMULATOR_HOST": self.addresses[PartName.PUBSUB],
            "GOOGLE_CLOUD_PROJECT": self.options.project,
            "WORKFLOW_TASK_RUNNER_URL": self.addresses[PartName.TASK_RUNNER],
            TOKEN_VARIABLE: "none" if self._laptop is None else self._laptop.secret,
            "ATOM_LOCAL_RUNNER": self._runner,
            "WORKFLOW_CHECK_STATE_DURATION_SEC": "1",
            "WORKFLOW_OBJECT_PREFIX": OBJECT_PREFIX,
            **({"STORAGE_EMULATOR_HOST": self.storage.url} if self.storage is not None else {}),
            **bypass_proxies(os.environ),
            **self.options.environment,
        }

    @property
    def _runner(self) -> str:
        """What runs jobs: `mock`, `scripted` for a mock with a script, `process`, `docker` or `other`."""
        if self.options.task_runner_url:
            return "other"
        return "scripted" if self.options.task_runner_script else self.options.runner

    @property
    def shown_environment(self) -> dict[str, str]:
        """The same variables without a token."""
        shown = self.environment
        if shown[TOKEN_VARIABLE] != "none":
            del shown[TOKEN_VARIABLE]
        return shown

    @property
    def jobs_dir(self) -> Path:
        """The folder with the files of the jobs that really ran."""
        return self.options.jobs_dir or Path.cwd() / OWN_FOLDER / "jobs"

    @property
    def task_runner_log(self) -> Path:
        """The mock Task Runner's log of calls, one JSON object per line."""
        return self.log_dir / "task-runner-calls.jsonl"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException as error:
            self.stop()
            # When a part crashes, everything is stopped, and what the start was just doing fails, too.
            if self.crash is not None and isinstance(error, Exception) and error is not self.crash:
                raise self.crash from error
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
    def revivals(self) -> Mapping[str, int]:
        """How many times each part was restarted after it was killed."""
        return dict(self._supervisor.revivals)

    def process_group(self, name: PartName) -> int:
        """Return the id of the process group that a part runs in.

        Raises `KeyError` for a part that is not the platform's own.
        """
        return self._supervisor.process_group(name)

    @property
    def crash(self) -> PartCrashed | None:
        """The crash that stopped the platform, if there was one."""
        return self._supervisor.crash

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the platform is stopped.

        Returns False if time is up first. Raises `PartCrashed`.
        """
        return self._supervisor.wait(timeout_s)

    def stop(self) -> None:
        """Stop everything.

        May be called twice.
        """
        self._close()

    def _close(self) -> None:
        with self._closing:  # A crash may coincide with the end of the block.
            self._stack.close()

    def _handle_crash(self, crash: PartCrashed) -> None:
        self._close()
        if self.options.on_crash is not None:
            self.options.on_crash(crash)

    def _start(self) -> None:
        sources = find_functions(self.options.functions_dir)
        make_folder(self.log_dir)
        self._kept = self._stack.enter_context(keeping(self.options))
        if self._kept is not None:
            self._stack.callback(self._kept.end)
        # These are exited in reverse order, so the folder is removed when nothing writes to it any more.
        scratch = self._stack.enter_context(scratch_folder())
        hints = scratch / "job-hints.json"
        with append_to(self.log_dir / "fork-server.log") as log:
            self._fork_server = self._stack.enter_context(fork_server(log))
        servers = self._choose_servers(scratch, hints)
        program = self._find_storage()
        self._stack.callback(self._supervisor.stop)
        listeners = {function: self._listen(function) for function in FUNCTIONS}
        started = [(server, self._spawn_server(server)) for server in servers]
        # Google's client takes 0.3 s to import, so import it while the servers start.
        from atom_emulator.platform.topology import SUBSCRIBED, PubSub  # noqa: PLC0415 - see above

        for server, part in started:
            self._await_server(server, part)
        storage_ready = self._start_storage(program)
        functions = {
            function: self._start_function(function, sources, scratch, listener)
            for function, listener in listeners.items()
        }
        # The functions must know which delivery is the last, so the subscriptions read the limit from the same
        # environment.
        most = max_deliveries({**os.environ, **self.environment})
        pubsub = PubSub(self.addresses[PartName.PUBSUB], self.options.project, max_deliveries=most)
        self._stack.enter_context(closing(pubsub))
        path = f"/projects/{self.options.project}/topics"
        pubsub.create({topic: f"{self.addresses[PartName(name)]}{path}/{topic}" for topic, name in SUBSCRIBED.items()})
        if self.options.pubsub_address is not None:
            self._stack.callback(pubsub.unsubscribe)
        self.pubsub_url = self._start_rest(pubsub)
        write_address(hints, pubsub_url=self.pubsub_url, project=self.options.project)
        storage_ready()
        for function, part in functions.items():
            address = self.addresses[function].removeprefix("http://")
            self._supervisor.wait_until(part, partial(answers_http, address), timeout_s=self.options.start_timeout_s)
            self._mark_ready(function)
        ticker = Ticker(pubsub.tick, every_s=self.options.tick_every_s)
        self._stack.callback(ticker.stop)
        ticker.start()
        if self._kept is not None:
            self._stack.enter_context(self._kept.announced(self.shown_environment))
        if self.resumed:
            pubsub.tick()

    def _start_rest(self, pubsub: PubSub) -> str:
        if self.options.emulators == "google":
            return f"http://{self.addresses[PartName.PUBSUB]}"  # One port serves gRPC and REST.
        from atom_emulator.platform.rest_publish import RestPublish  # noqa: PLC0415 - as for PubSub

        rest = RestPublish(pubsub.publish)
        self._stack.callback(rest.stop)
        return rest.url

    # -- servers

    def _choose_servers(self, scratch: Path, hints: Path) -> list[Server]:
        given = {
            PartName.FIRESTORE: self.options.firestore_address,
            PartName.PUBSUB: self.options.pubsub_address,
            PartName.TASK_RUNNER: self.options.task_runner_url,
        }
        self.addresses |= {name: address for name, address in given.items() if address}
        for name, address in self.addresses.items():
            if name in _EMULATORS and not accepts_connections(address):
                raise EmulatorUnreachable(name, address)
        own = [name for name, address in given.items() if not address]
        if self._kept is not None:
            self._begin_history(self._kept, has_task_runner=PartName.TASK_RUNNER in own)
        googles = [name for name in own if self.options.emulators == "google" and name in _EMULATORS]
        installed = find_installed(googles) if googles else None
        return [
            installed.server(name, reserve_port(name, self._port(name), self._stack))
            if installed is not None and name in googles
            else self._choose_embedded(name, scratch, hints)
            for name in own
        ]

    def _begin_history(self, kept: Keeping, *, has_task_runner: bool) -> None:
        if has_task_runner:
            self._task_runner_port = kept.task_runner_port(self._port(PartName.TASK_RUNNER), self._stack)
        keep = from_environment({**os.environ, **self.options.environment}).keep_runs
        self.resumed = kept.begin(self._runner, self._task_runner_port, jobs=self.jobs_dir, keep=keep)
        self.cancelled = sorted(kept.cancelled)
        self.missing_script = kept.missing_script

    def _port(self, name: PartName) -> int:
        return self.options.ports.get(name, 0)

    def _choose_embedded(self, name: PartName, scratch: Path, hints: Path) -> Server:
        port = self._port(name)
        if name is PartName.TASK_RUNNER and self._task_runner_port:
            port = self._task_runner_port
        elif name in self.options.revived:
            port = reserve_port(name, port, self._stack)
        elif port:
            bind_port(name, port).close()
        if name is not PartName.TASK_RUNNER:
            # What steps run is in their documents, and before that in the start message: whoever can change these, or
            # read and replace the message, can run programs.
            more = ["--same-user"] if name in _EMULATORS and self._laptop is not None else []
            more += [] if self._kept is None else self._kept.server_options(name)
            return build_embedded(name, port=port, scratch=scratch, more=more)
        if self._laptop is None:
            own = None if self._kept is None else self._kept.mock_journal
            journal = self.options.task_runner_journal or own
            more = ["--log", str(self.task_runner_log), *mock_options(self.options, hints, journal)]
            return build_embedded(name, port=port, scratch=scratch, more=more)
        more = self._laptop.options(self.options, scratch, self.jobs_dir, hints)
        return build_embedded(name, port=port, scratch=scratch, more=more, package="laptop_runner")

    def _spawn_server(self, server: Server) -> Part:
        return self._spawn(server.name, server.command, server.environment, None)

    def _await_server(self, server: Server, part: Part) -> None:
        self._supervisor.wait_until(part, lambda: server.address() is not None, timeout_s=self.options.start_timeout_s)
        self.addresses[server.name] = server.address() or ""
        self._mark_ready(server.name)

    # -- storage

    def _find_storage(self) -> Path | None:
        """Find the storage server and reserve its ports.

        The ports are reserved early because the functions are started with them. Returns None without a bucket or a
        server.
        """
        if self.options.bucket is None:
            return None
        try:
            program = find_program()
        except StorageMissing as missing:
            self.storage_missing = str(missing)
            return None
        self.storage = Storage(
            bucket=self.options.bucket,
            http_port=reserve_port(PartName.STORAGE, self._port(PartName.STORAGE), self._stack),
            https_port=reserve_port(PartName.STORAGE, 0, self._stack),
        )
        return program

    def _start_storage(self, program: Path | None) -> Callable[[], None]:
        """Start the storage server, and return a function that awaits it."""
        storage = self.storage
        if storage is None or program is None:
            return lambda: None
        from atom_emulator.platform.storage_door import StorageDoor  # noqa: PLC0415 - only with a bucket

        self._stack.callback(StorageDoor(storage.http_port, storage.https_port).stop)
        server = storage.server(program, project=self.options.project, pubsub=self.addresses[PartName.PUBSUB])
        part = self._spawn_server(server)

        def ready() -> None:
            self._await_server(server, part)
            storage.create_bucket(self.options.project)

        return ready

    # -- functions

    def _listen(self, function: PartName) -> socket.socket:
        listener = bind_port(function, self._port(function))
        self._stack.callback(listener.close)
        # The socket listens from the start: requests that arrive before the function is ready wait, so no one has to
        # poll.
        listener.listen(1024)
        self.addresses[function] = f"http://{HOST}:{port_of(listener)}"
        return listener

    def _start_function(self, function: PartName, sources: Path, scratch: Path, listener: socket.socket) -> Part:
        own = scratch / function
        own.mkdir()
        command = function_command(function, sources, port=port_of(listener))
        environment = serving_environment(own, threads=self.options.threads) | self.environment
        return self._spawn(function, command, environment, listener)

    # -- both

    def _spawn(
        self, name: PartName, command: Sequence[str], environment: Mapping[str, str], listener: socket.socket | None
    ) -> Part:
        self._spawned_at[name] = time.monotonic()
        log = self.log_dir / f"{name}.log"
        spec = PartSpec(
            name=name,
            command=command,
            environment=environment,
            log=log,
            listener=listener,
            revived=name in self.options.revived,
            holds=() if self._kept is None else self._kept.holds(name),
            fork_server=self._fork_server,
        )
        return self._supervisor.start(spec)

    def _mark_ready(self, name: PartName) -> None:
        self.start_seconds[name] = time.monotonic() - self._spawned_at[name]
