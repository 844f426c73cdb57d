"""The whole platform, with functions that only print what reached them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from atom_emulator.platform.errors import PartCrashed, PortTaken
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.network import answers_http
from atom_emulator.platform.options import PartName, PlatformOptions
from support.services import need
from unit.emulator.platform.processes import Descendants, family, gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

STUBS = Path(__file__).parent / "stub_functions"


def options(folder: Path, **changed: Any) -> PlatformOptions:
    """Build the options of a platform with stub functions and quick ticks."""
    defaults: dict[str, Any] = {
        "functions_dir": STUBS,
        "log_dir": folder / "logs",
        "tick_every_s": 0.05,
        "bucket": None,
    }
    return PlatformOptions(**defaults | changed)


def received(platform: LocalPlatform, function: PartName) -> list[dict[str, Any]]:
    """List what a stub function has printed."""
    lines = (platform.log_dir / f"{function}.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_parts_start_serve_and_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part answers, and the end leaves no process or file behind."""
    descendants = Descendants()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    with LocalPlatform(options(tmp_path, environment={"THREADS": "3"})) as platform:
        processes = descendants.now()
        until(lambda: received(platform, PartName.CHECKER))
        assert set(platform.addresses) == set(platform.start_seconds) == set(PartName) - {PartName.STORAGE}
        url = platform.environment["WORKFLOW_TASK_RUNNER_URL"]
        assert requests.get(f"{url}/jobstatus?job_id=x", timeout=60).status_code == 404
    tick = received(platform, PartName.CHECKER)[0]
    assert tick["body"] == {"type": "tick"}
    assert tick["source"] == "//pubsub.googleapis.com/projects/atom-local/topics/tick"
    assert tick["environment"] == {
        "FIRESTORE_EMULATOR_HOST": platform.environment["FIRESTORE_EMULATOR_HOST"],
        "GOOGLE_CLOUD_PROJECT": "atom-local",
        "THREADS": "3",
    }
    assert json.loads(platform.task_runner_log.read_text())["status"] == 404
    assert gone(processes)
    assert not list((tmp_path / "scratch").iterdir())


def test_the_checker_hears_from_the_mock_that_a_job_has_ended(tmp_path: Path) -> None:
    """A job that notifies is reported to the topic `jobs`, which is pushed to the checker."""
    script = tmp_path / "script.yaml"
    script.write_text("default: {duration: 0.2, notifies: true}")
    with LocalPlatform(options(tmp_path, tick_every_s=1000, task_runner_script=script)) as platform:
        url = platform.environment["WORKFLOW_TASK_RUNNER_URL"]
        job = {"job_name": "load", "scaleTier": "BASIC", "labels": {"workflow": "daily", "type": "step"}}
        requests.post(f"{url}/job", json=job, headers={"Idempotency-Key": "run/load/1"}, timeout=60)
        until(lambda: [one for one in received(platform, PartName.CHECKER) if one["body"]["type"] == "job.ended"])
    [hint] = [one for one in received(platform, PartName.CHECKER) if one["body"]["type"] == "job.ended"]
    assert hint["body"] == {"type": "job.ended", "idempotency_key": "run/load/1"}
    assert hint["source"] == "//pubsub.googleapis.com/projects/atom-local/topics/jobs"


def test_a_task_runner_that_runs_jobs_has_a_secret_and_reports_ends(tmp_path: Path) -> None:
    """A platform that runs jobs takes them only with the functions' token, and the checker hears of their ends."""
    jobs_dir = tmp_path / "jobs"
    with LocalPlatform(options(tmp_path, tick_every_s=1000, runner="process", jobs_dir=jobs_dir)) as platform:
        url, secret = (platform.environment[name] for name in ("WORKFLOW_TASK_RUNNER_URL", "WORKFLOW_TR_AUTH_JWT"))
        assert "WORKFLOW_TR_AUTH_JWT" not in platform.shown_environment
        headers = {"Idempotency-Key": "run/load/1"}
        job = {"engine": "process", "args": ["touch", "ran"]}
        assert requests.post(f"{url}/job", json=job, headers=headers, timeout=60).status_code == 401
        headers["Authorization"] = f"Bearer {secret}"
        assert requests.post(f"{url}/job", json=job, headers=headers, timeout=60).json()["job"]["notifies"] is True
        until(lambda: [one for one in received(platform, PartName.CHECKER) if one["body"]["type"] == "job.ended"])
    assert (jobs_dir / "run" / "load" / "1" / "ran").exists()


def test_a_killed_task_runner_reports_the_jobs_that_died_with_it(tmp_path: Path) -> None:
    """A Task Runner that is replaced reports the jobs of the killed one as failed, at the same address."""
    revived = frozenset({PartName.TASK_RUNNER})
    with LocalPlatform(options(tmp_path, runner="process", jobs_dir=tmp_path / "jobs", revived=revived)) as platform:
        url, secret = (platform.environment[name] for name in ("WORKFLOW_TASK_RUNNER_URL", "WORKFLOW_TR_AUTH_JWT"))
        headers = {"Idempotency-Key": "run/load/1", "Authorization": f"Bearer {secret}"}
        job = {"engine": "process", "args": ["sleep", "600"]}
        requests.post(f"{url}/job", json=job, headers=headers, timeout=60)
        os.killpg(platform.process_group(PartName.TASK_RUNNER), signal.SIGKILL)

        def reason() -> str:
            try:
                answer = requests.get(f"{url}/jobstatus?job_id=run/load/1", headers=headers, timeout=60)
            except requests.ConnectionError:
                return ""
            return str(answer.json().get("job", {}).get("reason", ""))

        until(lambda: reason() == "RUNNER_DIED")


def test_two_platforms_run_side_by_side(tmp_path: Path) -> None:
    """Two platforms share no port and no file."""
    given = "http://127.0.0.1:1"
    with (
        LocalPlatform(options(tmp_path / "a")) as first,
        LocalPlatform(options(tmp_path / "b", task_runner_url=given)) as second,
    ):
        assert not set(first.addresses.values()) & set(second.addresses.values())
        assert second.environment["WORKFLOW_TASK_RUNNER_URL"] == given
        assert not (second.log_dir / "task-runner.log").exists()
        until(lambda: received(first, PartName.CHECKER) and received(second, PartName.CHECKER))


def test_a_crashing_part_ends_the_platform(tmp_path: Path) -> None:
    """A killed part ends the platform, which names it."""
    descendants = Descendants()
    platform = LocalPlatform(options(tmp_path)).__enter__()
    processes = descendants.now()
    servers = [process for process in processes if "atom_emulator.pubsub" in process.cmdline()]
    servers[-1].kill()
    with pytest.raises(PartCrashed) as caught:
        platform.wait(60)
    with pytest.raises(PartCrashed):
        platform.__exit__(None, None, None)
    assert (caught.value.part, caught.value.exit_code) == ("pubsub", 137)
    assert gone(processes)


def test_killed_functions_and_task_runners_are_replaced(tmp_path: Path) -> None:
    """Revived parts return at their addresses, and the Task Runner keeps its jobs."""
    revived = frozenset({PartName.CHECKER, PartName.TASK_RUNNER})
    chosen = options(tmp_path, revived=revived, task_runner_journal=tmp_path / "jobs.jsonl")
    with LocalPlatform(chosen) as platform:
        url = platform.environment["WORKFLOW_TASK_RUNNER_URL"]
        body = {"job_name": "load", "scaleTier": "BASIC", "labels": {"workflow": "daily", "type": "step"}}
        job_id = requests.post(f"{url}/job", json=body, timeout=60).json()["job"]["jobId"]
        for part in revived:
            os.killpg(platform.process_group(part), signal.SIGKILL)
        seen = len(received(platform, PartName.CHECKER))
        assert requests.get(platform.addresses[PartName.CHECKER], timeout=60).status_code
        until(lambda: answers_http(url.removeprefix("http://")))
        assert requests.get(f"{url}/jobstatus?job_id={job_id}", timeout=60).json()["job"]["state"] == "SUCCEEDED"
        until(lambda: len(received(platform, PartName.CHECKER)) > seen)
        assert platform.revivals == dict.fromkeys(revived, 1)


def test_a_server_that_holds_the_state_cannot_be_revived() -> None:
    """Only parts whose death loses nothing for good may be named."""
    with pytest.raises(ValueError, match="firestore cannot be revived"):
        PlatformOptions(revived=frozenset({PartName.FIRESTORE, PartName.START}))


def test_a_function_that_cannot_be_loaded_is_reported(tmp_path: Path) -> None:
    """An error at import ends the start with the function and the traceback."""
    descendants = Descendants()
    broken = tmp_path / "functions"
    shutil.copytree(STUBS, broken)
    (broken / "dispatcher" / "main.py").write_text("raise RuntimeError('half a deployment')\n")
    with pytest.raises(PartCrashed, match="half a deployment") as caught:
        LocalPlatform(options(tmp_path, functions_dir=broken)).__enter__()
    assert caught.value.part == "dispatcher"
    assert gone(descendants.now())


def test_a_crash_is_reported_whatever_the_start_was_doing(tmp_path: Path) -> None:
    """A function that crashes while topics are created is named, not the creation that ended with it."""
    broken = tmp_path / "functions"
    shutil.copytree(STUBS, broken)
    (broken / "dispatcher" / "main.py").write_text("raise RuntimeError('half a deployment')\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PartCrashed, match="half a deployment"):
            LocalPlatform(options(tmp_path, functions_dir=broken, pubsub_address=address)).__enter__()


@pytest.mark.parametrize("part", [PartName.FIRESTORE, PartName.START])
def test_a_taken_port_is_refused(part: PartName, tmp_path: Path) -> None:
    """A chosen port that is in use is named, and nothing is left running."""
    descendants = Descendants()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port}, chosen for {part}, is taken"):
            LocalPlatform(options(tmp_path, ports={part: port})).__enter__()
    assert gone(descendants.now())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the platform's command line, ready."""
    need("storage")
    command = [sys.executable, "-m", "atom_emulator.platform", "--functions-dir", str(STUBS)]
    command += ["--log-dir", str(tmp_path / "logs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        until(lambda: "# logs:" in str(process.stdout and process.stdout.readline()))
        yield process
        process.kill()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda signum: signum.name)
def test_no_process_outlives_the_platform(served: subprocess.Popen[str], signum: signal.Signals) -> None:
    """SIGINT, SIGTERM and SIGKILL of the platform end all its processes."""
    processes = family(served.pid)
    # itself; a launcher and a command for seven parts, and for the fork server; three gunicorn workers
    assert len(processes) == 18 + 2 * (sys.platform == "linux")
    served.send_signal(signum)
    assert served.wait(60) == (-signum if signum == signal.SIGKILL else 0)
    until(lambda: gone(processes), within_s=60)
