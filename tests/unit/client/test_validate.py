"""What `validate` prints: excerpts with a caret, formats for programs and for GitHub, and folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_client.views.excerpts import MOST_SHOWN, Excerpts
from atom_emulator.task_runner.script_fields import SCRIPT_FIELDS
from support.no_cloud import NO_CLOUD

GOOD = "steps: [{id: a}]"
WARNED = "steps:\n- {id: a, task: {url: u, args: [3.10]}}\n"
BAD = "steps:\n  - id: a\n    dependsOn: [b]\n"


def validate(*args: str | Path, stdin: str | None = None) -> Result:
    """Call `validate`."""
    arguments = ["validate", *map(str, args)]
    return CliRunner().invoke(cli, arguments, input=stdin, env=NO_CLOUD, catch_exceptions=False)


@pytest.mark.parametrize(
    ("text", "line", "column", "shown"),
    [
        ("steps: x", 1, 8, ["  1 | steps: x", "    |        ^"]),
        ("a\nbc", 2, 3, ["  2 | bc", "    |   ^"]),
        ("\ta: b", 1, 2, ["  1 |  a: b", "    |  ^"]),
        ("日本: x", 1, 5, ["  1 | 日本: x", "    |       ^"]),
        ("e\u0301: x", 1, 5, ["  1 | e\u0301: x", "    |    ^"]),
        ("a\x1b[2Jb: c", 1, 8, ["  1 | ab: c", "    |    ^"]),
        ("a\u2028b", 2, 1, ["  2 | b", "    | ^"]),
        ("a", 2, 1, []),
        ("a", 1, 9, []),
        ("   ", 1, 1, []),
        ("", 1, 1, []),
        ("token: ghp_abcdefghijklmnopqrstuvwxyz", 1, 8, []),
    ],
)
def test_an_excerpt_points_at_the_place(text: str, line: int, column: int, shown: list[str]) -> None:
    """The caret stands under the character, whatever is before it, and no secret is repeated."""
    assert Excerpts(text.encode(), "a.yaml").at(line, column) == shown


def test_a_long_line_is_cut_around_the_place() -> None:
    """Of a long line, only the part around the place is shown."""
    text = "x" * 5_000 + "!" + "y" * 5_000
    above, below = Excerpts(text.encode(), "a.yaml").at(1, 5_001)
    assert len(above) < MOST_SHOWN + 20
    assert above[below.index("^")] == "!"
    assert above[6] == above[-1] == "…"


def test_a_problem_is_a_line_with_an_excerpt_below(tmp_path: Path) -> None:
    """The line with the place stays as editors read it, and its excerpt follows."""
    file = tmp_path / "a.yaml"
    file.write_text(BAD)
    lines = validate(file).stdout.splitlines()
    assert lines == [
        f"{file}:3:17: there is no step `b`; add that step, or remove this dependency",
        "  3 |     dependsOn: [b]",
        "    |                 ^",
    ]


def test_a_folder_is_searched(tmp_path: Path) -> None:
    """All workflow files of a folder are checked, but no hidden ones, scripts or other files."""
    for name in ("b.yaml", "deep/er/c.YML", "d.json", ".hidden/e.yaml", ".f.yaml", "g.mock.yaml", "h.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"steps": [{"id": "a"}]}')
    result = validate(tmp_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        *(f"{tmp_path}/{name}: ok, 1 step" for name in ("b.yaml", "d.json", "deep/er/c.YML")),
        "3 files: 3 ok",
    ]


def test_a_folder_without_workflow_files_is_a_problem(tmp_path: Path) -> None:
    """A folder that holds nothing to check is probably the wrong one, and the others are still checked."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.yaml").write_text(GOOD)
    result = validate(tmp_path / "empty", tmp_path / "a.yaml")
    assert result.exit_code == 1
    assert "contains no file whose name ends in .yaml, .yml, .json" in result.stderr
    assert result.stdout.splitlines()[-1] == "2 files: 1 ok, 1 invalid (1 problem)"


OTHER_FILES = {
    "jobs.yaml": ("rules: [{step: a}]", "it is a script for the mock Task Runner"),
    "defaults.yml": ("default: {duration: 2}\nidempotent: false", "it is a script for the mock Task Runner"),
    "package.json": ('{\t"name": "site", "scripts": {"steps": "x"}}', "it has no `steps`"),
    "compose.yaml": ("name: x\nservices:\n  a:\n    steps: 3\n? [steps]\n: steps\n", "it has no `steps`"),
    "playbook.yaml": ("- steps: []\n- tasks", "it has no `steps`"),
    "objects.yaml": ("kind: Job\n---\nsteps: []", "it has no `steps`"),
    "number.json": ("3", "it has no `steps`"),
    "chart.yaml": ("{{- if .Values.on }}\nkind: Job\n{{- end }}", "it is neither YAML nor JSON"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_that_is_no_workflow_is_skipped_in_a_folder(tmp_path: Path, name: str) -> None:
    """In a folder, a file without `steps` is skipped with a note; one that is named is checked."""
    text, reason = OTHER_FILES[name]
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / name).write_text(text)
    result = validate(tmp_path)
    assert result.exit_code == 0
    assert sorted(result.stdout.splitlines()) == sorted([
        f"{tmp_path}/a.yaml: ok, 1 step", f"{tmp_path}/{name}: skipped, as {reason}", "1 file: 1 ok, 1 skipped",
    ])  # fmt: skip
    assert json.loads(validate(tmp_path, "--format", "json").stdout)["skipped"] == [
        {"file": f"{tmp_path}/{name}", "reason": reason}
    ]
    assert validate(tmp_path, "--format", "github").stdout == ""
    assert validate(tmp_path / name).exit_code == 1


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing\n", "step: [{id: a}]", "Steps: []", "name: a: b\nsteps: []", "{\t'steps': [", "a: [\nsteps:\n",
        '{"name": "x", "steps": [{"id": 3,}]}', "a: {b: c}\nd: [e]\nsteps: 3", "\ufeffsteps: []",
        "%YAML 1.1\n---\nsteps: []",
        "\udcff\udcfes\0t\0e\0p\0s\0:\0",
    ],
)  # fmt: skip
def test_a_broken_workflow_is_checked_in_a_folder(tmp_path: Path, text: str) -> None:
    """A file that may be a workflow with a mistake is never skipped."""
    (tmp_path / "a.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    result = validate(tmp_path)
    assert (result.exit_code, "skipped" in result.stdout) == (1, False)


def test_a_script_is_known_by_any_of_its_fields(tmp_path: Path) -> None:
    """A file with a field of scripts and no other is taken for a script."""
    for name in SCRIPT_FIELDS:
        (tmp_path / f"{name}.yaml").write_text(f"{name}: 1")
    lines = validate(tmp_path).stdout.splitlines()[: len(SCRIPT_FIELDS)]
    assert [line.partition(": ")[2] for line in lines] == ["skipped, as it is a script for the mock Task Runner"] * 3


def test_a_folder_without_workflows_is_a_problem(tmp_path: Path) -> None:
    """A folder in which every file is skipped is probably the wrong one."""
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "package.json").write_text('{"name": "x"}')
    result = validate(tmp_path)
    assert result.exit_code == 1
    assert "contains no workflow, only 2 other files; name a workflow file" in result.stderr


def test_json_has_every_file_with_its_problems_and_warnings(tmp_path: Path) -> None:
    """Programs get one object with places as numbers, and nothing else on stdout."""
    for name, text in (("good.yaml", WARNED), ("bad.yaml", BAD)):
        (tmp_path / name).write_text(text)
    result = validate(tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "none.yaml", "--format", "json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["valid"]) == (1, False)
    good, bad, none = found["files"]
    assert (good["valid"], good["steps"], good["problems"]) == (True, 1, [])
    [warning] = good["warnings"]
    assert (warning["line"], warning["column"]) == (2, 33)
    assert warning["message"].startswith("`3.10` is sent as the number `3.1`")
    [problem] = bad["problems"]
    assert (problem["line"], problem["column"], problem["message"]) == (3, 17, "there is no step `b`")
    assert "cannot be read" in none["problems"][0]["message"]


def test_github_gets_a_command_for_each_problem_and_warning(tmp_path: Path) -> None:
    """GitHub annotates the line of each problem, and no text of a file can end the command."""
    (tmp_path / "a,b:c%.yaml").write_text(BAD.replace("b]", "'100%\\r']"))
    (tmp_path / "w.yaml").write_text(WARNED)
    result = validate(tmp_path, "--format", "github")
    error, warning = result.stdout.splitlines()
    assert result.exit_code == 1
    assert error.startswith(f"::error file={tmp_path}/a%2Cb%3Ac%25.yaml,line=3,col=17::there is no step `100%25")
    assert warning.startswith(f"::warning file={tmp_path}/w.yaml,line=2,col=33::`3.10` is sent as the number")
    assert validate(tmp_path / "none.yaml", "--format", "github").stdout.startswith("::error file=")


def test_names_of_env_are_known_with_an_env_file(tmp_path: Path) -> None:
    """With `--env-file`, a name that the deployment does not set is a problem."""
    file, names = tmp_path / "a.yaml", tmp_path / "prod.env"
    file.write_text('steps: [{id: a, task: {imageUri: "${{ env.registry }}/${{ env.stage }}"}}]')
    names.write_text("# production\n\nregistry=eu.example\nexport WORKFLOW_ENV_bucket='x'\n")
    assert validate(file).exit_code == 0
    result = validate(file, "--env-file", names)
    assert (
        result.exit_code,
        "`env` has no `stage`" in result.stdout,
        "it has `bucket`, `registry`" in result.stdout,
    ) == (1, True, True)
    names.write_text("registry\nWORKFLOW_ENV_stage=prod\n")
    assert validate(file, "--env-file", names).exit_code == 0
    missing = validate(file, "--env-file", tmp_path / "none")
    assert (missing.exit_code, "none cannot be read: no such file" in missing.stderr) == (2, True)
