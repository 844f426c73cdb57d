"""What is left of runs when their platform has ended or was killed, and how commands find a platform."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest

from atom_emulator.platform.project_folder import ProjectFolder
from atom_emulator.ready_file import read_port
from e2e.console import Answer, console, started
from support.call_log import calls_of, submissions
from support.deadline import eventually
from support.workflows import definition

UP: Final = ("local", "up", "--no-bucket", "--json")
CHAIN: Final = {"first": [], "second": ["first"], "third": ["second"]}
SLEEPER: Final = {"steps": [{"id": "sleep", "task": {"engine": "process", "args": ["sleep", "600"]}}]}
FOREVER: Final = "600"
"""Seconds that no test lasts."""

GOES_ON_WITHIN_S: Final = 10.0
SOON_S: Final = 25.0
"""Less than a client tries to reach a platform that is gone."""


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a workflow file `flow.json`, in which no variable names a platform."""

    folder: Path

    def ask(self, *arguments: str) -> Answer:
        """Run a command there."""
        return console(None, *arguments, cwd=self.folder)

    def run(self) -> dict[str, Any]:
        """Return the newest run and its steps' states."""
        shown = json.loads(self.ask("runs", "show", "--last", "--json").succeeded())
        return {**shown["run"], "steps": {step["id"]: step["state"] for step in shown["steps"]}}

    def start(self, file: str) -> None:
        """Start a run, and wait until it is there."""
        run_id = json.loads(self.ask("start", file, "--json").succeeded())["run_id"]
        eventually(lambda: self.ask("runs", "show", run_id).code == 0, within_s=60, what="the run")

    def runs(self) -> list[dict[str, Any]]:
        """Return every run."""
        found: list[dict[str, Any]] = json.loads(self.ask("runs", "list", "--json").succeeded())["runs"]
        return found

    @contextmanager
    def up(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Yield a platform that is up."""
        with started(None, *UP, *options, cwd=self.folder) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "{\n"
            yield process

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a platform's own process, with which its parts end."""
        process.kill()
        process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project with a chain of three steps."""
    (tmp_path / "flow.json").write_text(definition(CHAIN))
    return Project(tmp_path)


@contextmanager
def outside(folder: Path, script: str) -> Iterator[tuple[str, Path]]:
    """Run a Task Runner that outlives platforms, and yield its URL and its log."""
    (folder / "script.yaml").write_text(script)
    log, ready = folder / "calls.jsonl", folder / "task-runner.json"
    options = ("--script", folder / "script.yaml", "--log", log, "--ready-file", ready)
    with ExitStack() as stack:
        command = [sys.executable, "-m", "atom_emulator.task_runner", *map(str, options)]
        process = stack.enter_context(subprocess.Popen(command))
        stack.callback(process.kill)
        port = eventually(lambda: read_port(ready), within_s=60, what="the Task Runner is up")
        yield f"http://127.0.0.1:{port}", log


def test_a_run_is_there_when_its_platform_has_ended(project: Project) -> None:
    """After `run`, its run is listed and shown without a platform, and what would change it says what is missing."""
    done = json.loads(project.ask("run", "flow.json", "--json").succeeded())
    listed = project.ask("runs", "list")
    assert done["run"]["id"] in listed.succeeded()
    assert listed.stderr == "No platform is up; this is the history in .atom-workflows.\n"
    shown = json.loads(project.ask("runs", "show", "--last", "--json").succeeded())
    assert {key: shown[key] for key in ("run", "steps")} == {key: done[key] for key in ("run", "steps")}
    assert "SUCCEEDED" in project.ask("runs", "watch", "flow.json").succeeded()
    assert (project.folder / ".atom-workflows" / ".gitignore").read_text() == "*\n"
    refused_without = (
        ["start", "flow.json"],
        ["start", "flow.json", "--wait"],
        ["dead-letters", "list"],
        ["doctor"],
        ["runs", "retry", "--last", "--from", "first", "--yes"],
        ["runs", "doctor", "--last"],
    )
    for words in refused_without:
        refused = project.ask(*words)
        assert (refused.code, "`atom-workflows local up` in another terminal" in refused.stderr) == (1, True), words
    cancelled = project.ask("runs", "cancel", "--last")
    assert (cancelled.code, "has ended" in cancelled.stderr) == (1, True), cancelled.stderr
    assert "SUCCEEDED" in project.ask("runs", "doctor", "--last", "--dry-run").succeeded()
    assert project.ask("local", "env").code == 1


def test_in_memory_keeps_nothing(project: Project) -> None:
    """With --in-memory there is no history."""
    project.ask("run", "flow.json", "--in-memory").succeeded()
    assert not (project.folder / ".atom-workflows" / "history.db").exists()


def test_a_platform_is_found_in_its_folder(project: Project) -> None:
    """Commands in the folder use the platform that is up there; a second one is refused, and told of the first."""
    with project.up() as process:
        requested = project.ask("start", "flow.json", "--wait", "--json")
        assert json.loads(requested.succeeded())["run"]["state"] == "SUCCEEDED"
        assert "this folder" in project.ask("run", "flow.json", "--runner", "mock").succeeded()
        assert len(project.runs()) == 2
        beside = project.ask("run", "flow.json", "--runner", "process")
        assert (beside.code, "--in-memory" in beside.stderr) == (2, True)
        exported = project.ask("local", "env").succeeded()
        environment = json.loads(project.ask("local", "env", "--json").succeeded())["environment"]
        assert f"export FIRESTORE_EMULATOR_HOST={environment['FIRESTORE_EMULATOR_HOST']}\n" in exported
        second = project.ask(*UP)
        assert second.code == 1
        assert f"`atom-workflows local up` (process {process.pid}) is using {project.folder}" in second.stderr
        project.ask("run", "flow.json", "--in-memory").succeeded()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert project.ask("local", "env").code == 1
    assert len(project.runs()) == 2
    with project.up():
        assert len(project.runs()) == 2


@pytest.mark.parametrize("moment", ["while a job runs", "while a job is submitted"])
def test_a_killed_platform_goes_on(project: Project, moment: str) -> None:
    """A run that was open at a kill goes on within ten seconds of the next start, and no job is given twice."""
    takes = {"while a job runs": "duration: 12", "while a job is submitted": "delay: 20"}[moment]
    with outside(project.folder, f"rules: [{{step: second, {takes}}}]") as (url, log):
        with project.up("--tr-url", url) as process:
            run_id = json.loads(project.ask("start", "flow.json", "--json").succeeded())["run_id"]

            def is_asked() -> bool:
                return any(call.step == "second" for call in calls_of(run_id, log.read_text().splitlines()))

            eventually(is_asked, within_s=60, what="the submission")
            project.kill(process)
        assert project.run()["state"] == "RUNNING"
        before = len(log.read_text().splitlines())
        with project.up("--tr-url", url):
            began = time.monotonic()
            eventually(lambda: len(log.read_text().splitlines()) > before, within_s=60, what="a call")
            assert time.monotonic() - began < GOES_ON_WITHIN_S
            eventually(lambda: project.run()["state"] == "SUCCEEDED", within_s=60, what="the end")
        calls = calls_of(run_id, log.read_text().splitlines())
        assert {call.key for call in calls if call.is_submission} == {f"{run_id}/{step}/1" for step in CHAIN}
        assert submissions(calls)["third"] == 1


def test_a_run_on_the_mock_goes_on(project: Project) -> None:
    """The mock of the next platform knows the jobs of the killed one, at whatever address it is."""
    with project.up("--mock-duration", FOREVER) as process:
        project.start("flow.json")
        eventually(lambda: "RUNNING" in project.run()["steps"].values(), within_s=60, what="a job")
        project.kill(process)
    # A mock decides anew how long the jobs take that it knows.
    with project.up("--mock-duration", "0"):
        eventually(lambda: project.run()["state"] == "SUCCEEDED", within_s=60, what="the end")
    assert project.run()["step_count"] == len(CHAIN)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_job_that_died_with_its_platform_fails_soon(project: Project, how: signal.Signals) -> None:
    """A job that was killed with its platform, however that ended, has failed within ten seconds of the next start."""
    (project.folder / "flow.json").write_text(json.dumps(SLEEPER))
    with project.up("--runner", "process") as process:
        project.start("flow.json")
        eventually(lambda: project.run()["steps"] == {"sleep": "RUNNING"}, within_s=60, what="a job")
        process.send_signal(how)
        process.communicate(timeout=60)
    assert project.run()["state"] == "RUNNING"
    with project.up("--runner", "process"):
        began = time.monotonic()
        eventually(lambda: project.run()["state"] == "FAILED", within_s=60, what="the end")
        assert time.monotonic() - began < GOES_ON_WITHIN_S
        assert "RUNNER_DIED" in project.ask("runs", "show", "--last").succeeded()


def test_a_killed_run_goes_on_with_local_up(project: Project) -> None:
    """What `run` has begun when it is killed, `local up` goes on with, if it is given the same kind of Task Runner."""
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        project.kill(process)
    refused = project.ask(*UP, "--runner", "process")
    assert (refused.code, "--runner mock" in refused.stderr) == (1, True)
    with project.up("--mock-duration", "0"):
        eventually(lambda: project.run()["state"] == "SUCCEEDED", within_s=60, what="the end")


def test_jobs_keep_their_script_over_a_kill(project: Project) -> None:
    """The jobs of a mock with a script go on as it said with a mock that has none, which warns of it."""
    script = {"rules": [{"step": "first", "duration": 8, "fail_times": 9, "message": "as scripted"}]}
    (project.folder / "mock.json").write_text(json.dumps(script))
    with project.up("--mock-script", "mock.json") as process:
        project.start("flow.json")
        eventually(lambda: project.run()["steps"]["first"] == "RUNNING", within_s=60, what="a job")
        project.kill(process)
    refused = project.ask(*UP, "--runner", "process")
    assert (refused.code, "--runner mock --mock-script mock.json" in refused.stderr) == (1, True)
    with project.up():
        eventually(lambda: project.run()["state"] == "FAILED", within_s=60, what="the end")
        assert "as scripted" in project.ask("runs", "show", "--last").succeeded()


def test_open_runs_that_need_different_runners_are_no_dead_end(project: Project) -> None:
    """If no platform can go on with all open runs, --cancel-others goes on with some and cancels the other ones."""
    (project.folder / "sleep.json").write_text(json.dumps({**SLEEPER, "concurrency": {"limit": 1}}))
    with project.up("--runner", "process") as process:
        project.start("sleep.json")
        eventually(lambda: project.run()["steps"] == {"sleep": "RUNNING"}, within_s=60, what="a job")
        ended = project.run()["id"]
        project.start("sleep.json")
        eventually(lambda: project.run()["state"] == "QUEUED", within_s=60, what="a run that waits")
        project.kill(process)
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        project.kill(process)
    for words in (UP, (*UP, "--runner", "process")):
        refused = project.ask(*words)
        assert (refused.code, "--cancel-others" in refused.stderr) == (1, True)
    with project.up("--mock-duration", FOREVER, "--cancel-others") as process:
        assert process.stdout is not None
        printed = json.loads("{" + "".join(iter(process.stdout.readline, "}\n")) + "}")
        assert printed["cancelled"] == sorted(run["id"] for run in project.runs() if run["state"] == "CANCELLED")
        assert ended in printed["cancelled"]
        states = sorted((run["workflow"], run["state"]) for run in project.runs())
        assert states == [("flow", "RUNNING"), ("sleep", "CANCELLED"), ("sleep", "CANCELLED")]
        told = project.ask("runs", "show", ended).succeeded()
        assert "it needs --runner process" in told
        assert "may still be running" not in told


def test_an_interrupted_run_is_cancelled(project: Project) -> None:
    """Ctrl-C in `run` ends the run for good: the history says so, and no later platform goes on with it."""
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    run = project.run()
    assert (run["state"], set(run["steps"].values())) == ("CANCELLED", {"CANCELLED"})
    assert "may still be running" not in project.ask("runs", "show", "--last").succeeded()


def test_commands_find_the_platform_of_a_run(project: Project) -> None:
    """In another terminal, a run on a platform of its own can be watched and cancelled, and no other one joins it."""
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        run_id = project.run()["id"]
        listed = project.ask("runs", "list")
        assert f"Each `run` has its own platform (under way: `{run_id}`); " in listed.stderr
        project.ask("run", "flow.json").succeeded()
        with started(None, "runs", "watch", run_id, cwd=project.folder) as watcher:
            assert watcher.stdout is not None
            assert any("steps ended" in line for line in watcher.stdout)
            began = time.monotonic()
            cancelled = project.ask("runs", "cancel", run_id, "--reason", "the wrong day")
            assert f"Run {run_id} is cancelled" in cancelled.succeeded()
            assert time.monotonic() - began < SOON_S
            said, _ = watcher.communicate(timeout=60)
        assert (watcher.returncode, "CANCELLED" in said) == (1, True), said
        process.communicate(timeout=60)
    assert process.returncode == 1
    run = json.loads(project.ask("runs", "show", run_id, "--json").succeeded())["run"]
    assert (run["state"], run["changes"][0]["why"]) == ("CANCELLED", "the wrong day")
    assert not list((project.folder / ".atom-workflows").glob("run-*"))


def test_the_console_changes_a_run_on_its_own_platform(project: Project) -> None:
    """While the run goes on, it is cancelled from the page; then the page says that no platform is up."""
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        run_id = project.run()["id"]
        with started(None, "console", cwd=project.folder) as page:
            assert page.stdout is not None
            line = next(line for line in page.stdout if "http://" in line)
            address, token = line.split()[-1].split("/#token=")
            ask = partial(_ask_console, f"{address}/api/runs/{run_id}", token)
            assert ask()["why_fixed"] == ""
            seen = ask("/cancel", dry_run=True)["seen"]
            assert f"Run {run_id} is cancelled" in ask("/cancel", seen=seen, reason="the wrong day")["lines"][0]
            process.communicate(timeout=60)
            assert "No platform is up" in ask()["why_fixed"]
    run = json.loads(project.ask("runs", "show", run_id, "--json").succeeded())["run"]
    assert (run["state"], run["changes"][0]["why"]) == ("CANCELLED", "the wrong day")


def _ask_console(address: str, token: str, action: str = "", **body: Any) -> dict[str, Any]:
    headers = {"X-Atom-Token": token, "Content-Type": "application/json"}
    content = json.dumps(body).encode() if body else None
    request = Request(f"{address}{action}", data=content, headers=headers)  # noqa: S310 (our own server)
    with urlopen(request, timeout=SOON_S) as answer:  # noqa: S310 (see above)
        found: dict[str, Any] = json.loads(answer.read())
    return found


def test_a_step_of_a_run_on_its_own_platform_is_marked(project: Project) -> None:
    """In another terminal, as by a platform that keeps running; a run that has ended has none."""
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        run_id = project.run()["id"]
        for step in ("third", "second"):
            assert "Marked." in project.ask("runs", "mark", run_id, step, "succeeded").succeeded()
        marked = project.ask("runs", "mark", run_id, "first", "succeeded", "--wait")
        assert f"Run {run_id} SUCCEEDED" in marked.succeeded()
        process.communicate(timeout=60)
    assert process.returncode == 0
    refused = project.ask("runs", "mark", run_id, "second", "skipped")
    assert (refused.code, "is already SUCCEEDED" in refused.stderr) == (1, True)


def test_an_interrupted_run_ends_for_those_who_watch_it(project: Project) -> None:
    """Whoever watches a run whose platform is stopped is told that the run is CANCELLED."""
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        with started(None, "runs", "watch", "--last", cwd=project.folder) as watcher:
            assert watcher.stdout is not None
            assert any("steps ended" in line for line in watcher.stdout)
            process.send_signal(signal.SIGINT)
            said, problem = watcher.communicate(timeout=60)
        process.communicate(timeout=60)
    assert (watcher.returncode, "CANCELLED" in said) == (1, True), (said, problem)


def test_an_open_run_without_a_platform_is_shown_as_it_was_left(project: Project) -> None:
    """`runs watch` shows the last known state, says that nothing moves, and ends with 1."""
    with started(None, "run", "flow.json", "--mock-duration", FOREVER, cwd=project.folder) as process:
        assert process.stdout is not None
        assert any("first RUNNING" in line for line in process.stdout)
        project.kill(process)
    run_id = project.run()["id"]
    shown = project.ask("runs", "watch", run_id)
    assert (shown.code, "first" in shown.stdout) == (1, True)
    assert "nothing moves. `atom-workflows local up` in another terminal resumes the run" in shown.stdout
    as_json = project.ask("runs", "watch", run_id, "--json")
    assert (as_json.code, json.loads(as_json.stdout)["run"]["state"]) == (1, "RUNNING")
    assert project.ask("runs", "cancel", run_id).code == 1
    with project.up():
        assert not list((project.folder / ".atom-workflows").glob("run-*"))


def test_a_failed_run_is_retried_by_a_later_platform(project: Project) -> None:
    """A run that `run` left FAILED can be retried once `local up` is there, on the Task Runner that is there then."""
    (project.folder / "fail.yaml").write_text("rules: [{step: second, always_fail: true}]")
    assert project.ask("run", "flow.json", "--mock-script", "fail.yaml").code == 1
    with project.up():
        assert "SUCCEEDED" in project.ask("runs", "retry", "--last", "--wait").succeeded()


def test_a_history_that_cannot_be_used_is_named(project: Project) -> None:
    """A damaged file ends every command that needs it with a sentence, and stays as it is."""
    project.ask("run", "flow.json").succeeded()
    file = ProjectFolder.of(project.folder).history
    file.write_bytes(b"hello " * 1000)
    for words, may_run in ((["run", "flow.json"], True), (list(UP), True), (["runs", "list"], False)):
        refused = project.ask(*words)
        assert refused.code == 1, words
        assert f"the history in {file} cannot be used: it is damaged" in refused.stderr
        assert "to start a new one, move this one elsewhere" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert "stays open" not in refused.stderr
        assert ("--in-memory" in refused.stderr) is may_run
    assert file.read_bytes() == b"hello " * 1000
