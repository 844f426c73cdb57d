"""`init`: the first workflow, and what is never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.testing.play import play
from atom_workflows.language.json_schema import json_schema
from atom_workflows.language.parser import parse_workflow
from support.no_cloud import NO_CLOUD


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*args: str) -> Result:
    """Call `init`."""
    return CliRunner().invoke(cli, ["init", *args], env=NO_CLOUD, catch_exceptions=False)


def test_the_first_workflow_runs_as_it_is(folder: Path) -> None:
    """What is written is valid without a warning, and its run succeeds."""
    assert init().exit_code == 0
    workflow = parse_workflow((folder / "workflow.yaml").read_bytes(), filename="workflow.yaml")
    assert not workflow.warnings
    assert play(folder / "workflow.yaml").state == "SUCCEEDED"


def test_the_first_line_leads_an_editor_to_the_schema(folder: Path) -> None:
    """The file begins with the editor's line, and the schema that it names is beside the file."""
    (folder / "flows").mkdir()
    assert "wrote flows/nightly.yaml, and flows/workflow.schema.json for editors" in init("flows/nightly.yaml").stdout
    first = (folder / "flows" / "nightly.yaml").read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads((folder / "flows" / named).read_text()) == json_schema()


def test_the_next_commands_can_be_pasted(folder: Path) -> None:
    """What is printed names the file as a shell reads it, each command on a line of at most 80 characters."""
    lines = init("my flow.yaml").stdout.splitlines()
    assert "  atom-workflows run 'my flow.yaml' --runner process  runs its programs" in lines
    assert max(map(len, init("workflow.yaml").stdout.splitlines())) <= 80


def test_nothing_is_overwritten(folder: Path) -> None:
    """A file that is there stays as it is, and so does a schema; without a workflow there, only the schema is kept."""
    (folder / "workflow.schema.json").write_text("mine")
    assert init("a.yaml").stdout.startswith("wrote a.yaml\n")
    (folder / "a.yaml").write_text("mine")
    refused = init("a.yaml")
    assert (refused.exit_code, refused.stderr) == (
        2,
        "Error: a.yaml already exists and was left as it is; name another file\n",
    )
    assert {path.read_text() for path in folder.iterdir()} == {"mine"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("flow", "'flow' is not the name of a workflow file; name one that ends in .yaml or .yml"),
        ("", "'' is not the name of a workflow file; name one that ends in .yaml or .yml"),
        ("-", "'-' is not the name of a workflow file; name one that ends in .yaml or .yml"),
        ("no/such/a.yaml", "no/such/a.yaml cannot be written: no such file or directory"),
        ("a\0.yaml", "'a.yaml' is not a file name: embedded null byte"),
        (f"{'x' * 300}.yaml", "cannot be written: file name too long"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(folder: Path, name: str, sentence: str) -> None:
    """A name that no workflow file can have is refused with a sentence, and nothing is left behind."""
    refused = init(name)
    assert refused.exit_code == 2
    assert sentence in refused.stderr
    assert list(folder.iterdir()) == []


def test_a_folder_in_the_place_of_the_file_is_left_alone(folder: Path) -> None:
    """A folder with the name of the file counts as a file that exists."""
    (folder / "workflow.yaml").mkdir()
    assert "already exists" in init().stderr
