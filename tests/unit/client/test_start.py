"""`start` on a whole coordinator in one process, and what it refuses before anything is published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.testing.world import TASK_RUNNER_URL, World
from atom_workflows.coordinator.services import Services
from support.no_cloud import NO_CLOUD
from support.workflows import chain

PLACE = ("--project", "acme-flow", "--topic-prefix=atom-", "--database", "flows")


def call(world: World, *args: str | Path, stdin: str = "", place: tuple[str, ...] = PLACE) -> Result:
    """Call `start` on this world."""

    def connect(environment: Mapping[str, str]) -> Services:
        named = (environment.get("WORKFLOW_PROJECT"), environment.get("WORKFLOW_TOPIC_PREFIX"))
        assert named == ("acme-flow", "atom-") or not place
        return world.services

    arguments = ["start", *map(str, args), *place]
    return CliRunner().invoke(cli, arguments, obj=connect, input=stdin, env=NO_CLOUD, catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a workflow file."""
    path = tmp_path / "nightly.yaml"
    path.write_text(chain(3))
    return path


def started(world: World, result: Result) -> str:
    """Return the run that the command printed and the start function made."""
    assert result.exit_code == 0, result.stderr
    run_id = str(json.loads(result.stdout)["run"])
    world.settle_down("start")
    assert world.run(run_id).state == "RUNNING"
    return run_id


def test_the_run_that_is_printed_is_the_run_that_is_made(file: Path) -> None:
    """The printed id is that of the run that the start function makes."""
    world = World()
    run_id = started(world, call(world, file, "--json"))
    assert run_id.startswith("nightly-")
    assert started(world, call(world, file, "--json")) != run_id


def test_a_key_names_one_run(file: Path) -> None:
    """The same key for the same file is always the same run."""
    world = World()
    assert len({started(world, call(world, file, "--key", "2026-11-23", "--json")) for _ in range(3)}) == 1


def test_a_key_is_of_one_workflow(file: Path) -> None:
    """A key that was used for another file is refused, with its run."""
    world = World()
    run_id = started(world, call(world, file, "--key", "2026-11-23", "--json"))
    assert f"Run {run_id} was already started with this key" in call(world, file, "--key", "2026-11-23").stderr
    file.write_text(chain(2))
    refused = call(world, file, "--key", "2026-11-23")
    assert refused.exit_code == 2
    assert f"was already used for run {run_id} of a different nightly.yaml" in refused.stderr


@pytest.mark.parametrize("wait", [[], ["--wait"]])
@pytest.mark.parametrize(
    ("other", "named"),
    [
        (("--param", "day=2026-01-02"), "with different params (--param)"),
        (("--param", "day=2026-01-01", "--label", "team=ml"), "with different labels (--label)"),
        (("--param", "day=2026-01-01", "--tr-url", "https://other.test"), "with a different Task Runner (--tr-url)"),
    ],
)
def test_a_key_is_of_one_request(file: Path, other: tuple[str, ...], named: str, wait: list[str]) -> None:
    """A key that was used for another request is refused before anything is published."""
    world = World()
    run_id = started(world, call(world, file, "--json", "--key", "day", "--param", "day=2026-01-01"))
    refused = call(world, file, "--key", "day", *other, *wait)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"--key day was already used for run {run_id} {named}; give each run its own key" in refused.stderr
    assert world.bus.take_all("start") == []


def test_json_says_whether_the_run_is_new(file: Path) -> None:
    """JSON shows that a repeated request started nothing new."""
    world = World()
    again = []
    for _ in range(2):
        result = call(world, file, "--json", "--key", "day", "--param", "day=1", "--tr-url", f"{TASK_RUNNER_URL}/")
        started(world, result)
        again.append(json.loads(result.stdout)["started_before"])
    assert again == [False, True]


def test_a_key_whose_run_was_invalid_starts_again() -> None:
    """The key of a run that could not start is free for another request."""
    world = World()
    arguments = ("gs://flows/workflows/late.yaml", "--key", "day", "--json")
    call(world, *arguments, "--param", "day=1")
    world.settle_down("start")
    world.files.content["gs://flows/workflows/late.yaml", None] = chain(1).encode()
    result = call(world, *arguments, "--param", "day=2")
    assert ("before" in result.stderr, json.loads(result.stdout)["started_before"]) == (False, False)
    started(world, result)


def test_stdin_is_started() -> None:
    """`start -` starts the workflow on standard input."""
    world = World()
    assert started(world, call(world, "-", "--json", stdin=chain(1))).startswith("stdin-")


def test_labels_parameters_and_the_task_runner_go_with_it(file: Path) -> None:
    """Labels and parameters stand in the run exactly as given."""
    world = World()
    options = ("--label", "team=ml", "--param", "where=a=b", "--param", "empty=", "--tr-url", TASK_RUNNER_URL)
    run = world.run(started(world, call(world, file, "--json", *options)))
    assert (run.labels, run.params) == ({"team": "ml"}, {"where": "a=b", "empty": ""})


def test_the_next_command_is_about_the_same_deployment(file: Path) -> None:
    """The suggested next command names the same project, prefix and database."""
    printed = call(World(), file).stdout
    assert "Requested run nightly-" in printed
    assert ", 3 steps." in printed
    assert "--project=acme-flow --topic-prefix=atom- --database=flows`" in printed


@pytest.mark.parametrize(("runner", "is_mock"), [("mock", True), ("scripted", False), ("process", False)])
def test_a_start_on_a_platform_with_a_mock_warns_of_programs(tmp_path: Path, runner: str, *, is_mock: bool) -> None:
    """`local up` exports what runs jobs, so `start` says once that a program would not run."""
    file = tmp_path / "wf.yaml"
    file.write_text("steps: [{id: make, task: {engine: process, args: [./make.py]}}]")
    up = dict.fromkeys(("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"), "127.0.0.1:1")
    variables = {**NO_CLOUD, **up, "ATOM_LOCAL_RUNNER": runner}
    services = World().services
    result = CliRunner().invoke(cli, ["start", str(file)], obj=lambda _: services, env=variables)
    assert result.exit_code == 0
    assert result.stderr.count("Warning: a mock Task Runner simulates the program of `make`") == is_mock


def test_an_object_is_left_to_the_start_function() -> None:
    """Only an object's path is sent, and it is not read here."""
    world = World()
    world.files.content["gs://flows/workflows/daily.yaml", None] = chain(2).encode()
    assert started(world, call(world, "gs://flows/workflows/daily.yaml", "--json")).startswith("daily-")


def test_an_invalid_file_is_refused_with_every_problem(tmp_path: Path) -> None:
    """An invalid file is refused with all its problems, and not published."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("steps:\n  - id: a\n    dependsOn: [b]\n  - id: a\n")
    world = World()
    result = call(world, bad)
    assert (result.exit_code, len(result.stderr.splitlines()), result.stdout) == (2, 2, "")
    assert len(json.loads(call(world, bad, "--json").stdout)["problems"]) == 2
    assert world.bus.take_all("start") == []


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["none.yaml"], "none.yaml cannot be read"),
        (["gs://flows"], "gs://flows is not a path of the form gs://BUCKET/OBJECT"),
        (["gs://flows/"], "is not a path of the form"),
        (["gs:///x"], "is not a path of the form"),
        (["FILE", "--key", " "], "--key is empty"),
        (["FILE", "--key", "k" * 3000], "run_key may be at most 2000 characters long"),
        (["FILE", "--label", "team"], "--label is 'team'; it must be NAME=VALUE"),
        (["FILE", "--label", "Team=x"], "a label must have a lower-case name"),
        (["FILE", "--param", "=x"], "--param is '=x'"),
        (["FILE", "--param", "a=1", "--param", "a=2"], "--param names 'a' twice"),
        (["FILE", "--param", f"a={'x' * 200_000}"], "params may be at most 100,000 bytes long"),
        (["FILE", "--tr-url", "runner"], "--tr-url is 'runner'"),
        (["FILE", "--timeout", "1m"], "--timeout requires --wait"),
        (["FILE", "--wait", "--timeout", "soon"], "--timeout is 'soon'"),
        (["FILE", "--project", "No Project"], "Invalid value for '--project'"),
        (["FILE", "--database", "x"], "Invalid value for '--database'"),
        (["FILE", "--topic-prefix", "a b"], "Invalid value for '--topic-prefix'"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(file: Path, args: list[str], sentence: str) -> None:
    """A user's mistake ends with exit code 2, and nothing is published."""
    world = World()
    result = call(world, *(file if word == "FILE" else word for word in args), place=())
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert world.bus.take_all("start") == []


def test_a_project_beside_a_local_platform_is_refused(file: Path) -> None:
    """A command for a project is refused while variables name a local platform."""
    here = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}
    arguments = ["start", str(file), "--project=acme-flow"]
    result = CliRunner().invoke(cli, arguments, env=NO_CLOUD | here, catch_exceptions=False)
    assert (result.exit_code, "--project is acme-flow, but FIRESTORE_EMULATOR_HOST" in result.stderr) == (2, True)


def test_no_one_is_logged_in(file: Path) -> None:
    """Without credentials the user learns how to get them."""
    result = CliRunner().invoke(cli, ["start", str(file), "--project=acme-flow"], env=NO_CLOUD, catch_exceptions=False)
    assert (result.exit_code, "gcloud auth application-default login" in result.stderr) == (1, True), result.stderr


def test_a_message_that_is_too_large_is_not_sent(file: Path) -> None:
    """A file too large for a message is refused with another way to start it."""
    world = World()
    file.write_text(chain(3) + "# " + '"' * 4_000_000)
    result = call(world, file)
    assert result.exit_code == 2
    assert "upload the file to a bucket" in result.stderr
    assert world.bus.take_all("start") == []
