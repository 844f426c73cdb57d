"""Nothing of a job is left running, however it ends and whichever process is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import pytest

from support.deadline import eventually
from unit.emulator.laptop_runner.laptop import WITHIN_S, Laptop
from unit.emulator.platform.processes import gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")

FAMILY: Final = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def report(name):
    with open('pids', 'a') as file:
        file.write(f'{os.getpid()} ')

if os.fork() == 0:  # a child in the job's process group
    report('child')
    time.sleep(600)
if os.fork() == 0:  # a daemon: its own session, its parent gone
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    if os.fork() == 0:
        report('grandchild')
        time.sleep(600)
    report('daemon')
    time.sleep(600)
report('first')
"""
"""Four processes that ignore SIGTERM, of which one is of the job's group and two have left it."""

ENDS: Final = {
    "exit": "while open('pids').read().count(' ') < 4: time.sleep(0.01)\n",
    "wait": "time.sleep(600)\n",
}


def family_of(laptop: Laptop, code: str, step: str = "step", timeout_s: int | None = None) -> list[psutil.Process]:
    """Start a job of four processes, and return them."""
    laptop.python(code, step=step, timeout_s=timeout_s)
    file = laptop.files(step) / "pids"
    eventually(lambda: file.exists() and file.read_text().count(" ") == 4, within_s=WITHIN_S, what="four processes")
    found = []
    for pid in file.read_text().split():
        try:
            found.append(psutil.Process(int(pid)))
        except psutil.NoSuchProcess:
            continue
    return found


def test_what_a_job_leaves_behind_is_killed(laptop: Laptop) -> None:
    """When a job's first process ends, its children and daemons are killed before its end is reported."""
    processes = family_of(laptop, FAMILY + ENDS["exit"])
    assert laptop.ended()["state"] == "SUCCEEDED"
    assert gone(processes)


def test_a_stopped_job_is_killed_with_all_its_processes(tmp_path: Path) -> None:
    """A job that ignores SIGTERM is killed after the grace period, and is CANCELLING until nothing of it runs."""
    laptop = Laptop(tmp_path, "--grace=0.3")
    try:
        processes = family_of(laptop, FAMILY + ENDS["wait"])
        answer = laptop.stop_job()
        assert answer.status_code == 200
        assert answer.json()["job"]["state"] == "CANCELLING"
        assert laptop.stop_job().status_code == 200
        assert laptop.ended()["state"] == "CANCELLED"
        assert gone(processes)
        assert laptop.stop_job().json()["job"]["state"] == "CANCELLED"
    finally:
        laptop.kill()


def test_a_stopped_job_may_end_by_itself(laptop: Laptop) -> None:
    """A job that is stopped gets SIGTERM first."""
    laptop.python(
        "import signal, sys, time, pathlib\n"
        "def end(*_): print('cleaned up', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); pathlib.Path('up').write_text('up'); time.sleep(600)"
    )
    laptop.started("up")
    laptop.stop_job()
    assert laptop.ended()["state"] == "CANCELLED"
    assert (laptop.files() / "job.log").read_text() == "cleaned up\n"


def test_a_queued_job_is_cancelled_at_once(laptop: Laptop) -> None:
    """A job that waits for a slot never starts once it is stopped."""
    for step in ("a", "b", "c"):
        laptop.python("import time; time.sleep(600)", step=step)
    assert laptop.stop_job("c").json()["job"]["state"] == "CANCELLED"
    assert not (laptop.files("c") / "job.log").exists()


def test_a_job_is_stopped_at_its_time_limit(tmp_path: Path) -> None:
    """A job whose time is up is killed with all its processes, and FAILED with the reason TIMEOUT."""
    laptop = Laptop(tmp_path, "--grace=0.3")
    try:
        processes = family_of(laptop, FAMILY + "print('so far', flush=True)\n" + ENDS["wait"], timeout_s=2)
        job = laptop.ended()
        assert (job["state"], job["reason"]) == ("FAILED", "TIMEOUT")
        assert job["message"] == "stopped at its time limit of 2s; the end of its log:\nso far"
        assert gone(processes)
    finally:
        laptop.kill()


def test_a_job_that_never_started_says_so(tmp_path: Path) -> None:
    """A job whose time is up, or that is stopped, while it waits for a slot reports that it never started."""
    laptop = Laptop(tmp_path, "--slots=1")
    try:
        laptop.python("import time; time.sleep(600)", step="first")
        laptop.python("pass", step="late", timeout_s=1)
        laptop.python("pass", step="stopped")
        why = "waiting for a free processor, as at most 1 job runs at a time"
        late = laptop.ended("late")
        assert (late["state"], late["reason"]) == ("FAILED", "TIMEOUT")
        assert late["message"] == f"never started: for 1s, it was {why}"
        stopped = laptop.stop_job("stopped").json()["job"]
        assert (stopped["state"], stopped["message"]) == (
            "CANCELLED",
            f"stopped on request before it was started, while {why}",
        )
    finally:
        laptop.kill()


def test_a_job_killed_from_outside_takes_its_processes_along(laptop: Laptop) -> None:
    """If someone kills a job's first process, its others are killed, and the job reports the signal."""
    processes = family_of(laptop, FAMILY + "open('first', 'w').write(str(os.getpid()))\n" + ENDS["wait"])
    os.kill(int(laptop.started("first")), signal.SIGKILL)
    assert laptop.ended()["reason"] == "SIGNAL_9"
    assert gone(processes)


def keeper_of(laptop: Laptop) -> psutil.Process:
    """Return the process that supervises the one job."""
    (keeper,) = laptop.warden().children()
    return keeper


def kill_with_sigterm(laptop: Laptop) -> None:
    """Stop the server by SIGTERM."""
    laptop.process.terminate()


def kill_server(laptop: Laptop) -> None:
    """Kill the server."""
    laptop.process.kill()


def kill_warden(laptop: Laptop) -> None:
    """Kill the warden."""
    laptop.warden().kill()


def interrupt(laptop: Laptop) -> None:
    """Send SIGINT."""
    laptop.process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("end", [interrupt, kill_with_sigterm, kill_server, kill_warden])
def test_jobs_die_with_the_server_and_are_reported_by_the_next(tmp_path: Path, end: Callable[[Laptop], None]) -> None:
    """However the server ends, its jobs end; the next one reports them FAILED with the reason RUNNER_DIED."""
    laptop = Laptop(tmp_path, "--slots=1")
    processes = family_of(laptop, FAMILY + ENDS["wait"])
    laptop.python("pass", step="queued")
    ours = laptop.descendants()
    end(laptop)
    laptop.process.wait(WITHIN_S)
    eventually(lambda: gone([*processes, *ours]), within_s=WITHIN_S, what="the end of every process")
    after = Laptop(tmp_path)
    try:
        for step in ("step", "queued"):
            job = after.status(step)
            assert (job["state"], job["reason"]) == ("FAILED", "RUNNER_DIED")
            assert after.python("pass", step=step)["state"] == "FAILED"
        assert len(list((after.folder / ".runners").iterdir())) == 1
    finally:
        after.kill()


def test_a_killed_keeper_takes_its_job_along(laptop: Laptop) -> None:
    """If the process that supervises one job is killed, the job's processes end, and other jobs go on."""
    processes = family_of(laptop, FAMILY + ENDS["wait"])
    keeper = keeper_of(laptop)
    others = family_of(laptop, FAMILY + ENDS["wait"], step="other")
    keeper.kill()
    assert laptop.ended()["reason"] == "RUNNER_DIED"
    eventually(lambda: gone(processes), within_s=WITHIN_S, what="the end of the job's processes")
    assert laptop.status("other")["state"] == "RUNNING"
    assert not gone(others[:1])
    assert len(psutil.Process(laptop.process.pid).children()) == 1


def test_the_server_stays_up_when_jobs_are_stopped_as_they_start(laptop: Laptop) -> None:
    """A job may be stopped at any moment; it ends as CANCELLED and leaves nothing behind."""
    for number in range(20):
        laptop.python("import time; time.sleep(600)", step=f"s{number}")
        laptop.stop_job(f"s{number}")
    assert {laptop.ended(f"s{number}")["state"] for number in range(20)} == {"CANCELLED"}
    eventually(lambda: len(laptop.descendants()) == 1, within_s=WITHIN_S, what="the warden alone")
