"""`upload`: what is refused before anything is sent, and the run that is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_workflows.core.run_ids import run_id_for
from contract.canned import Canned, answer, canned
from support.no_cloud import NO_CLOUD
from support.workflows import chain

GENERATION = "1700000000000001"


@pytest.fixture
def storage() -> Iterator[Canned]:
    """Return a storage that accepts every object."""
    body = json.dumps({"generation": GENERATION}).encode()
    with canned(lambda _asked, _connection: answer(body)) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a workflow file."""
    path = tmp_path / "nightly.yaml"
    path.write_text(chain(2))
    return path


def call(storage: Canned, *args: str | Path, stdin: str = "", **environment: str) -> Result:
    """Call `upload` with that storage."""
    variables = NO_CLOUD | {"STORAGE_EMULATOR_HOST": storage.url} | environment
    return CliRunner().invoke(cli, ["upload", *map(str, args)], input=stdin, env=variables, catch_exceptions=False)


@pytest.mark.parametrize("target", ["gs://flows/workflows/nightly.yaml", "gs://flows/workflows/"])
def test_the_run_of_the_generation_is_printed(storage: Canned, file: Path, target: str) -> None:
    """The printed run is that of the uploaded object's generation."""
    printed = json.loads(call(storage, file, target, "--json").stdout)
    path = "gs://flows/workflows/nightly.yaml"
    run_id = run_id_for(path, "object", "flows", "workflows/nightly.yaml", GENERATION)
    assert printed == {"version": 1, "run_id": run_id, "run": run_id, "object": path, "generation": GENERATION}
    [asked] = storage.asked
    assert asked.body == file.read_bytes()
    assert parse_qs(urlsplit(asked.target).query)["name"] == ["workflows/nightly.yaml"]


@pytest.mark.parametrize(("runner", "is_mock"), [("mock", True), ("scripted", False), ("process", False)])
def test_an_upload_to_a_platform_with_a_mock_warns_of_programs(
    storage: Canned, tmp_path: Path, runner: str, *, is_mock: bool
) -> None:
    """`local up` exports what runs jobs, so `upload` says once that a program would not run."""
    file = tmp_path / "wf.yaml"
    file.write_text("steps: [{id: make, task: {engine: process, args: [./make.py]}}]")
    up = dict.fromkeys(("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"), "127.0.0.1:1")
    result = call(storage, file, "gs://flows/workflows/", ATOM_LOCAL_RUNNER=runner, **up)
    assert result.exit_code == 0
    assert result.stderr.count("Warning: a mock Task Runner simulates the program of `make`") == is_mock


def test_the_next_command_is_printed(storage: Canned, file: Path) -> None:
    """The answer names the run and the command that shows it."""
    printed = call(storage, file, "gs://flows/workflows/", "--project=acme-flow").stdout
    assert f"generation {GENERATION}, which starts run nightly-" in printed
    assert "--project=acme-flow`" in printed


def test_a_file_that_needs_parameters_is_started_otherwise(storage: Canned, file: Path) -> None:
    """An upload of a file with required parameters says that it runs nothing, and how to start a run."""
    file.write_text(
        "params: {day: {type: date}, mode: {type: text}, n: 3}\n"
        "steps: [{id: a, task: {imageUri: i, args: ['${{ params.day }}', '${{ params.mode }}', '${{ params.n }}']}}]\n"
    )
    target = "gs://flows/workflows/"
    printed = call(storage, file, target, "--project=acme-flow").stdout
    assert "will be INVALID: `day` is required." in printed
    assert "start gs://flows/workflows/nightly.yaml --param day=… --param mode=… --project=acme-flow`" in printed
    assert json.loads(call(storage, file, target, "--json").stdout)["required_params"] == ["day", "mode"]


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        ("FILE", "workflows/a.yaml", "is not a path of the form gs://BUCKET/OBJECT"),
        ("FILE", "gs://flows/a.yaml", "would not start a run: the object's name must begin with workflows/"),
        ("FILE", "gs://flows/workflows/a.txt", "end in .yaml or .yml or .json"),
        ("none.yaml", "gs://flows/workflows/", "none.yaml cannot be read"),
        ("-", "gs://flows/workflows/", "stdin has no name"),
        ("-", "gs://flows/workflows/a.yaml", "<stdin>:1:"),
    ],
)
def test_what_would_start_no_run_is_not_sent(
    storage: Canned, file: Path, source: str, target: str, sentence: str
) -> None:
    """A file or name that would start no run is refused before the upload."""
    result = call(storage, file if source == "FILE" else source, target, stdin="steps: 3")
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert storage.asked == []


def test_a_deployment_with_other_names(storage: Canned, file: Path) -> None:
    """The upload prefix of the environment counts."""
    assert call(storage, file, "gs://flows/jobs/a.yaml", WORKFLOW_OBJECT_PREFIX="jobs/").exit_code == 0


def test_no_one_is_logged_in(storage: Canned, file: Path) -> None:
    """Without credentials the user learns how to get them."""
    variables = NO_CLOUD | {"STORAGE_EMULATOR_HOST": None}
    arguments = ["upload", str(file), "gs://flows/workflows/"]
    result = CliRunner().invoke(cli, arguments, env=variables, catch_exceptions=False)
    assert (result.exit_code, "gcloud auth application-default login" in result.stderr) == (1, True), result.stderr
    assert storage.asked == []
