"""One part: it never outlives whoever started it."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from atom_emulator.platform.child import command_of_launcher
from atom_emulator.platform.part import Part, PartSpec
from unit.emulator.platform.processes import command_with_child, ended, family, gone, until

if TYPE_CHECKING:
    from pathlib import Path

ASKER = """
import sys, pathlib, threading
from atom_emulator.platform.part import Part, PartSpec
Part(PartSpec(name='part', command=sys.argv[2:], log=pathlib.Path(sys.argv[1])), lambda part: None)
threading.Event().wait()
"""


def run(command: list[str], folder: Path, listener: socket.socket | None = None) -> Part:
    """Run a part to its end."""
    ended: queue.Queue[Part] = queue.Queue()
    Part(PartSpec(name="part", command=command, log=folder / "part.log", listener=listener), ended.put)
    return ended.get(timeout=60)


@pytest.mark.parametrize(
    ("program", "code"),
    [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)],
)
def test_the_exit_code_is_the_commands(program: str, code: int, tmp_path: Path) -> None:
    """A part ends with its command's exit code, 128 + N for signal N."""
    assert run([sys.executable, "-c", program], tmp_path).exit_code == code


def test_an_unknown_command_is_named_in_the_log(tmp_path: Path) -> None:
    """An unknown command ends with 127 and a line that names it."""
    part = run(["no-such-command"], tmp_path)
    assert (part.exit_code, part.log_tail()) == (127, "command not found: no-such-command")


def test_output_and_errors_go_to_the_log(tmp_path: Path) -> None:
    """Both streams go to one log file, whose last lines are available."""
    part = run(["sh", "-c", "seq 100; echo oops >&2"], tmp_path)
    assert part.log_tail().splitlines() == [*map(str, range(82, 101)), "oops"]


@pytest.mark.parametrize(("free", "why"), [(0, "; the disk that holds {} may be full"), (10**9, "")])
def test_an_empty_log_is_explained(free: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty log is reported, with a full disk as the possible cause."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))
    assert run(["true"], tmp_path).log_tail() == f"(its log is empty{why.format(tmp_path)})"


def test_a_listening_socket_is_handed_over(tmp_path: Path) -> None:
    """The command gets the socket as descriptor 3, for its own process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = (
            "import os, socket; assert os.environ['LISTEN_PID'] == str(os.getpid());"
            "print(os.environ['LISTEN_FDS'], socket.socket(fileno=3).getsockname()[1])"
        )
        part = run([sys.executable, "-c", program], tmp_path, listener)
    assert part.log_tail() == f"1 {port}"


def test_what_a_command_leaves_running_is_killed(tmp_path: Path) -> None:
    """A command's own children end with it."""
    run(["sh", "-c", "sleep 600 & echo $!"], tmp_path)
    pid = int((tmp_path / "part.log").read_text())
    until(lambda: ended(pid))


def test_nothing_outlives_a_killed_asker(tmp_path: Path) -> None:
    """A part and its children end if the process that started them is killed."""
    pid_file = tmp_path / "pid"
    command = [sys.executable, "-c", ASKER, str(tmp_path / "log"), *command_with_child(pid_file)]
    with subprocess.Popen(command) as asker:
        until(lambda: pid_file.exists() and pid_file.read_text())
        processes = family(asker.pid)
        assert len(processes) == 4  # the asker, the launcher, the command, the command's child
        asker.kill()
    until(lambda: gone(processes))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_command_dies_with_its_launcher(tmp_path: Path) -> None:
    """If the launcher is SIGKILLed, the part ends with everything it started."""
    ended: queue.Queue[Part] = queue.Queue()
    pid_file = tmp_path / "pid"
    spec = PartSpec(name="part", command=command_with_child(pid_file), log=tmp_path / "log")
    Part(spec, ended.put)
    until(lambda: pid_file.exists() and pid_file.read_text())
    command = psutil.Process(int(pid_file.read_text())).parent()
    assert command is not None
    processes = family(command.pid)
    os.kill(command.ppid(), signal.SIGKILL)
    assert ended.get(timeout=60).exit_code == -signal.SIGKILL
    until(lambda: gone(processes))


KILLED_AT_THE_FORK: Final = """
import os, signal, sys, time
from atom_emulator.platform import child

def kill_launcher():
    launcher = os.getppid()
    os.kill(launcher, signal.SIGKILL)
    while os.getppid() == launcher:
        time.sleep(0.001)

os.register_at_fork(after_in_child=kill_launcher)
child.main(["--", sys.executable, "-c", "print('it runs')"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_command_does_not_start_without_its_launcher() -> None:
    """If the launcher is SIGKILLed between its fork and the command, the command is not run by anyone."""
    command = [sys.executable, "-c", KILLED_AT_THE_FORK]
    # A launcher kills its group once its input ends.
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.read() == b""
        assert killed.wait(60) == -signal.SIGKILL


def test_an_input_that_cannot_be_read_is_taken_for_the_askers_end() -> None:
    """Whatever happens to a launcher's standard input, it does not run on unwatched."""
    ours, theirs = socket.socketpair()
    command = command_of_launcher(["sleep", "600"])
    with ours, subprocess.Popen(command, stdin=theirs.fileno(), start_new_session=True) as launcher:
        # A socket that is closed before all was read from it resets the connection.
        theirs.send(b"unread")
        theirs.close()
        until(psutil.Process(launcher.pid).children)
        processes = family(launcher.pid)
        ours.close()
        try:
            until(lambda: gone(processes))
        finally:
            launcher.kill()
