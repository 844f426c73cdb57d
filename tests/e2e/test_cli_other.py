"""The other commands: a platform that stays up, the runs on it, and files that are checked."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import psutil

from e2e.console import Answer, command, console, started, surroundings
from e2e.site import Site
from support.deadline import eventually
from support.json_shapes import require_documented
from support.workflows import definition

EXAMPLES = Path(__file__).parents[2] / "examples"


def exported(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return the variables that `local up` prints for a shell.

    Reads up to its last line.
    """
    found: dict[str, str] = {}

    def is_last() -> bool:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            found[name] = value.strip("'")
        return "Ctrl-C" in line

    eventually(is_last, within_s=60, what="the end of what `local up` prints", every_s=0)
    return found


def test_a_platform_that_stays_up(tmp_path: Path) -> None:
    """A platform serves run after run until SIGTERM, which leaves no process."""
    with started(None, "local", "up", "--log-dir", "logs", cwd=tmp_path) as process:
        environment = surroundings(None, **exported(process))

        def ask(*arguments: str) -> Answer:
            done = subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, check=False)
            return Answer(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

        assert "There are no runs yet." in ask("runs", "list").succeeded()
        first, second = (json.loads(ask("run", "--json", str(EXAMPLES / "fork_join.yaml")).stdout) for _ in range(2))
        require_documented("run", first)
        listed = json.loads(ask("runs", "list", "--json").succeeded())["runs"]
        assert [run["id"] for run in listed] == [second["run"]["id"], first["run"]["id"]]
        assert json.loads(ask("runs", "show", first["run"]["id"], "--json").succeeded()) == first
        assert "could refer to any of" in ask("runs", "show", "fork-join-").stderr
        assert json.loads(ask("runs", "show", "fork-join", "--json").succeeded()) == second
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == ""
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    refused = ask("runs", "list")
    assert refused.code == 1
    assert "nothing responds at" in refused.stderr


def test_a_platform_that_is_well(site: Site) -> None:
    """`doctor` finds nothing wrong after a successful run."""
    site.ended(site.start(definition({"only": []})))
    answer = console(site, "doctor", "--json")
    require_documented("doctor", json.loads(answer.stdout))
    found = json.loads(answer.stdout)["findings"]
    assert [one for one in found if one["verdict"] != "ok" and one["about"] != "dead letters"] == []
    assert {"Firestore", "index", "checker", "topics", "function start", "Task Runner", "token"} <= {
        one["about"] for one in found
    }


def test_a_look_leaves_nothing_in_the_logs(site: Site) -> None:
    """`doctor` leaves no malformed events in the functions' logs."""
    logs = [site.platform.log_dir / f"{name}.log" for name in ("start", "dispatcher", "checker")]
    broken = [log.read_text().count("event.malformed") for log in logs]
    console(site, "doctor")
    assert [log.read_text().count("event.malformed") for log in logs] == broken
