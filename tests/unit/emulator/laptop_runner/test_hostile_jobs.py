"""Jobs that damage their own files or stop the processes above them: the server goes on, and nothing is left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import pytest
import requests

from atom_emulator.laptop_runner import warden
from support.deadline import eventually
from unit.emulator.laptop_runner.laptop import WITHIN_S, Laptop
from unit.emulator.platform.processes import gone

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")

WAIT: Final = "\nopen('up', 'w').write('up'); import time; time.sleep(600)"


@pytest.mark.parametrize("make", ["os.mkfifo(name)", "os.mkdir(name)", "os.symlink('/dev/zero', name)"])
@pytest.mark.parametrize("name", ["job.log", ".job.json", ".job.partial"])
def test_whatever_a_job_makes_of_its_files_the_server_goes_on(laptop: Laptop, name: str, make: str) -> None:
    """A pipe, folder or device in the place of a job's log or record blocks nothing, and is not read."""
    code = f"import os, sys; name = {name!r}\nif os.path.exists(name): os.remove(name)\n{make}; sys.exit(3)"
    laptop.python(code)
    job = laptop.ended()
    assert (job["state"], job["reason"]) == ("FAILED", "EXIT_3")
    assert "\0" not in job["message"]
    assert requests.get(job["logsUrl"], timeout=WITHIN_S).content == b""
    laptop.submit("true", step="next")
    assert laptop.ended("next")["state"] == "SUCCEEDED"


FORGED: Final = json.dumps(
    {"key": "run-1/step/1", "state": "QUEUED", "runner": [], "log_id": [], "reason": 7, "message": 7, "outputs": 7}
)


@pytest.mark.parametrize(
    "make",
    [
        "os.mkfifo(name)",
        "os.mkdir(name)",
        "os.symlink('/dev/zero', name)",
        "open(name, 'w').write('[' * 1_000_000)",
        f"open(name, 'w').write({FORGED!r})",
    ],
)
def test_a_record_that_a_job_replaced_does_not_stop_the_next_server(tmp_path: Path, make: str) -> None:
    """If the server dies while a job has put something else in its record's place, the next one starts all the same."""
    laptop = Laptop(tmp_path)
    laptop.python(f"import os; name = '.job.json'; os.remove(name); {make}{WAIT}")
    laptop.started("up")
    laptop.kill()
    after = Laptop(tmp_path)
    try:
        answer = after.call("GET", "/jobstatus?job_id=run-1/step/1")
        assert (answer.status_code, "remove that folder" in answer.text) == (400, True)
        after.submit("true", step="next")
        assert after.ended("next")["state"] == "SUCCEEDED"
    finally:
        after.kill()


def test_a_list_of_jobs_that_was_cut_short_does_not_stop_the_next_server(tmp_path: Path) -> None:
    """A disk that was full may leave half a character in the list of a server's jobs."""
    (tmp_path / "jobs" / ".runners").mkdir(parents=True)
    (tmp_path / "jobs" / ".runners" / "abandoned").write_bytes("run-1/é".encode()[:-1])
    Laptop(tmp_path).kill()


def test_a_record_is_its_owner_s(laptop: Laptop) -> None:
    """Outputs and messages are for the user alone, even if the folders were opened to others."""
    laptop.submit("true")
    laptop.ended()
    assert (laptop.files() / ".job.json").stat().st_mode & 0o777 == 0o600


@on_linux
def test_a_job_that_stops_its_keeper_is_killed_all_the_same(tmp_path: Path) -> None:
    """A keeper that gets SIGSTOP goes on at once, so its job can still be stopped."""
    laptop = Laptop(tmp_path, "--grace=0.1")
    try:
        laptop.python(f"import os, signal; os.kill(os.getppid(), signal.SIGSTOP){WAIT}")
        laptop.started("up")
        laptop.stop_job()
        assert laptop.ended()["state"] == "CANCELLED"
    finally:
        laptop.kill()


def stop_warden(laptop: Laptop) -> None:
    """Stop the warden (SIGSTOP), and kill the server."""
    laptop.warden().suspend()
    laptop.kill()


def stop_keeper_and_kill_warden(laptop: Laptop) -> None:
    """Stop the warden and its keeper, kill the warden, and wait until the server ends."""
    warden = laptop.warden()
    (keeper,) = warden.children()
    warden.suspend()
    keeper.suspend()
    warden.kill()
    laptop.process.wait(WITHIN_S)


def kill_server_and_keeper(laptop: Laptop) -> None:
    """Kill the server and a keeper at the same time."""
    (keeper,) = laptop.warden().children()
    laptop.process.kill()
    keeper.kill()
    laptop.process.wait(WITHIN_S)


def kill_warden_and_keeper(laptop: Laptop) -> None:
    """Kill the warden and a keeper at the same time."""
    warden = laptop.warden()
    (keeper,) = warden.children()
    warden.suspend()  # It must not see the keeper's end.
    keeper.kill()
    warden.kill()
    laptop.process.wait(WITHIN_S)


ENDS: Final = [stop_warden, stop_keeper_and_kill_warden, kill_server_and_keeper, kill_warden_and_keeper]


@on_linux
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_when_two_parts_fail(tmp_path: Path, end: Callable[[Laptop], None]) -> None:
    """Even if two of the processes above a job are stopped or killed at once, the job and its daemons are killed."""
    laptop = Laptop(tmp_path)
    laptop.python(
        f"import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif os.fork() == 0: os.setsid(){WAIT}"
    )
    laptop.started("up")
    ours = laptop.descendants()
    end(laptop)
    eventually(lambda: gone(ours), within_s=WITHIN_S, what="the end of every process")


FORK_FAILS_ONCE: Final = """
import os, runpy, sys
real, calls = os.fork, []

def fork():
    calls.append(1)
    if len(calls) == 1:
        raise BlockingIOError('no more processes')
    return real()

os.fork = fork
runpy.run_path(sys.argv[1], run_name='__main__')
"""


def test_a_job_that_cannot_have_a_keeper_fails_alone() -> None:
    """If no process can be forked for a job, only that job fails, and its supervisor goes on."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-I", "-S", "-c", FORK_FAILS_ONCE, str(warden.__file__)]
            process = subprocess.Popen(command, stdin=theirs.fileno(), start_new_session=True)
        with process:
            answers = [ask_for_keeper(ours) for _ in range(2)]
            ours.close()
    assert (answers, process.returncode) == ([b"", b"e"], 0)


@on_linux
def test_what_a_keeper_that_failed_leaves_is_killed(tmp_path: Path) -> None:
    """If a keeper ends because of an error of its own, its job's processes are killed as if it had been killed."""
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\nos._exit(0)"
    spec = {"argv": [sys.executable, "-IS", "-c", code], "cwd": str(tmp_path), "env": {}, "log": os.devnull}
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-I", "-S", str(warden.__file__)]
        process = subprocess.Popen(command, stdin=theirs.fileno(), start_new_session=True)
    job, end = socket.socketpair()
    with process, ours, job:
        with end:
            socket.send_fds(ours, [b"j"], [end.fileno()])
        job.sendall(json.dumps({**spec, "stop": None, "kill": None, "linger_s": "an error"}).encode() + b"\n")
        assert job.recv(100) == b""
        children = psutil.Process(process.pid).children
        eventually(lambda: not children(recursive=True), within_s=WITHIN_S, what="the end of the daemon")


def ask_for_keeper(jobs: socket.socket) -> bytes:
    """Send an empty job, and return the first byte of what is said about it, or nothing."""
    spec = {"argv": ["/no/such"], "cwd": "/", "env": {}, "log": os.devnull, "log_bytes": 1, "grace_s": 0}
    job, end = socket.socketpair()
    with job:
        with end:
            socket.send_fds(jobs, [b"j"], [end.fileno()])
        job.settimeout(WITHIN_S)
        try:
            job.sendall(json.dumps({**spec, "linger_s": 0, "stop": None, "kill": None}).encode() + b"\n")
            return job.recv(100)[2:3]
        except ConnectionError:
            return b""


@pytest.mark.parametrize("length", ["9" * 5_000, "9" * 21, "-1", "1e3", ""])
def test_an_absurd_length_is_refused(laptop: Laptop, length: str) -> None:
    """A length that is no number, or too large for one, gets an answer and disturbs no one."""
    port = int(laptop.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as connection:
        connection.sendall(f"POST /job HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
        assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    """A server whose secret file is empty does not start, since everyone would know its secret."""
    (tmp_path / "secret").write_text("\n")
    options = [f"--folder={tmp_path / 'jobs'}", f"--secret-file={tmp_path / 'secret'}"]
    process = subprocess.Popen([sys.executable, "-m", "atom_emulator.laptop_runner", *options])
    assert process.wait(WITHIN_S) == 1
