"""A part that is forked is like one that is started from its command, and ends as surely, whatever dies when."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from atom_emulator.platform import fork_server as module
from atom_emulator.platform.fork_server import PRELOADED, ForkedProcess, ForkServer, fork_server
from atom_emulator.platform.function_process import serving_environment
from atom_emulator.platform.part import Part, PartSpec
from atom_emulator.platform.servers import PYTHON
from atom_emulator.platform.supervisor import Supervisor
from unit.emulator.platform.processes import ended, family, gone, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a fork server")

# A module that runs the program in one of its variables.
MODULE = "forked_part"
RUN_PROGRAM = "import os; exec(os.environ.pop('PROGRAM'))"
PAUSE = "import signal; signal.pause()"

# A platform that has one part, which holds a lock; it reads nothing of what the part's launcher reports if `UNREAD`.
PLATFORM = """
import fcntl, os, pathlib, sys, threading
from atom_emulator.platform.fork_server import fork_server
from atom_emulator.platform.part import Part, PartSpec
folder = pathlib.Path(sys.argv[1])
command = sys.argv[2:]
lock = os.open(folder / 'lock', os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
with (folder / 'log').open('wb') as log, fork_server(log) as server:
    if os.environ.get('UNREAD'):
        process = server.start(command, os.environ, [log.fileno(), lock], listens=False)
    else:
        spec = PartSpec(name='part', command=command, log=folder / 'part.log', holds=(lock,), fork_server=server)
        Part(spec, lambda part: None)
    print('asked', flush=True)
    threading.Event().wait()
"""

# Names the variables that are read while modules are imported, and counts this process's threads.
IMPORTS = """
import importlib, json, os, sys
read = set()
class Recorder(type(os.environ)):
    def __getitem__(self, name):
        read.add(name)
        return super().__getitem__(name)
os.environ.__class__ = Recorder
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([sorted(read), len(os.listdir('/proc/self/task'))]))
"""


@contextmanager
def serving(folder: Path) -> Iterator[ForkServer]:
    """Run a fork server, which writes nothing to its log."""
    with (folder / "server.log").open("wb") as log, fork_server(log) as server:
        assert server is not None
        yield server
    assert (folder / "server.log").read_text() == ""


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let Python find the module that runs programs."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / f"{MODULE}.py").write_text(RUN_PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        # make exports it, and Python does not read it.
        patch.setenv("PYTHON", "python3")
        yield


@pytest.fixture(scope="module")
def server(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Yield a fork server that no test kills."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have fork servers import until a line is written to the pipe that this returns."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    package = tmp_path / PRELOADED[0].partition(".")[0]
    package.mkdir()
    begun = tmp_path / "begun"
    (package / "__init__.py").write_text(
        f"import os, pathlib; pathlib.Path({str(begun)!r}).write_text(str(os.getpid())); open({str(pipe)!r}).readline()"
    )
    return pipe


def importer(folder: Path) -> psutil.Process:
    """Return the fork server's process, which is importing."""
    begun = folder / "begun"
    until(lambda: begun.exists() and begun.read_text())
    return psutil.Process(int(begun.read_text()))


def spec(
    server: ForkServer, folder: Path, program: str, listener: socket.socket | None = None, **variables: str
) -> PartSpec:
    """Describe a part that runs a program."""
    environment = {"PYTHONPATH": os.environ["PYTHONPATH"], "PROGRAM": program, **variables}
    command = [*PYTHON, MODULE, "--given", "a b"]
    log = folder / "part.log"
    return PartSpec(
        name="part", command=command, environment=environment, log=log, listener=listener, fork_server=server
    )


def run(chosen: PartSpec, *, is_forked: bool = True) -> Part:
    """Run a part to its end, started as a fork or from its command."""
    ends: queue.Queue[Part] = queue.Queue()
    Part(chosen, ends.put)
    part = ends.get(timeout=60)
    assert isinstance(part._process, ForkedProcess) == is_forked
    return part


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("", 0, "(its log is empty)"),
        ("raise SystemExit(3)", 3, "(its log is empty)"),
        ("raise SystemExit('no such file')", 1, "no such file"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", 137, "(its log is empty)"),
        ("import os; os.kill(os.getpid(), 15)", 143, "(its log is empty)"),
        ("import os; os.kill(os.getpid(), 2)", 130, "KeyboardInterrupt"),
    ],
)
def test_it_ends_as_the_command_would(server: ForkServer, tmp_path: Path, program: str, code: int, said: str) -> None:
    """The exit code and the last line of the log are those of `python -m`."""
    part = run(spec(server, tmp_path, program))
    assert (part.exit_code, part.log_tail().splitlines()[-1]) == (code, said)


def test_it_has_only_what_it_is_given(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments, variables and descriptors are the part's own, and its input is empty."""
    monkeypatch.setenv("OURS", "1")
    program = (
        "import os, sys; print(sys.argv[1:], sorted(os.environ), os.listdir('/proc/self/fd')[:-1], repr(os.read(0, 1)))"
    )
    part = run(spec(server, tmp_path, program, THEIRS="2"))
    expected = "['--given', 'a b'] ['PYTHONIOENCODING', 'PYTHONPATH', 'THEIRS'] ['0', '1', '2'] b''"
    assert part.log_tail() == expected


def test_it_behaves_like_a_new_interpreter(server: ForkServer, tmp_path: Path) -> None:
    """Its signals, search path and main module are those of `python -m`, and so are its children's exit codes."""
    program = (
        "import os, signal, subprocess, sys, threading; code = subprocess.run(['sh', '-c', 'exit 3']).returncode;"
        "handlers = [str(signal.getsignal(one)) for one in (15, 2, 17, 13)];"
        "blocked = signal.pthread_sigmask(signal.SIG_BLOCK, []);"
        "print(code, handlers, blocked, threading.active_count(), sys.path, sys.argv, sys.flags, __name__,"
        "sys.modules['__main__'].__file__, os.getcwd(), os.getpgrp() == os.getppid(), sys.stdout.encoding)"
    )
    forked = spec(server, tmp_path, program)
    launched = PartSpec(name="part", command=forked.command, environment=forked.environment, log=tmp_path / "launched")
    assert run(forked).log_tail() == run(launched, is_forked=False).log_tail()


def test_parts_draw_different_numbers(server: ForkServer, tmp_path: Path) -> None:
    """Two forks do not share the state of the random generator."""
    program = "import random; print(random.random())"
    parts = [run(spec(server, tmp_path, program)) for _ in range(2)]
    assert len(set(parts[0].log_tail().splitlines())) == 2


def test_a_listening_socket_is_handed_over(server: ForkServer, tmp_path: Path) -> None:
    """The part gets the socket as descriptor 3, for its own process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = (
            "import os, socket; assert os.environ['LISTEN_PID'] == str(os.getpid());"
            "print(os.environ['LISTEN_FDS'], socket.socket(fileno=3).getsockname()[1])"
        )
        part = run(spec(server, tmp_path, program, listener))
    assert part.log_tail() == f"1 {port}"


def test_what_a_part_leaves_running_is_killed(server: ForkServer, tmp_path: Path) -> None:
    """A part's own children end with it."""
    part = run(spec(server, tmp_path, "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"))
    until(lambda: ended(int(part.log_tail().splitlines()[0])))


def test_it_dies_with_its_launcher_and_shows_its_command(server: ForkServer, tmp_path: Path) -> None:
    """`ps` shows the command, and nothing of a part is left when its launcher is killed."""
    ends: queue.Queue[Part] = queue.Queue()
    part = Part(spec(server, tmp_path, PAUSE), ends.put)
    launcher = psutil.Process(part.process_group)
    until(launcher.children)
    processes = family(launcher.pid)
    for process in processes:
        assert [word for word in process.cmdline() if word] == [*PYTHON, MODULE, "--given", "a b"]
    launcher.kill()
    assert ends.get(timeout=60).exit_code == -signal.SIGKILL
    until(lambda: gone(processes))


def test_the_death_of_a_launcher_is_seen_at_once(server: ForkServer, tmp_path: Path) -> None:
    """It is, even if a process lives on that escaped with every descriptor of the part."""
    program = (
        "import os, signal\nescaped = os.fork()\nif not escaped: os.setsid()\nelse: print(escaped, flush=True)\n"
        "signal.pause()"
    )
    ends: queue.Queue[Part] = queue.Queue()
    part = Part(spec(server, tmp_path, program), ends.put)
    until(lambda: part.log_tail().isdecimal())
    escaped = psutil.Process(int(part.log_tail()))
    until(lambda: os.getpgid(escaped.pid) == escaped.pid)
    try:
        os.kill(part.process_group, signal.SIGKILL)
        assert ends.get(timeout=60).exit_code == -signal.SIGKILL
        assert escaped.is_running()
    finally:
        escaped.kill()


def test_parts_do_without_a_server_that_has_died(tmp_path: Path) -> None:
    """If the fork server is killed, running parts go on, and further ones are started from their commands."""
    ends: queue.Queue[Part] = queue.Queue()
    with serving(tmp_path) as server:
        running = Part(spec(server, tmp_path, PAUSE), ends.put)
        dead = psutil.Process(psutil.Process(running.process_group).ppid())
        # If it was started from its command, this process is its parent.
        assert dead.pid != os.getpid()
        dead.kill()
        until(lambda: ended(dead.pid))
        assert run(spec(server, tmp_path, "raise SystemExit(3)"), is_forked=False).exit_code == 3
        assert not running.exited.is_set()
        running.kill()
        assert ends.get(timeout=60) is running


@pytest.mark.parametrize("victim", ["server", "launcher"])
@pytest.mark.usefixtures("importing")
def test_a_server_that_dies_while_it_imports_is_done_without(tmp_path: Path, victim: str) -> None:
    """A part that it was asked for is started from its command, with its socket."""
    with serving(tmp_path) as server, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ends: queue.Queue[Part] = queue.Queue()
        program = "import socket; print(socket.socket(fileno=3).getsockname()[1])"
        Part(spec(server, tmp_path, program, listener), ends.put)
        process = importer(tmp_path)
        os.kill(process.pid if victim == "server" else process.ppid(), signal.SIGKILL)
        assert ends.get(timeout=60).log_tail() == str(port)


@pytest.mark.usefixtures("importing")
def test_a_server_that_hangs_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed when its time is up, and the part is started from its command."""
    monkeypatch.setattr(module, "STARTS_WITHIN_S", 0.1)
    with serving(tmp_path) as server:
        assert run(spec(server, tmp_path, "raise SystemExit(3)"), is_forked=False).exit_code == 3


@pytest.mark.usefixtures("importing")
def test_a_stop_starts_none_of_the_parts_that_wait(tmp_path: Path) -> None:
    """The fork server ends with the first of them, and the others are not started from their commands instead."""
    supervisor = Supervisor(grace_s=3.0, on_crash=print)
    with serving(tmp_path) as server:
        parts = [supervisor.start(spec(server, tmp_path, "print('up')")) for _ in range(3)]
        importer(tmp_path)
        supervisor.stop()
        for part in parts:
            with pytest.raises(ProcessLookupError):
                _ = part.process_group


@pytest.mark.usefixtures("importing")
def test_a_part_can_be_ended_before_it_is_started(tmp_path: Path) -> None:
    """Its end does not wait for the imports, and nothing is started."""
    with serving(tmp_path) as server:
        ends: queue.Queue[Part] = queue.Queue()
        part = Part(spec(server, tmp_path, "print('up')"), ends.put)
        process = importer(tmp_path)
        part.terminate()
        assert ends.get(timeout=60).was_killed
        with pytest.raises(ProcessLookupError):
            _ = part.process_group
        assert part.log_tail() == "(its log is empty)"
        assert ended(process.pid)


def test_a_part_whose_platform_ends_before_it_is_started_ends(tmp_path: Path, importing: Path) -> None:
    """A launcher that finds its input closed kills what it starts."""
    with serving(tmp_path) as server, (tmp_path / "part.log").open("wb") as log:
        environment = {"PYTHONPATH": os.environ["PYTHONPATH"], "PROGRAM": PAUSE}
        process = server.start([*PYTHON, MODULE], environment, [log.fileno()], listens=False)
        assert process is not None
        process.stdin.close()
        importing.write_text("go on\n")
        process.await_start()
        assert process.wait() == -signal.SIGKILL


@contextmanager
def platform(folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a platform that has asked for its part."""
    command = [sys.executable, "-c", PLATFORM, str(folder), *PYTHON, MODULE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **variables}) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"asked\n"
            yield process
        finally:
            process.kill()


def is_free(lock: Path) -> bool:
    """Return True if no process holds the lock."""
    with lock.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.usefixtures("importing")
def test_nothing_outlives_a_platform_that_dies_while_the_server_imports(tmp_path: Path) -> None:
    """No process is left, and the lock is free that a request carries which was not read."""
    with platform(tmp_path) as process:
        importer(tmp_path)
        processes = family(process.pid)
        assert len(processes) == 3  # the platform, the launcher, the fork server
        assert not is_free(tmp_path / "lock")
        process.kill()
    until(lambda: gone(processes))
    until(lambda: is_free(tmp_path / "lock"))


@pytest.mark.parametrize("unread", ["", "1"])
def test_nothing_outlives_a_platform_that_dies_while_the_part_runs(tmp_path: Path, unread: str) -> None:
    """No process is left and the lock is free, whether or not the platform has read what the launcher reported."""
    up = tmp_path / "up"
    program = f"import pathlib; pathlib.Path({str(up)!r}).touch(); {PAUSE}"
    with platform(tmp_path, UNREAD=unread, PROGRAM=program) as process:
        until(up.exists)
        processes = family(process.pid)
        assert len(processes) == 5  # the platform; a launcher and a command for the fork server and for the part
        process.kill()
    until(lambda: gone(processes))
    until(lambda: is_free(tmp_path / "lock"))


def test_other_commands_are_not_forked(server: ForkServer, tmp_path: Path) -> None:
    """Other programs, other variables for Python itself, and requests that are too long are left to others."""
    with (tmp_path / "log").open("wb") as log:
        descriptors = [log.fileno()]
        environment = {"PYTHONPATH": os.environ["PYTHONPATH"]}
        assert server.start(["true"], environment, descriptors, listens=False) is None
        assert server.start([*PYTHON, MODULE], {"PYTHONWARNINGS": "error"}, descriptors, listens=False) is None
        long = {**environment, "LONG": "x" * 10_000_000}
        assert server.start([*PYTHON, MODULE], long, descriptors, listens=False) is None


def test_imports_leave_one_thread_and_read_nothing_that_parts_have_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the fork would be the fork server's."""
    for name in ("DEBUG", "PORT", "WEB_CONCURRENCY", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, "8080")
    said = subprocess.check_output([sys.executable, "-P", "-c", IMPORTS, *PRELOADED])
    read, threads = json.loads(said)
    assert threads == 1
    own = serving_environment(tmp_path, threads=1)
    differ = {name for name in {*own, *os.environ} if own.get(name) != os.environ.get(name)}
    ours = ("WORKFLOW_", "ATOM_", "FIRESTORE_", "PUBSUB_", "STORAGE_", "GOOGLE_CLOUD_PROJECT")
    assert "HOME" in read
    assert [name for name in read if name in differ or name.startswith(ours) or name.lower().endswith("_proxy")] == []
