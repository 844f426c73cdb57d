"""A part that is forked is like one that is started from its command."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from atom_emulator.platform.fork_server import ForkServer, fork_server
from atom_emulator.platform.part import Part, PartSpec
from atom_emulator.platform.servers import PYTHON
from unit.emulator.platform.processes import ended, family, gone, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a fork server")

MODULE = "forked_part"
PLATFORM = """
import sys, pathlib, threading
from atom_emulator.platform.fork_server import fork_server
from atom_emulator.platform.part import Part, PartSpec
folder = pathlib.Path(sys.argv[-1])
with (folder / 'log').open('wb') as log, fork_server(log) as server:
    Part(PartSpec(name='part', command=sys.argv[1:-1], log=folder / 'part.log', fork_server=server), lambda part: None)
    print('asked', flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    """Yield a fork server that finds modules in the test's folder."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (tmp_path / "server.log").open("wb") as log, fork_server(log) as server:
        assert server is not None
        yield server
    assert (tmp_path / "server.log").read_text() == ""


def spec(
    server: ForkServer, folder: Path, program: str, listener: socket.socket | None = None, **variables: str
) -> PartSpec:
    """Describe a part that runs a program."""
    (folder / f"{MODULE}.py").write_text(program)
    environment = {"PYTHONPATH": str(folder), **variables}
    command = [*PYTHON, MODULE, "--given", "a b"]
    log = folder / "part.log"
    return PartSpec(
        name="part", command=command, environment=environment, log=log, listener=listener, fork_server=server
    )


def run(chosen: PartSpec) -> Part:
    """Run a part to its end."""
    ends: queue.Queue[Part] = queue.Queue()
    Part(chosen, ends.put)
    return ends.get(timeout=60)


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("", 0, "(its log is empty)"),
        ("raise SystemExit(3)", 3, "(its log is empty)"),
        ("raise SystemExit('no such file')", 1, "no such file"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", 137, "(its log is empty)"),
        ("import os; os.kill(os.getpid(), 15)", 143, "(its log is empty)"),
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
    part = Part(spec(server, tmp_path, "import signal; signal.pause()"), ends.put)
    launcher = psutil.Process(part.process_group)
    until(launcher.children)
    processes = family(launcher.pid)
    for process in processes:
        assert [word for word in process.cmdline() if word] == [*PYTHON, MODULE, "--given", "a b"]
    launcher.kill()
    assert ends.get(timeout=60).exit_code == -signal.SIGKILL
    until(lambda: gone(processes))


def test_parts_do_without_a_server_that_has_died(server: ForkServer, tmp_path: Path) -> None:
    """If the fork server is killed, running parts go on, and further ones are started from their commands."""
    ends: queue.Queue[Part] = queue.Queue()
    running = Part(spec(server, tmp_path, "import signal; print('up'); signal.pause()"), ends.put)
    until(lambda: running.log_tail() == "up")
    dead = psutil.Process(psutil.Process(running.process_group).ppid())
    dead.kill()
    until(lambda: ended(dead.pid))
    assert run(spec(server, tmp_path, "raise SystemExit(3)")).exit_code == 3
    assert not running.exited.is_set()
    running.kill()
    assert ends.get(timeout=60) is running


def test_nothing_outlives_the_platform(tmp_path: Path) -> None:
    """If the platform dies while the fork server is still importing, nothing of it is left."""
    command = [sys.executable, "-c", PLATFORM, *PYTHON, "signal", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as platform:
        assert platform.stdout is not None
        assert platform.stdout.readline() == b"asked\n"
        until(lambda: len(family(platform.pid)) >= 3)  # the platform, the launcher, the fork server
        processes = family(platform.pid)
        platform.kill()
    until(lambda: gone(processes))


def test_other_programs_are_not_forked(server: ForkServer, tmp_path: Path) -> None:
    """A command that is not a Python module is left to others."""
    with (tmp_path / "log").open("wb") as log:
        assert server.start(["true"], dict(os.environ), [log.fileno()], listens=False) is None
