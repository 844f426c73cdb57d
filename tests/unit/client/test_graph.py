"""The command `graph`: files and runs, wrong input, and where the picture goes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import Result

from atom_client.cli.commands import cli
from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Update
from support.workflows import chain, definition, fan, layers, script
from unit.client import test_commands
from unit.client.explained import CLEAN, call, flow, said

EDGES: Final = {"extract": [], "left": ["extract"], "right": ["extract"], "join": ["left", "right"]}
DRAWN: Final = ["flow: 4 steps", "", "○   extract", "├─○ left", "○ │ right", "○─┘ join"]


def graph(*args: str, stdin: str | None = None, **environment: str) -> Result:
    """Call the command without a platform."""
    return test_commands.call("graph", *args, stdin=stdin, **environment)


def ended(workflow: str, rules: str = "") -> tuple[World, str]:
    """Return a world with one run that has ended."""
    world = World(rules)
    run_id = world.start(workflow)
    world.run_to_end(run_id)
    return world, run_id


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a workflow file in the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "flow.yaml"
    path.write_text(definition(EDGES))
    return path


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_file_is_drawn_without_a_platform(file: Path) -> None:
    """A file, or stdin, is drawn from its dependencies alone."""
    assert graph("flow.yaml").stdout.splitlines() == DRAWN
    assert graph("-", stdin=file.read_text()).stdout.splitlines() == DRAWN


def test_a_file_marks_conditions_triggers_and_loops(tmp_path: Path) -> None:
    """Notes say when and how often a step runs, and that its failure may be tolerated."""
    steps: dict[str, dict[str, Any]] = {
        "load": {"forEach": {"region": ["eu", "us"], "day": [1, 2, 3]}},
        "fix": {"dependsOn": ["load"], "trigger": "any-failed", "allowFailure": True},
        "join": {"dependsOn": ["load"], "task": None, "when": "run.id != ''"},
        "more": {"forEach": "${{ steps.load.outputs.n }}", "dependsOn": ["load"]},
    }
    body = [{"id": one, "task": {"imageUri": "i"}, **fields} for one, fields in steps.items()]
    body[0]["outputs"] = {"n": "int"}
    body = [{name: value for name, value in step.items() if value is not None} for step in body]
    path = tmp_path / "flow.json"
    path.write_text(json.dumps({"steps": body, "finally": CLEAN}))
    lines = [" ".join(line.lstrip("├└│─○┘┬ ").split()) for line in graph(str(path)).stdout.splitlines()]
    assert lines[2:] == [
        "load for each of 6 items",
        "fix if any failed, may fail",
        "join no task, when run.id != ''",
        "more for each of its items",
        "",
        "finally:",
        "clean",
        "",
        "steps side by side: they wait for the same steps, and the same steps wait for them",
    ]


def test_an_invalid_file_prints_its_problems(file: Path) -> None:
    """The problems are those that `validate` prints, and nothing is drawn or written."""
    file.write_text("steps: [{idd: 3}]")
    result = graph("flow.yaml", "--output", "flow.svg")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == "flow.yaml:1:10: there is no field `idd` in a step; did you mean `id`?"
    assert not Path("flow.svg").exists()


@pytest.mark.parametrize("name", ["nope.yaml", "folder/nope", "Nope", "\0", "", "n" * 5_000])
def test_a_file_that_cannot_be_read_is_reported(file: Path, name: str) -> None:
    """What can be no run is a file, and a sentence says that it cannot be read."""
    result = graph(name)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_what_is_no_file_needs_a_platform(file: Path) -> None:
    """Without a file of that name and without a platform, a sentence names both."""
    result = graph("nope")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: there is no file nope; for a run, no platform has been chosen")


def test_a_file_comes_before_a_run(file: Path) -> None:
    """A file whose name could be a run's id is drawn without asking a platform; a folder is no file."""
    file.rename("nightly")
    assert graph("nightly").stdout.splitlines() == DRAWN
    Path("weekly").mkdir()
    assert "no platform" in graph("weekly").stderr


# -- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_drawn_with_states() -> None:
    """Each step has its state, and what the compiler added is hidden."""
    world, run_id = ended(definition(EDGES), script(left={"always_fail": True}))
    assert said(world, "graph", run_id[:8]).splitlines() == [
        f"run {run_id} is FAILED: 4 steps",
        "",
        "●   extract  SUCCEEDED",
        "├─✗ left     FAILED",
        "● │ right    SUCCEEDED",
        "◇─┘ join     SKIPPED",
    ]


@pytest.mark.parametrize("workflow", [fan(40), layers(3, 40), chain(60), flow(EDGES, more={"finally": CLEAN})])
def test_a_run_has_the_graph_of_its_file(workflow: str, tmp_path: Path) -> None:
    """Barriers that the compiler added are replaced by the steps before them."""
    world, run_id = ended(workflow)
    path = tmp_path / "flow.json"
    path.write_text(workflow)
    of_file, of_run = (
        graph(str(path), "--format", "mermaid").stdout,
        said(world, "graph", run_id, "--format", "mermaid"),
    )
    assert sorted(_edges(of_run)) == sorted(_edges(of_file))
    assert "~" not in of_run


def _edges(source: str) -> list[tuple[str, str]]:
    """Return the arrows of a diagram, between names."""
    lines = [line.strip() for line in source.splitlines()]
    names = {line.split("[")[0]: line.split('"')[1].split("<")[0] for line in lines if '["' in line}
    arrows = [line.split(" --> ") for line in lines if " --> " in line]
    return [(names[one], names[after]) for before, after in arrows for one in before.split(" & ")]


def test_a_loop_is_one_step_with_counts() -> None:
    """The items of a loop are counted on the line of their step, and their condition is shown."""
    loop = {"forEach": [1, 2, 3], "when": "item > 1", "tolerate": 1}
    world, run_id = ended(
        definition({"list": [], "load": ["list"]}, load=loop), script(**{"load[2]": {"always_fail": True}})
    )
    drawn = said(world, "graph", run_id).splitlines()
    assert drawn[2:] == [
        "● list  SUCCEEDED",
        "● load  SUCCEEDED  3 items, 1 failed, 1 skipped, when item > 1",
    ]


def test_steps_of_a_run_are_in_natural_order() -> None:
    """Steps are sorted by their ids with numbers by value, so that a retry does not move them."""
    world, run_id = ended(definition({f"s{number}": [] for number in (10, 9, 2, 1)}))
    lines = said(world, "graph", run_id).splitlines()
    assert [line.split()[-2] for line in lines[2:6]] == ["s1", "s2", "s9", "s10"]


def test_a_run_may_be_named_by_its_workflow_or_as_the_last() -> None:
    """The name of a workflow and `--last` mean the newest run; exactly one of them is named."""
    world, run_id = ended(chain(1))
    drawn = said(world, "graph", run_id)
    assert said(world, "graph", "--last") == said(world, "graph", "flow") == drawn
    for options in ((), ("--last", run_id)):
        result = call(world, "graph", *options)
        assert result.exit_code == 2
        assert "give exactly one of FILE, RUN and --last" in result.stderr


@pytest.mark.parametrize("name", ["my_flow", "Nightly load", "Überblick"])
def test_any_name_of_a_workflow_is_taken(name: str) -> None:
    """The name of a workflow may have any characters, as for `runs show`."""
    world, run_id = ended(chain(1).replace('"flow"', f'"{name}"'))
    assert said(world, "graph", name) == said(world, "graph", run_id)


def test_a_folder_is_called_a_folder(file: Path) -> None:
    """A folder is neither drawn nor called a missing file."""
    Path("flows").mkdir()
    for name in ("flows", "flows/", "."):
        result = graph(name)
        assert (result.exit_code, result.stderr.startswith(f"Error: {name} is a folder; ")) == (2, True)
    result = call(World(), "graph", "flows")
    said_so = "Error: flows is a folder, and there is no run flows; name a workflow file or a run\n"
    assert (result.exit_code, result.stderr) == (2, said_so)


def test_an_unknown_run_is_reported_as_by_show() -> None:
    """A run that does not exist is reported in the words of `runs show`."""
    world, run_id = ended(chain(1))
    for name in ("nonesuch", f"{run_id}x"):
        result, shown = call(world, "graph", name), call(world, "runs", "show", name)
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", shown.stderr)


def test_a_run_without_steps_says_why() -> None:
    """An INVALID run and one whose steps have not been created print sentences instead of a picture."""
    world = World()
    invalid = call(world, "graph", world.start("steps: [{idd: 3}]"))
    assert (invalid.exit_code, invalid.stdout) == (1, "")
    assert "is INVALID and was not started" in invalid.stderr
    run_id = world.start(chain(1), run_key="other")
    world.store.commit([Update(path=run_path(run_id), fields={"state": RunState.SEEDING.value})])
    for one in ("s0", "~end"):
        world.store.inner.delete(step_path(run_id, one))
    seeding = call(world, "graph", run_id)
    assert (seeding.exit_code, seeding.stdout) == (1, "")
    assert "Its steps have not been created yet." in seeding.stderr


def test_missing_steps_are_reported() -> None:
    """If documents of steps are missing, the rest is drawn, and a warning says how many."""
    world, run_id = ended(chain(3))
    world.store.inner.delete(step_path(run_id, "s1"))
    result = call(world, "graph", run_id)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[2:] == ["●   s0  SUCCEEDED", "  ● s2  SUCCEEDED"]
    assert result.stderr.startswith("Warning: the picture lacks 1 step of the run")


# -- output ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.svg", "<svg "), ("a.SVG", "<svg "), ("a.mmd", "---\ntitle"), ("a.mermaid", "---\ntitle"), ("a.txt", "flow: ")],
)
def test_the_ending_of_the_file_decides_the_format(file: Path, name: str, begins: str) -> None:
    """Without --format, the ending of the output does, and what was there is overwritten."""
    Path(name).write_text("x" * 100_000)
    result = graph("flow.yaml", "--output", name)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {name}\n")
    written = Path(name).read_text(encoding="utf-8")
    assert written.startswith(begins)
    assert "xxx" not in written


def test_the_format_can_be_given(file: Path) -> None:
    """--format is stronger than the ending, and a printed picture is the same as a written one."""
    assert graph("flow.yaml", "--format", "mermaid", "--output", "a.svg").exit_code == 0
    assert Path("a.svg").read_text() == graph("flow.yaml", "--format", "mermaid").stdout
    assert graph("flow.yaml", "--output", "-").stdout.splitlines() == DRAWN
    assert not Path("-").exists()


@pytest.mark.parametrize("path", ["", "nope/a.svg", ".", "a\0.svg", "n" * 5_000])
def test_an_output_that_cannot_be_written_is_reported(file: Path, path: str) -> None:
    """A path that cannot be written is refused in a sentence."""
    result = graph("flow.yaml", "--output", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("options", [["flow.yaml"], ["--last"], ["flow.yaml", "--format", "svg"]])
@pytest.mark.parametrize("name", ["run.png", "run.PDF", "run.jpg"])
def test_a_format_that_is_not_drawn_is_refused(file: Path, options: list[str], name: str) -> None:
    """An ending that promises another format is refused with the formats, and nothing is written."""
    result = graph(*options, "--output", name)
    formats = "graph draws SVG (.svg), Mermaid source (.mmd) and text (.txt), but not"
    ending = Path(name).suffix.lower()
    assert (result.exit_code, result.stderr) == (2, f"Error: --output {name} cannot be written: {formats} {ending}\n")
    assert not Path(name).exists()


@pytest.mark.parametrize("options", [["flow.yaml"], ["--last"], ["flow.yaml", "--format", "svg"]])
@pytest.mark.parametrize("name", ["other.yaml", "other.YML", "other.json"])
def test_no_workflow_file_is_overwritten(file: Path, options: list[str], name: str) -> None:
    """A picture is never written where a workflow would be, whether or not the picture is of it."""
    Path(name).write_text("mine")
    result = graph(*options, "--output", name)
    advice = "files hold workflows; name a picture that ends in .svg, .mmd or .txt"
    sentence = f"Error: --output {name} is not written: {Path(name).suffix.lower()} {advice}\n"
    assert (result.exit_code, result.stderr) == (2, sentence)
    assert Path(name).read_text() == "mine"


def test_the_workflow_is_not_overwritten(file: Path) -> None:
    """A picture never replaces the file that it shows, by whatever name that is given."""
    Path("link.txt").symlink_to(file)
    before = file.read_text()
    result = graph("flow.yaml", "--output", "link.txt")
    assert (result.exit_code, "is the workflow file itself" in result.stderr) == (2, True)
    for path in ("flow.yaml", str(file)):
        result = graph("flow.yaml", "--output", path)
        assert (result.exit_code, "is not written" in result.stderr) == (2, True)
    assert file.read_text() == before


@pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("1", False)])
def test_colors_are_for_terminals(no_color: str | None, monkeypatch: pytest.MonkeyPatch, *, colored: bool) -> None:
    """States are colored on a terminal, unless NO_COLOR is set, and the words are the same."""
    world, run_id = ended(chain(2))
    plain = said(world, "graph", run_id)
    monkeypatch.setattr("atom_client.cli.output.Output.is_terminal", True)
    variables: Mapping[str, str | None] = {"NO_COLOR": no_color, "FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}
    for name, value in variables.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    from click.testing import CliRunner  # noqa: PLC0415 (with the variables above)

    result = CliRunner().invoke(cli, ["graph", run_id], obj=lambda _: world.services, color=True, env=dict(os.environ))
    assert ("\x1b[32m" in result.stdout) is colored
    assert plain.splitlines()[2].split()[1] in result.stdout


def test_mermaid_beyond_its_limits_is_written_with_a_warning(tmp_path: Path) -> None:
    """A diagram that pages refuse by default is printed all the same, and the way out is named."""
    path = tmp_path / "flow.json"
    path.write_text(fan(300))
    result = graph(str(path), "--format", "mermaid")
    assert result.exit_code == 0
    assert "use --format svg" in result.stderr


@pytest.mark.parametrize("form", ["text", "mermaid", "svg"])
def test_a_large_workflow_is_drawn(tmp_path: Path, form: str) -> None:
    """A workflow of thousands of steps and arrows is drawn in each format."""
    path = tmp_path / "flow.json"
    path.write_text(layers(60, 12))
    result = graph(str(path), "--format", form)
    assert result.exit_code == 0
    assert result.stdout.count("l59x11") == (0 if form == "text" else 2 if form == "svg" else 1)
