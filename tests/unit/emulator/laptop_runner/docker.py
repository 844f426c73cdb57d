"""A stand-in for docker: a command like docker's, and the daemon behind it, which keeps docker's documented rules.

The containers are processes of the daemon, so they outlive the command that started them, as docker's do. Options,
messages and exit codes are docker's own: `run` exits with 125 if docker itself failed (an unknown option,
a missing image, a taken name), 126 if the program cannot be run, 127 if there is none, and otherwise with the program's
own code; a program that a signal ended has 128 + its number.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

COMMAND: Final = f"""#!{sys.executable} -IS
import json, os, socket, sys
place = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'daemon')
daemon = socket.socket(socket.AF_UNIX)
try:
    daemon.connect(place)
except OSError:
    sys.exit('Cannot connect to the Docker daemon at unix://' + place + '. Is the docker daemon running?')
daemon.sendall(json.dumps(sys.argv[1:]).encode() + b'\\n')
for line in daemon.makefile('rb'):
    said = json.loads(line)
    if 'code' in said:
        sys.exit(said['code'])
    os.write(said['to'], said['text'].encode())
sys.exit(125)
"""

IMAGE: Final = "registry.example/tools:1.0"
"""The one image that there is: it has the programs of this machine."""

Say = Callable[[int, str], None]


@dataclass(slots=True)
class Container:
    """A container: created, running or exited."""

    image: str
    argv: list[str]
    labels: dict[str, str]
    status: str = "created"
    code: int = 0
    oom: bool = False
    process: subprocess.Popen[bytes] | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Refused(Exception):
    """The daemon refuses a command."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Daemon:
    """The daemon. `is_next_oom` marks the next container that ends as killed for lack of memory."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.is_next_oom = False
        self._lock = threading.Lock()

    def obey(self, argv: Sequence[str], say: Say) -> int:
        """Carry out a command, and return its exit code."""
        commands = {
            "run": self._run,
            "stop": self._stop,
            "inspect": self._inspect,
            "rm": self._remove,
            "ps": self._list,
        }
        try:
            return commands[argv[0]](argv[1:], say)
        except KeyError:
            say(2, f"docker: '{argv[0]}' is not a docker command.\n")
            return 1
        except Refused as refused:
            say(2, f"{refused}\n")
            return refused.code

    def _run(self, words: Sequence[str], say: Say) -> int:
        options, (image, *argv) = _read_options(words, {"name", "label", "log-driver", "env", "volume"}, code=125)
        if image != IMAGE:
            say(2, f"Unable to find image '{image}' locally\n")
            raise Refused(f"docker: Error response from daemon: pull access denied for {image}.", 125)
        [name] = options["name"]
        with self._lock:
            if name in self.containers:
                taken = f'Conflict. The container name "/{name}" is already in use'
                raise Refused(f"docker: Error response from daemon: {taken}", 125)
            labels = dict(label.split("=", 1) for label in options["label"])
            container = self.containers[name] = Container(image=image, argv=argv, labels=labels)
        source, target, mode = options["volume"][0].rsplit(":", 2)
        assert mode == "Z"
        variables = [one.replace(target, source, 1) for one in options["env"]]
        environment = {"PATH": os.environ["PATH"], **dict(variable.split("=", 1) for variable in variables)}
        try:
            process = subprocess.Popen(
                argv, cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            code = container.code = 127 if isinstance(error, FileNotFoundError) else 126
            raise Refused(f'docker: Error response from daemon: exec: "{argv[0]}": {error.strerror}', code) from error
        container.process, container.status = process, "running"
        threading.Thread(target=self._pass_on, args=(container, process, say), daemon=True).start()
        container.ended.wait()
        return container.code

    def _pass_on(self, container: Container, process: subprocess.Popen[bytes], say: Say) -> None:
        """Pass on a container's output, for as long as someone listens, and record its end."""
        assert process.stdout is not None
        for line in process.stdout:
            say(1, line.decode())
        process.stdout.close()
        code = process.wait()
        container.code = code if code >= 0 else 128 - code
        container.status, container.oom, self.is_next_oom = "exited", self.is_next_oom, False
        container.ended.set()

    def _stop(self, words: Sequence[str], say: Say) -> int:
        options, [name] = _read_options(words, {"t"})
        container = self._find(name)
        if container.process is not None:
            _signal(container, signal.SIGTERM)
            if not container.ended.wait(float(options["t"][0])):
                _signal(container, signal.SIGKILL)
                container.ended.wait()
        say(1, f"{name}\n")
        return 0

    def _inspect(self, words: Sequence[str], say: Say) -> int:
        options, [name] = _read_options(words, {"format"})
        assert options["format"] == ["{{json .State}}"]
        found = self._find(name)
        state = {"Status": found.status, "Running": found.status == "running", "ExitCode": found.code}
        say(1, json.dumps({**state, "OOMKilled": found.oom, "Error": ""}) + "\n")
        return 0

    def _remove(self, words: Sequence[str], say: Say) -> int:
        options, names = _read_options(words, set(), flags={"force", "volumes"})
        for name in names:
            container = self._find(name)
            if container.status == "running" and "force" not in options:
                raise Refused(f"Error response from daemon: cannot remove container {name}: container is running")
            if container.process is not None:
                _signal(container, signal.SIGKILL)
                container.ended.wait()
            del self.containers[name]
            say(1, f"{name}\n")
        return 0

    def _list(self, words: Sequence[str], say: Say) -> int:
        options, _ = _read_options(words, {"filter"}, flags={"all", "quiet"})
        if not options["filter"]:
            return 0
        _, name, value = options["filter"][0].split("=", 2)
        for found, container in self.containers.items():
            if container.labels.get(name) == value:
                say(1, f"{found}\n")
        return 0

    def _find(self, name: str) -> Container:
        if name not in self.containers:
            raise Refused(f"Error response from daemon: No such container: {name}")
        return self.containers[name]


def _signal(container: Container, signum: signal.Signals) -> None:
    if container.process is not None and not container.ended.is_set():
        os.killpg(container.process.pid, signum)


def _read_options(
    words: Sequence[str], known: set[str], *, flags: frozenset[str] | set[str] = frozenset(), code: int = 1
) -> tuple[Mapping[str, list[str]], list[str]]:
    """Split a command at its first word that is no option, as docker does."""
    found: dict[str, list[str]] = {name: [] for name in known}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name, is_long, value = word.removeprefix("--").partition("=")
        if not is_long and not word.startswith("--"):
            name, value = word.removeprefix("-"), rest.pop(0)
        if name not in known | flags:
            raise Refused(f"unknown flag: --{name}\nSee 'docker --help'.", 125 if code == 125 else 1)
        found.setdefault(name, []).append(value)
    return found, rest


@contextmanager
def running_daemon(folder: Path) -> Iterator[tuple[Path, Daemon]]:
    """Run a daemon for the duration of the block, and yield its command."""
    command = folder / "docker"
    command.write_text(COMMAND)
    command.chmod(0o755)
    daemon = Daemon()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            def send(said: Mapping[str, Any]) -> None:
                try:
                    self.wfile.write(json.dumps(said).encode() + b"\n")
                except OSError:
                    return  # The command was killed; the container does not mind.

            code = daemon.obey(json.loads(self.rfile.readline()), lambda to, text: send({"to": to, "text": text}))
            send({"code": code})

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(str(folder / "daemon"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield command, daemon
        finally:
            server.shutdown()
            for container in daemon.containers.values():
                _signal(container, signal.SIGKILL)
