"""`atom-workflows run`, on a platform of its own and on one that is up."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from e2e.backends import EMBEDDED_ONLY
from e2e.console import Answer, command, console, started, surroundings
from e2e.site import Site
from support.deadline import eventually
from support.workflows import definition

EXAMPLES = Path(__file__).parents[2] / "examples"
FORK_JOIN = EXAMPLES / "fork_join.yaml"
ESCAPE = "\x1b"
BROKEN_PIPE = {1, 128 + signal.SIGPIPE}
"""Exit codes of a command whose output is no longer read: click's own, and a shell's."""

BROKEN = """\
name: broken
steps:
  - id: a
    dependsOn: [b]
  - id: b
    dependsOn: [a]
    tsk: {}
"""


def require_sentence(answer: Answer, code: int) -> str:
    """Require a refusal with that code, and return its sentence.

    Without a traceback.
    """
    assert (answer.code, answer.stdout) == (code, ""), answer
    assert "Traceback" not in answer.stderr
    assert answer.stderr.strip()
    return answer.stderr


def require_gone(processes: list[psutil.Process]) -> None:
    """None of these processes is left."""
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []


def test_a_run_on_a_platform_of_its_own(tmp_path: Path) -> None:
    """A successful run exits with 0 and shows every step without escape codes."""
    answer = console(None, "run", FORK_JOIN, "--log-dir", tmp_path / "logs", cwd=tmp_path)
    shown = answer.succeeded()
    assert re.search(r"Run fork-join-\w+ SUCCEEDED in .*: 6 steps\.", shown)
    assert all(f"\n{step} " in shown for step in ("extract", "by-country", "report"))
    assert ESCAPE not in answer.stdout + answer.stderr
    assert (tmp_path / "logs" / "dispatcher.log").exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {"logs", ".atom-workflows"}


def test_the_first_workflow_really_runs(tmp_path: Path) -> None:
    """What `init` writes runs as it is, as programs on this machine, and with a parameter."""
    console(None, "init", cwd=tmp_path).succeeded()
    answer = console(None, "run", "workflow.yaml", "--runner", "process", "--param", "who=Ada", cwd=tmp_path)
    assert re.search(r"Run workflow-\w+ SUCCEEDED in .*: 4 steps\.", answer.succeeded())
    (log,) = (tmp_path / ".atom-workflows" / "jobs").glob("*/greet/1/job.log")
    assert log.read_text() == "hello, Ada\n"


ODD_MACHINE = {
    # Nothing listens there, and whoever asks a proxy for a server of this machine gets no further.
    **dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy"), "http://127.0.0.1:9"),
    "PYTHONIOENCODING": "ascii",
}


def test_a_run_that_fails_on_an_odd_machine(tmp_path: Path) -> None:
    """A failed run exits with 1 and names the failed and skipped steps.

    It does so on a machine with a proxy for other machines, and into a stream that lacks some characters.
    """
    script = tmp_path / "mock.yaml"
    text = (EXAMPLES / "failing_branch.mock.yaml").read_text(encoding="utf-8")
    script.write_text(text.replace("5 columns", "5 columns (\u2717)"), encoding="utf-8")
    answer = console(
        None, "run", EXAMPLES / "failing_branch.yaml", "--mock-script", script, cwd=tmp_path, **ODD_MACHINE
    )
    assert answer.code == 1, answer
    assert "orders.csv, line 17: 5 columns (\\u2717) where 6 were expected" in answer.stdout
    assert re.search(r"Run failing-branch-\w+ FAILED after", answer.stdout)
    assert "Skipped because `load-orders` did not succeed: `count-orders` and `report`." in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr


@EMBEDDED_ONLY
def test_json_is_one_object(site: Site, tmp_path: Path) -> None:
    """With --json, stdout holds one JSON object and nothing else."""
    answer = console(site, "run", "--json", FORK_JOIN, cwd=tmp_path)
    shown = json.loads(answer.succeeded())
    assert (shown["run"]["state"], len(shown["steps"])) == ("SUCCEEDED", 6)
    assert "SUCCEEDED" in answer.stderr
    site.script("default: {always_fail: true, message: broken}")
    answer = console(site, "run", "--json", FORK_JOIN, cwd=tmp_path)
    assert (answer.code, json.loads(answer.stdout)["run"]["state"]) == (1, "FAILED")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "broken.yaml"], "broken.yaml:"),
        (["run", "fine.yaml", "--tr-url", "nonsense"], "--tr-url"),
        (["run", "fine.yaml", "--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    """Misuse is refused in a sentence, and leaves nothing behind."""
    (tmp_path / "broken.yaml").write_text(BROKEN)
    (tmp_path / "fine.yaml").write_bytes(FORK_JOIN.read_bytes())
    answer = console(None, *arguments, cwd=tmp_path)
    assert said in require_sentence(answer, 2)
    assert {entry.name for entry in tmp_path.iterdir()} == {"broken.yaml", "fine.yaml"}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda signum: signum.name)
def test_an_interrupted_run_stops_everything(signum: signal.Signals, tmp_path: Path) -> None:
    """An interrupted run leaves no process and reports the run's state."""
    with started(None, "run", FORK_JOIN, "--mock-duration", "60", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        eventually(lambda: "extract" in str(process.stdout and process.stdout.readline()), within_s=60, what="a step")
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(family) > 6
        process.send_signal(signum)
        assert process.wait(60) == 128 + signum
        said = process.stderr.read()
    require_gone(family)
    assert "The platform has stopped, and the run with it." in said
    assert "To run what is left of it: `atom-workflows local up` here, and then `atom-workflows runs retry" in said
    assert "Traceback" not in said


def test_a_run_that_is_no_longer_waited_for_ends_with_its_platform(tmp_path: Path) -> None:
    """When time is up, `run` says that its own platform stops, and that steps under `finally` do not run."""
    file = tmp_path / "wf.yaml"
    file.write_text("steps: [{id: a, task: {imageUri: x}}]\nfinally: [{id: z, task: {imageUri: x}}]")
    answer = console(None, "run", file, "--mock-duration", "60", "--timeout", "1", cwd=tmp_path)
    assert answer.code == 1
    assert "Stopped waiting after 1 s. The platform is stopping now, and the run with it." in answer.stdout
    assert "Its steps under `finally` will not run" in answer.stdout
    assert "`atom-workflows runs retry wf-" in answer.stdout


def test_two_runs_at_the_same_time(tmp_path: Path) -> None:
    """Two runs started in one folder at the same time both succeed."""
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: console(None, "run", "--json", FORK_JOIN, cwd=tmp_path), range(2)))
    shown = [json.loads(answer.succeeded())["run"] for answer in answers]
    assert [run["state"] for run in shown] == ["SUCCEEDED"] * 2
    assert shown[0]["id"] != shown[1]["id"]


def test_the_reader_goes_away(tmp_path: Path) -> None:
    """A run whose reader goes away ends quietly and leaves no process."""
    with started(None, "run", FORK_JOIN, "--mock-duration", "60", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        eventually(lambda: psutil.Process(process.pid).children(), within_s=60, what="a platform")
        process.stdout.close()
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert process.wait(60) in BROKEN_PIPE
        said = process.stderr.read()
    require_gone(family)
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", ["schema", "--help", "runs list --limit 1000"])
@EMBEDDED_ONLY
def test_only_the_first_line_is_read(arguments: str, site: Site, tmp_path: Path) -> None:
    """`| head -1` gets its line, and no broken pipe is reported."""
    line = f"set -o pipefail; {shlex.join(command())} {arguments} | head -1"
    done = subprocess.run(["bash", "-c", line], env=surroundings(site), capture_output=True, text=True, check=False)
    assert done.returncode in {0, *BROKEN_PIPE}
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@EMBEDDED_ONLY
def test_a_workflow_from_stdin_and_by_the_first_versions_flag(site: Site) -> None:
    """A workflow may come from stdin or by --workflow-path."""
    assert "SUCCEEDED" in console(site, "run", "-", stdin=FORK_JOIN.read_text()).succeeded()
    assert "SUCCEEDED" in console(site, "run", "--workflow-path", FORK_JOIN).succeeded()


@EMBEDDED_ONLY
def test_waiting_no_longer_than_asked(site: Site) -> None:
    """With --timeout the command stops waiting, and the run goes on."""
    site.script("default: {duration: 8}")
    answer = console(site, "run", "--json", "--timeout", "0.5", "-", stdin=definition({"only": []}))
    run = json.loads(answer.stdout)["run"]
    assert (answer.code, run["state"]) == (1, "RUNNING")
    assert f"The run continues: `atom-workflows runs show {run['id']}`" in answer.stderr
    assert site.ended(run["id"])["state"] == "SUCCEEDED"


def test_a_platform_that_is_gone(tmp_path: Path) -> None:
    """An exported platform that does not answer is named."""
    gone = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}
    environment = surroundings(None, **gone)
    done = subprocess.run(
        command("run", FORK_JOIN), env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "nothing responds at 127.0.0.1:1" in done.stderr
    assert not list(tmp_path.iterdir())


DAILY = EXAMPLES / "pipelines" / "daily_sales.yaml"


@pytest.mark.parametrize(
    ("mock", "load"), [("daily_sales.mock.yaml", "SUCCEEDED"), ("daily_sales.holiday.mock.yaml", "SKIPPED")]
)
def test_a_plan_with_outputs_is_what_a_run_with_them_does(tmp_path: Path, mock: str, load: str) -> None:
    """A script gives a plan in memory the states, the jobs' outputs and the run's outputs of a run on a platform."""
    script, given = DAILY.with_name(mock), ["--param", "day=2026-03-01", "--param", "region=us"]
    planned = json.loads(console(None, "plan", DAILY, "--outputs", script, *given, "--json", cwd=tmp_path).succeeded())
    answer = console(None, "run", DAILY, "--mock-script", script, *given, "--json", cwd=tmp_path)
    ran = json.loads(answer.succeeded())
    states = {step["id"]: step["state"] for step in ran["steps"]}
    assert {step["id"]: step["state"] for step in planned["steps"]} == states
    assert states["load"] == load
    assert (planned["params"], planned["state"]) == (ran["run"]["params"], ran["run"]["state"])


@EMBEDDED_ONLY
def test_parameters_reach_a_running_platform(site: Site, tmp_path: Path) -> None:
    """Typed parameters from options and a file reach the run, and what does not fit is refused before it starts."""
    (tmp_path / "given.yaml").write_text("limit: 12\nday: 2026-03-01\n")
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        "params: {day: {type: date}, limit: {type: int, max: 20}, tables: {type: [text], default: [a]}}\n"
        "steps: [{id: a, task: {imageUri: i, args: {n: '${{ params.limit + 1 }}', t: '${{ params.tables }}'}}}]\n"
        "outputs: {day: '${{ params.day }}'}\n"
    )
    options: list[str | Path] = ["--params-file", tmp_path / "given.yaml", "--param", 'tables=["b"]']
    run = json.loads(console(site, "start", flow, *options, "--wait", "--json").succeeded())["run"]
    assert (run["state"], run["params"]) == ("SUCCEEDED", {"day": "2026-03-01", "limit": 12, "tables": ["b"]})
    refused = console(site, "start", flow, *options, "--param", "limit=21", "--wait")
    assert "`params.limit` is 21, but at most 20 is allowed" in require_sentence(refused, 2)
