"""`--param` and `--params-file`: read by the declared types, and refused with every problem before anything starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services
from support.no_cloud import NO_CLOUD
from support.workflows import chain

FLOW = """
params:
  day: {type: date}
  shards: {type: int, max: 64, default: 8}
  region: {type: text, enum: [eu, us], default: eu}
  tables: {type: [text], default: [orders]}
  version: {type: text, default: null}
steps:
  - id: a
    task:
      imageUri: i
      args: ["${{ params.day }}", "${{ params.shards }}", "${{ params.region }}", "${{ params.version }}"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a workflow file with parameters."""
    path = tmp_path / "nightly.yaml"
    path.write_text(FLOW)
    return path


def start(world: World, *args: str | Path, stdin: str = "") -> Result:
    """Call `start` on this world."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    arguments = ["start", *map(str, args), "--project=acme-flow"]
    return CliRunner().invoke(cli, arguments, obj=connect, input=stdin, env=NO_CLOUD, catch_exceptions=False)


def sent(world: World, result: Result) -> dict[str, Any]:
    """Return the parameters of the start message, which the start function accepts."""
    assert result.exit_code == 0, result.stderr
    [taken] = world.bus.take_all("start")
    world.deliver(taken)
    assert world.run(json.loads(result.stdout)["run"]).state == "RUNNING"
    params: dict[str, Any] = taken.body.get("params", {})
    return params


def test_options_are_read_by_the_declared_types(file: Path) -> None:
    """A text becomes a number, list or text as the file declares, and defaults are left to the start function."""
    options = ["day=2026-01-01", "shards=12", 'tables=["a", "b"]', "version=3"]
    world = World()
    result = start(world, file, "--json", *(word for one in options for word in ("--param", one)))
    assert sent(world, result) == {"day": "2026-01-01", "shards": 12, "tables": ["a", "b"], "version": "3"}


def test_a_param_that_nothing_declares_is_warned_of(tmp_path: Path) -> None:
    """A file without `params` takes any, and `start` and `plan` say that nothing reads them."""
    path = tmp_path / "flow.yaml"
    path.write_text("steps: [{id: a, task: {imageUri: i}}]")
    warning = "Warning: params were given, but the file declares none; they are stored but not used"
    assert warning in start(World(), path, "--param", "x=1").stderr
    assert "Warning: params" not in start(World(), path).stderr
    planned = CliRunner().invoke(cli, ["plan", str(path), "--param", "x=1"], env=NO_CLOUD, catch_exceptions=False)
    assert (planned.exit_code, warning in planned.stderr) == (0, True)


def test_every_problem_is_printed(file: Path) -> None:
    """Unreadable texts, unknown names, broken limits and missing values are reported together, with exit code 2."""
    world = World()
    options = ["shards=many", "regoin=eu", "region=apac", "tables=orders"]
    arguments = [word for one in options for word in ("--param", one)]
    result = start(world, file, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines[:-1])
    for expected in (
        "`params.shards` is `many`, which is not a whole number",
        '`params.tables` is `orders`, which is not JSON; write it as JSON: \'["a", "b"]\'',
        "there is no param `regoin`; did you mean `region`?",
        "`params.day` is required",
        "`params.region` is `apac`, not one of eu, us",
    ):
        assert any(expected in line for line in lines), expected
    assert len(lines) == 6
    assert lines[-1] == "Give parameters with --param NAME=VALUE or --params-file."
    problems = json.loads(start(world, file, *arguments, "--json").stdout)["problems"]
    assert len(problems) == 5
    assert world.bus.take_all("start") == []


@pytest.mark.parametrize("name", ["p.yaml", "p.json"])
def test_a_file_of_parameters_is_a_map(file: Path, tmp_path: Path, name: str) -> None:
    """Values of the file keep their types, dates need no quotes in YAML, and options replace them."""
    given = {"day": "2026-01-01", "shards": 12, "tables": ["a"], "version": None}
    text = json.dumps(given) if name.endswith("json") else "day: 2026-01-01\nshards: 12\ntables: [a]\nversion:\n"
    (tmp_path / name).write_text(text)
    world = World()
    assert sent(world, start(world, file, "--json", "--params-file", tmp_path / name)) == given
    replaced = sent(world, start(world, file, "--json", "--params-file", tmp_path / name, "--param", "shards=3"))
    assert replaced == given | {"shards": 3}


def test_parameters_may_come_from_stdin(file: Path) -> None:
    """`--params-file -` reads standard input."""
    world = World()
    assert sent(world, start(world, file, "--json", "--params-file", "-", stdin="day: 2026-01-01")) == {
        "day": "2026-01-01"
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shards: no\nday: 010\n", 'p.yaml:1:9: `no` is false for some YAML readers; write "no"\n'),
        ("shards: no\nday: 010\n", "p.yaml:2:6: `010` is a number that YAML readers disagree about"),
        ("[1, 2]", "p.yaml:1:1: the parameter file must be a map; write `name: value` on each line"),
        ("", "the parameter file must be a map"),
        ("a: [", "p.yaml:2:1: this is not valid YAML"),
        ("day: '2026-01-01'\nshards: '12'\n", "nightly.yaml: `params.shards` is text"),
    ],
)
def test_a_file_of_parameters_is_refused_with_places(file: Path, tmp_path: Path, text: str, sentence: str) -> None:
    """A fault in the file is reported with its line and column, and a wrong type with the parameter."""
    (tmp_path / "p.yaml").write_text(text)
    result = start(World(), file, "--params-file", tmp_path / "p.yaml")
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["-", "--params-file", "-"], "--params-file and the workflow file cannot both be stdin"),
        (["FILE", "--params-file", "none.yaml"], "none.yaml cannot be read: no such file or directory\n"),
        (["FILE", "--params-file", ""], "--params-file is empty"),
    ],
)
def test_a_missing_file_of_parameters_is_refused(file: Path, args: list[str], sentence: str) -> None:
    """A file of parameters that cannot be read is a mistake of the user."""
    result = start(World(), *(file if word == "FILE" else word for word in args))
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr


def test_values_for_an_object_are_json_or_text() -> None:
    """For an object, which is not read here, a value that is JSON is sent as JSON, and any other as text."""
    path = "gs://flows/workflows/nightly.yaml"
    world = World()
    world.files.content[path, None] = chain(1).encode()
    options = ["a=8", "b=true", 'c="8"', "d=2026-01-01", "e=[1, 2]", "f=NaN", "g=", "h=null", "i=@x"]
    result = start(world, path, "--json", *(word for one in options for word in ("--param", one)))
    assert sent(world, result) == {
        "a": 8,
        "b": True,
        "c": "8",
        "d": "2026-01-01",
        "e": [1, 2],
        "f": "NaN",
        "g": "",
        "h": None,
        "i": "@x",
    }


def test_a_misspelled_name_is_compared_with_all_names(file: Path) -> None:
    """Also with those whose own values could not be read."""
    result = start(World(), file, "--param", "shards=many", "--param", "shardz=8", "--param", "day=2026-01-01")
    assert "there is no param `shardz`; did you mean `shards`?" in result.stderr


def test_a_key_is_found_again_with_the_same_parameters(file: Path) -> None:
    """The same key with the same values starts nothing, however the values are written."""
    world = World()
    first = start(world, file, "--json", "--key", "k", "--param", "day=2026-01-01", "--param", "shards=7")
    sent(world, first)
    again = start(world, file, "--json", "--key", "k", "--param", "shards=07", "--param", "day=2026-01-01")
    assert json.loads(again.stdout)["started_before"] is True


NEEDS_ENV = 'steps: [{id: a, task: {imageUri: "${{ env.registry }}/a"}}]'


def run(*args: str | Path, **environment: str) -> Result:
    """Call `run` with a Task Runner's URL that is refused once the file was read."""
    arguments = ["run", *map(str, args), "--tr-url", "nowhere"]
    return CliRunner().invoke(cli, arguments, env=NO_CLOUD | environment, catch_exceptions=False)


@pytest.mark.parametrize(
    ("args", "environment", "sentence"),
    [
        ([], {}, ": `env` has no `registry`"),
        ([], {}, "Use --env NAME=VALUE to set the value that files read as env.NAME."),
        (["--env", "registry=eu.example"], {}, "--tr-url is 'nowhere'"),
        ([], {"WORKFLOW_ENV_registry": "eu.example"}, "--tr-url is 'nowhere'"),
        (["--env", "registry"], {}, "--env is 'registry'; it must be NAME=VALUE"),
        (["--env", "re-gistry=x"], {}, "--env is 're-gistry=x'; a name may contain only letters, digits and _"),
    ],
)
def test_a_file_may_read_what_the_options_set(
    tmp_path: Path, args: list[str], environment: dict[str, str], sentence: str
) -> None:
    """A file that reads `env.NAME` is refused before the start unless an option or the shell sets NAME."""
    file = tmp_path / "flow.yaml"
    file.write_text(NEEDS_ENV)
    result = run(file, *args, **environment)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
