"""Jobs that really run: the command line with `--runner process`, down to the processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from atom_emulator.platform.project_folder import ProjectFolder
from e2e.console import command, console, surroundings
from support.deadline import eventually
from unit.emulator.laptop_runner.docker import IMAGE, running_daemon
from unit.emulator.platform.processes import gone

ROOT: Final = Path(__file__).parents[2]
ORDERS: Final = "examples/orders/orders.yaml"
WITHIN_S: Final = 120.0
needs_subreaper = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")

ROWS: Final = "${{ steps.a.outputs.rows }}"

DAEMON: Final = """\
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], 'a').write(f'{os.getpid()} ')
        time.sleep(600)
    os._exit(0)
open(sys.argv[1], 'a').write(f'{os.getpid()} ')
time.sleep(600)
"""


def workflow(folder: Path, *steps: dict[str, Any]) -> Path:
    """Write a workflow whose tasks are programs."""
    file = folder / "wf.yaml"
    written = [{"id": one.pop("id"), **one.pop("more", {}), "task": {"engine": "process", **one}} for one in steps]
    file.write_text(json.dumps({"name": "wf", "steps": written}))
    return file


@contextmanager
def running(*words: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command for the duration of the block."""
    process = subprocess.Popen(
        command(*words), cwd=cwd, env=surroundings(None), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_first_example_computes_its_result(tmp_path: Path) -> None:
    """The example that `make run` runs computes a result that a person can check, and leaves reports and logs."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    answer = console(None, "run", ORDERS, "--runner", "process", cwd=tmp_path)
    shown = answer.succeeded()
    assert "euros = 500500" in shown
    assert "dropped = 30" in shown
    warning = shown.partition("Starting a local platform")[0]
    assert "can do whatever that user can" in warning
    assert "Other users of this machine could" not in warning
    jobs = Path(re.findall(r"^Jobs: (.+)$", shown, flags=re.MULTILINE)[0].replace("~", str(Path.home())))
    assert {path.name for path in jobs.iterdir()} == {"generate", "clean", "north", "south", "east", "west", "report"}
    assert "500,500 euros" in (jobs / "report" / "1" / "job.log").read_text()


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    """A program that fails fails its step, with its exit code and its last lines."""
    file = workflow(tmp_path, {"id": "a", "args": ["sh", "-c", "echo no space left on device; exit 4"]})
    answer = console(None, "run", file, "--runner", "process", cwd=tmp_path)
    assert answer.code == 1
    assert "exit code 4" in answer.stdout
    assert "no space left on device" in answer.stdout


def test_a_job_that_waits_for_a_processor_says_so(tmp_path: Path) -> None:
    """A step whose job waits is shown as QUEUED until it starts; one that never starts says so when its time is up."""
    file = workflow(
        tmp_path,
        {"id": "a", "args": ["sleep", "3"]},
        {"id": "b", "more": {"dependsOn": []}, "args": ["sleep", "3"]},
        {"id": "late", "more": {"timeout": "1s"}, "args": ["echo", "hello"]},
    )
    for _ in range(5):
        answer = console(None, "run", file, "--runner", "process", "--slots", "1", cwd=tmp_path)
        # The jobs are submitted at the same time, so that any of them may come first.
        if "late SUCCEEDED" not in answer.stdout:
            break
    assert answer.code == 1
    why = "waiting for a free processor, as at most 1 job runs at a time"
    assert re.search(rf"([ab]) RUNNING: {why}\n(?s:.*)\1 RUNNING\n(?s:.*)\1 SUCCEEDED\n", answer.stdout)
    assert f"for 1s, it was {why}" in answer.stdout or f"before it was started, while {why}" in answer.stdout
    assert "its time limit" not in answer.stdout


def test_images_run_as_containers(tmp_path: Path) -> None:
    """With --runner docker, a task's image is run with its arguments, and its outputs reach the next one."""
    folder = tmp_path / "work"
    folder.mkdir()
    write = "import os; open(os.environ['ATOM_OUTPUTS'], 'w').write('{\"rows\": 12}')"
    tasks = [{"imageUri": IMAGE, "args": [sys.executable, "-c", write]}, {"imageUri": IMAGE, "args": ["echo", ROWS]}]
    steps = [{"id": "a", "task": tasks[0], "outputs": {"rows": "int"}}, {"id": "b", "dependsOn": "a", "task": tasks[1]}]
    file = folder / "wf.yaml"
    file.write_text(json.dumps({"name": "wf", "steps": steps}))
    with running_daemon(tmp_path) as (command_of_docker, _):
        path = f"{command_of_docker.parent}:{os.environ['PATH']}"
        answer = console(None, "run", file, "--runner", "docker", cwd=folder, PATH=path)
    assert "run as containers" in answer.succeeded().partition("Starting")[0]
    (log,) = folder.glob(".atom-workflows/jobs/*/b/1/job.log")
    assert log.read_text() == "12\n"


def test_a_missing_docker_is_explained(tmp_path: Path) -> None:
    """Without docker and podman, or with a daemon that does not answer, nothing is started."""
    (tmp_path / "bin").mkdir()
    file = workflow(tmp_path, {"id": "a", "args": ["true"]})
    answer = console(None, "run", file, "--runner", "docker", cwd=tmp_path, PATH=str(tmp_path / "bin"))
    assert answer.code == 2
    assert "neither docker nor podman is installed" in answer.stderr


def test_a_mock_says_so_and_how_to_run_jobs(tmp_path: Path) -> None:
    """With the mock, the output says that no jobs actually run, and how to change that."""
    answer = console(None, "run", ROOT / "examples" / "fork_join.yaml", cwd=tmp_path)
    assert "No jobs actually run" in answer.succeeded()
    assert "--runner process" in answer.stdout


def test_a_forgotten_option_is_named_before_the_run(tmp_path: Path) -> None:
    """Programs that the mock would answer for are a warning on stderr, with the option that runs them."""
    step = {"id": "a", "args": ["./make.py"], "more": {"outputs": {"file": "text"}}}
    answer = console(None, "run", workflow(tmp_path, step), cwd=tmp_path)
    assert answer.code == 1
    assert "succeeded without the outputs" in answer.stdout
    (warning,) = [line for line in answer.stderr.splitlines() if "mock" in line]
    assert "the program of `a`" in warning
    assert warning.endswith("add --runner process")


def test_local_up_names_the_folder_of_its_jobs(tmp_path: Path) -> None:
    """With --runner process, `local up` prints where the jobs' files will be."""
    with running("local", "up", "--runner", "process", cwd=tmp_path) as process:
        assert process.stdout is not None
        printed = []
        for line in iter(process.stdout.readline, ""):
            printed.append(line)
            if "Ctrl-C" in line:
                break
        process.send_signal(signal.SIGINT)
        process.wait(WITHIN_S)
    assert "export ATOM_LOCAL_RUNNER=process\n" in printed
    (folder,) = [line for line in printed if line.startswith("# jobs ")]
    assert folder.rstrip().endswith("/.atom-workflows/jobs")


def test_an_interrupted_run_says_that_nothing_is_cleaned_up(tmp_path: Path) -> None:
    """Ctrl-C says that steps under `finally` do not run, how they would, and where the files are."""
    wait = ["sh", "-c", "touch ../../../../up; sleep 600"]
    clean_up = {"id": "b", "task": {"engine": "process", "args": ["touch", str(tmp_path / "cleaned")]}}
    file = tmp_path / "wf.yaml"
    step = {"id": "a", "task": {"engine": "process", "args": wait}}
    file.write_text(json.dumps({"name": "wf", "steps": [step], "finally": [clean_up]}))
    with running("run", file, "--runner", "process", cwd=tmp_path) as process:
        eventually((tmp_path / ".atom-workflows" / "up").exists, within_s=WITHIN_S, what="the job")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=WITHIN_S)
    ended, rest, logs, jobs = said[said.index("The platform has stopped") :].splitlines()[:4]
    assert ended.startswith("The platform has stopped, and the run with it. Its steps under `finally` will not run")
    assert ended.endswith("`atom-workflows runs cancel` runs them.")
    assert "`atom-workflows runs retry wf-" in rest
    assert (logs[:6], jobs[:6]) == ("Logs: ", "Jobs: ")
    assert not (tmp_path / "cleaned").exists()


def test_the_secret_is_nowhere_to_be_read(tmp_path: Path) -> None:
    """The Task Runner's secret is in no argument, log, record or document, and no job's environment."""
    file = workflow(tmp_path, {"id": "a", "args": [sys.executable, "-c", "import time; time.sleep(600)"]})
    with running("local", "up", "--runner", "process", "--json", cwd=tmp_path) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        warning = next(lines)
        assert "Anyone who can publish messages to the platform" in warning
        described = json.loads(_read_object(lines))
        assert "WORKFLOW_TR_AUTH_JWT" not in described["environment"]
        parts = psutil.Process(process.pid).children(recursive=True)
        (file_of_secret,) = {
            word.removeprefix("--secret-file=")
            for part in parts
            for word in _command_of(part).split()
            if word.startswith("--secret-file=")
        }
        secret = Path(file_of_secret).read_text()
        assert len(secret) >= 43
        assert not any(secret in _command_of(part) for part in parts)
        environment = {**described["environment"]}
        with running_with(environment, "run", file, cwd=tmp_path):
            job = eventually(lambda: _jobs_of(process.pid), within_s=WITHIN_S, what="the job")[0]
            assert secret not in json.dumps(job.environ())
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in files if secret in path.read_text(errors="replace")]
        process.send_signal(signal.SIGINT)
        process.wait(WITHIN_S)


@contextmanager
def running_with(environment: dict[str, str], *words: str | Path, cwd: Path) -> Iterator[None]:
    """Run a command with these variables for the duration of the block."""
    process = subprocess.Popen(
        command(*words), cwd=cwd, env={**surroundings(None), **environment}, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _read_object(lines: Iterator[str]) -> str:
    text = ""
    for line in lines:
        text += line
        if line == "}\n":
            return text
    raise AssertionError(text)


def _jobs_of(pid: int) -> list[psutil.Process]:
    """Return the jobs among a platform's processes."""
    return [one for one in psutil.Process(pid).children(recursive=True) if "time.sleep(600)" in _command_of(one)]


def _command_of(process: psutil.Process) -> str:
    """Return a process's command line, or "" if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_platform_for_one_file_runs_no_other(tmp_path: Path) -> None:
    """While `run --runner process` is up, a file that comes by message cannot run programs."""
    waiting = workflow(tmp_path, {"id": "a", "args": ["sh", "-c", "touch ../../../../up; sleep 600"]})
    with running("run", waiting, "--runner", "process", "--log-dir", "logs", cwd=tmp_path):
        eventually((tmp_path / ".atom-workflows" / "up").exists, within_s=WITHIN_S, what="the first job")
        folder = ProjectFolder.of(tmp_path)
        (run_id,) = folder.runs_under_way()
        environment = folder.platform_of_run(run_id)
        assert environment is not None
        other = tmp_path / "other"
        other.mkdir()
        file = workflow(other, {"id": "b", "args": ["touch", str(tmp_path / "executed")]})
        answer = subprocess.run(
            command("run", file),
            cwd=other,
            env={**surroundings(None), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    assert answer.returncode == 1, answer
    assert "local up --runner" in answer.stdout
    assert "roles/run.invoker" not in answer.stdout  # Advice about Google Cloud would mislead.
    assert not (tmp_path / "executed").exists()


def part(name: str) -> Callable[[subprocess.Popen[str]], psutil.Process]:
    """Return a function that finds a part of the platform by its command line."""

    def find(process: subprocess.Popen[str]) -> psutil.Process:
        return [one for one in psutil.Process(process.pid).children(recursive=True) if name in _command_of(one)][-1]

    return find


def launcher(process: subprocess.Popen[str]) -> psutil.Process:
    """Return the process that supervises the Task Runner."""
    found = part("atom_emulator.laptop_runner")(process).parent()
    assert found is not None
    return found


def itself(process: subprocess.Popen[str]) -> psutil.Process:
    """Return the command."""
    return psutil.Process(process.pid)


@needs_subreaper
@pytest.mark.parametrize(
    ("victim", "signum"),
    [
        (itself, signal.SIGINT),
        (itself, signal.SIGTERM),
        (itself, signal.SIGKILL),
        (part("atom_emulator.laptop_runner"), signal.SIGKILL),
        (launcher, signal.SIGKILL),
        (part("warden.py"), signal.SIGKILL),
        (part("atom_emulator.pubsub"), signal.SIGKILL),
    ],
    ids=["Ctrl-C", "SIGTERM", "command", "runner", "launcher", "warden", "Pub/Sub"],
)
def test_nothing_is_left_running(
    tmp_path: Path, victim: Callable[[subprocess.Popen[str]], psutil.Process], signum: signal.Signals
) -> None:
    """After Ctrl-C, or the death of any part, no process of the platform or of a job is left, daemons included."""
    pids = tmp_path / "pids"
    file = workflow(tmp_path, {"id": "a", "args": [sys.executable, "-c", DAEMON, str(pids)]})
    with running("run", file, "--runner", "process", "--log-dir", "logs", cwd=tmp_path) as process:
        eventually(
            lambda: pids.exists() and pids.read_text().count(" ") == 2, within_s=WITHIN_S, what="the job's processes"
        )
        jobs = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
        parts = psutil.Process(process.pid).children(recursive=True)
        os.kill(victim(process).pid, signum)
        process.communicate(timeout=WITHIN_S)
        eventually(lambda: gone([*jobs, *parts]), within_s=WITHIN_S, what="the end of every process")


def test_two_hundred_programs_each_run_once(tmp_path: Path) -> None:
    """A fan of 200 programs runs each of them once."""
    count = "import os, time; open('../../runs', 'a').write('x'); time.sleep(0.02)"
    steps = [{"id": f"s{n}", "args": [sys.executable, "-I", "-S", "-c", count]} for n in range(200)]
    answer = console(None, "run", workflow(tmp_path, *steps), "--runner", "process", cwd=tmp_path)
    assert "200 steps" in answer.succeeded()
    (runs,) = (tmp_path / ".atom-workflows" / "jobs").glob("*/runs")
    assert runs.read_text() == "x" * 200
