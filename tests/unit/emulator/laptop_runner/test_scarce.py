"""Something is missing when a job is to start: only that job fails, and its slot is free again."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest

from support.deadline import eventually
from unit.emulator.laptop_runner.docker import IMAGE, running_daemon
from unit.emulator.laptop_runner.laptop import WITHIN_S, Laptop


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_a_job_fails_alone_when_no_more_files_can_be_opened(tmp_path: Path) -> None:
    """A job for which the server has no free file descriptor has FAILED, and the next one runs."""
    laptop = Laptop(tmp_path, "--slots=1")
    try:
        laptop.python("import os; open('pid', 'w').write(str(os.getpid())); import time; time.sleep(600)", step="first")
        laptop.submit("true", step="second")
        first, pid = int(laptop.started("pid", step="first")), laptop.process.pid
        eventually(lambda: not psutil.Process(pid).net_connections("tcp")[1:], within_s=WITHIN_S, what="no callers")
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds(), limits[1]))
        os.kill(first, signal.SIGKILL)
        record = laptop.files("second") / ".job.json"
        eventually(lambda: "FAILED" in record.read_text(), within_s=WITHIN_S, what="the end of the second job")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        assert "Too many open files" in laptop.status("second")["message"]
        laptop.submit("true", step="third")
        assert laptop.ended("third")["state"] == "SUCCEEDED"
    finally:
        laptop.kill()


def test_a_container_whose_folder_is_gone_fails_alone(tmp_path: Path) -> None:
    """A queued container whose folder was removed has FAILED when its turn comes, and the next one runs."""
    folder = tmp_path / "f"
    folder.mkdir()
    with running_daemon(tmp_path) as (command, _):
        laptop = Laptop(folder, "--engine=docker", f"--tool={command}", "--slots=1")
        try:
            for step, argv in {"a": ["sleep", "600"], "b": ["true"], "c": ["true"]}.items():
                body = {"job_name": step, "imageUri": IMAGE, "args": argv, "labels": {"workflow": "daily"}}
                laptop.call("POST", "/job", json=body, headers={"Idempotency-Key": f"run-1/{step}/1"})
            shutil.rmtree(laptop.files("b"))
            laptop.stop_job("a")
            assert laptop.ended("a")["state"] == "CANCELLED"
            assert laptop.ended("b")["reason"] == "NOT_STARTED"
            assert laptop.ended("c")["state"] == "SUCCEEDED"
        finally:
            laptop.kill()
