"""The commands as a user calls them, without a platform."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from support.no_cloud import NO_CLOUD

EXAMPLES = Path(__file__).parents[3] / "examples"
BAD = "steps:\n  - id: a\n    dependsOn: [b]\n    task: {imageUri: x}\n  - id: a\n    task: {imageUri: x}\n"


def call(*args: str, stdin: str | None = None, **environment: str) -> Result:
    """Call a command with no platform in its environment but the given one."""
    variables = NO_CLOUD | environment
    return CliRunner().invoke(cli, args, input=stdin, env=variables, catch_exceptions=False)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    """Each example is a valid workflow or a script that the mock reads."""
    if path.name.endswith(".mock.yaml"):
        from atom_emulator.task_runner.script_file import load_script  # noqa: PLC0415 (of one kind of example only)

        assert load_script(path).rules
    else:
        result = call("validate", str(path))
        assert (result.exit_code, result.stdout[-6:]) == (0, "steps\n")


def test_validate_prints_every_problem_of_every_file(tmp_path: Path) -> None:
    """Each problem is a line that editors can jump to, beside valid files too."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    result = call("validate", str(bad), str(EXAMPLES / "fork_join.yaml"))
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert [line.startswith(f"{bad}:") for line in lines[:6]] == [True, False, False] * 2
    assert lines[6].endswith("fork_join.yaml: ok, 6 steps")
    assert lines[7:] == ["2 files: 1 ok, 1 invalid (2 problems)"]


def test_validate_warns_and_succeeds(tmp_path: Path) -> None:
    """A warning is a line of its own, and the file is still valid."""
    file = tmp_path / "a.yaml"
    file.write_text("steps:\n- {id: a, task: {url: u, args: [3.10]}}\n")
    result = call("validate", str(file))
    warning, *_, verdict = result.stdout.splitlines()
    assert result.exit_code == 0
    assert warning.startswith(f"Warning: {file}:2:33: `3.10` is sent as the number `3.1`; ")
    assert verdict == f"{file}: ok, 1 step"


def test_validate_reads_stdin() -> None:
    """`validate -` reads standard input."""
    assert call("validate", "-", stdin=BAD).stdout.startswith("<stdin>:")
    assert call("validate", "-", stdin="steps: [{id: a}]").stdout == "<stdin>: ok, 1 step\n"


def test_validate_says_which_file_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing is an error, and the others are still checked."""
    result = call("validate", str(tmp_path / "none.yaml"), str(EXAMPLES / "retry.yaml"))
    assert result.exit_code == 1
    assert "cannot be read: no such file or directory" in result.stderr
    assert "retry.yaml: ok" in result.stdout


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_file_without_end_is_too_large(command: str) -> None:
    """A file is read only up to its size limit, even if it never ends."""
    result = call(command, "/dev/zero")
    assert result.exit_code in {1, 2}
    assert "than the 4,194,304 bytes allowed" in result.output


def test_stdin_without_end_is_too_large() -> None:
    """Standard input is read only up to the size limit of a file."""
    with Path("/dev/zero").open("rb") as endless:
        result = CliRunner().invoke(cli, ["validate", "-"], input=endless)
    assert (result.exit_code, "than the 4,194,304 bytes allowed" in result.stdout) == (1, True)


def test_schema_is_a_json_schema() -> None:
    """`schema` prints the JSON Schema that editors use."""
    assert json.loads(call("schema").stdout)["title"] == "Workflow"


def test_version() -> None:
    """`--version` prints the version."""
    assert call("--version").stdout.startswith("atom-workflows, version ")


def test_run_refuses_an_invalid_file_with_all_its_problems(tmp_path: Path) -> None:
    """An invalid file is refused with all its problems."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    result = call("run", str(bad))
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 2)
    assert result.stdout == ""


def test_run_prints_problems_as_json(tmp_path: Path) -> None:
    """With --json the problems are a JSON object on stdout."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    result = call("run", "--json", "--workflow-path", str(bad))
    assert result.exit_code == 2
    assert [problem["line"] for problem in json.loads(result.stdout)["problems"]] == [3, 5]


FORK_JOIN = str(EXAMPLES / "fork_join.yaml")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "specify exactly one workflow file"),
        ([FORK_JOIN, "--workflow-path", FORK_JOIN], "specify exactly one workflow file"),
        (["none.yaml"], "none.yaml cannot be read"),
        (["a\x00b"], "is not a file name"),
        ([FORK_JOIN, "--timeout", "soon"], "--timeout is 'soon'"),
        ([FORK_JOIN, "--timeout", "0"], "more than 0"),
        ([FORK_JOIN, "--tr-url", "localhost:8080"], "--tr-url is 'localhost:8080'"),
        ([FORK_JOIN, "--tr-url", "http://[::1"], "--tr-url is"),
        (
            [FORK_JOIN, "--tr-url", "http://x", "--runner", "process"],
            "--runner and --tr-url both choose the Task Runner; leave out one or the other",
        ),
        (
            [FORK_JOIN, "--runner", "process", "--mock-duration", "1"],
            "--mock-duration cannot be used with --runner process, which actually runs jobs",
        ),
        (
            [FORK_JOIN, "--slots", "3"],
            "--slots applies only to jobs that actually run; add --runner process or --runner docker",
        ),
        (
            [FORK_JOIN, "--runner", "process", "--tr-auth-jwt", "x"],
            "--tr-auth-jwt is for the Task Runner at --tr-url; the one started by --runner has its own token",
        ),
        (
            [FORK_JOIN, "--tr-url", "http://x", "--mock-duration", "1"],
            "--mock-duration is for the mock Task Runner, which --tr-url replaces; leave out one or the other",
        ),
        (
            [FORK_JOIN, "--tr-url", "http://x", "--mock-duration", "1", "--mock-script", "x.yaml"],
            "--mock-script and --mock-duration are for the mock Task Runner, which --tr-url replaces",
        ),
        ([FORK_JOIN, "--mock-script", "none.yaml"], "--mock-script none.yaml cannot be read"),
        ([FORK_JOIN, "--mock-script", FORK_JOIN], "the Task Runner script is invalid"),
        ([FORK_JOIN, "--mock-duration", "-1"], "-1"),
        ([FORK_JOIN, "--mock-duration", "nan"], "'nan' is not a number"),
        ([FORK_JOIN, "--emulators", "others"], "others"),
        ([FORK_JOIN, "--log-dir", FORK_JOIN], f"logs cannot be written to {FORK_JOIN}: it is not a folder; choose"),
        ([FORK_JOIN, "--log-dir", f"{FORK_JOIN}/logs"], "fork_join.yaml/logs: not a directory; choose another folder"),
        ([FORK_JOIN, "--log-dir", "/proc/x"], "logs cannot be written to /proc/x: "),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(args: list[str], sentence: str) -> None:
    """A user's mistake ends with exit code 2 before anything is started."""
    result = call("run", *args)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert result.stdout == ""


def test_a_wrong_mock_script_is_refused_with_its_name_and_line(tmp_path: Path) -> None:
    """Outputs that no job can return are reported with file and line, before anything is started."""
    script = tmp_path / "jobs.mock.yaml"
    script.write_text("default:\n  outputs: {day: 2026-01-01}\n")
    result = call("run", FORK_JOIN, "--mock-script", str(script))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"the Task Runner script is invalid:\n  {script}:2:3: default.outputs: expected" in result.stderr


def test_a_mock_script_for_a_misspelled_step_is_refused(tmp_path: Path) -> None:
    """A rule that matches no job of the file is a mistake with a place, reported before anything is started."""
    script = tmp_path / "jobs.mock.yaml"
    script.write_text("rules:\n  - step: extarct\n    always_fail: true\n  - step: report\n")
    result = call("run", FORK_JOIN, "--mock-script", str(script))
    assert (result.exit_code, result.stdout) == (2, "")
    problem = f"{script}:2:5: rules[0].step: no job of fork-join matches extarct; did you mean extract?"
    assert result.stderr == f"Error: the Task Runner script is invalid:\n  {problem}\n"


@pytest.mark.parametrize("command", [("run", FORK_JOIN), ("local", "up")])
@pytest.mark.parametrize("name", ["WORKFLOW_CHECK_STATE_DURATION_SEC", "WORKFLOW_BURST_SEC", "WORKFLOW_MAX_DELIVERIES"])
def test_settings_that_the_functions_would_refuse(name: str, command: tuple[str, ...], tmp_path: Path) -> None:
    """Invalid settings of the shell are refused before a platform starts."""
    result = call(*command, "--log-dir", str(tmp_path), **{name: "often"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {name} is 'often'; it must be a")
    assert result.stderr.endswith(f", or `unset {name}`\n")


def test_a_task_runner_for_which_no_token_can_be_had(tmp_path: Path) -> None:
    """A missing token is reported before anything is started."""
    own = tmp_path / "adc.json"
    own.write_text('{"type": "authorized_user"}')
    url = "https://runner.invalid"
    result = call(
        "run", FORK_JOIN, "--tr-url", url, "--log-dir", str(tmp_path), GOOGLE_APPLICATION_CREDENTIALS=str(own)
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"no ID token for {url}: GOOGLE_APPLICATION_CREDENTIALS names {own}, a user's own" in result.stderr
    assert "--tr-auth-jwt=none. Nothing was started." in result.stderr


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder that is gone is reported, as logs would go there."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = call("run", FORK_JOIN)
    assert (result.exit_code, "the working folder no longer exists" in result.stderr) == (2, True)


def test_half_a_platform_is_refused() -> None:
    """One emulator's variable without the other is refused."""
    result = call("run", FORK_JOIN, FIRESTORE_EMULATOR_HOST="127.0.0.1:1")
    assert (result.exit_code, "PUBSUB_EMULATOR_HOST is not" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", [["list"], ["show", "r"], ["cancel", "r"], ["retry", "r"]])
def test_runs_need_to_know_where_they_are(command: list[str]) -> None:
    """Without a platform in the environment the message says how to name one."""
    result = call("runs", *command)
    assert (result.exit_code, "GOOGLE_CLOUD_PROJECT" in result.stderr) == (2, True)


def test_a_start_without_a_platform_says_how_to_get_one() -> None:
    """The sentence names both kinds of platform, and what to do for each."""
    result = call("start", FORK_JOIN)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no platform has been chosen, and this folder has no .atom-workflows")
    assert "run `atom-workflows local up` in another terminal and export what it prints" in result.stderr
    assert "give --project" in result.stderr


def test_a_start_is_refused_for_a_task_runner_of_another_local_platform() -> None:
    """A local platform has one Task Runner, which is chosen when the platform starts."""
    mock = {"WORKFLOW_TASK_RUNNER_URL": "http://mock:1"}
    result = call("start", FORK_JOIN, "--tr-url", "http://mine:2", **UP, **mock)
    assert result.exit_code == 2
    assert "`atom-workflows local up --tr-url=http://mine:2`" in result.stderr
    allowed = call("start", FORK_JOIN, "--tr-url", "http://mock:1", **UP, **mock)
    assert (allowed.exit_code, "nothing responds" in allowed.stderr) == (1, True)


def test_a_run_names_no_platform_that_does_not_answer() -> None:
    """A platform is said to be used only once it has answered."""
    result = call("run", FORK_JOIN, **UP)
    assert (result.exit_code, "nothing responds at 127.0.0.1:1" in result.stderr) == (1, True)
    assert "Using the platform" not in result.stdout


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:http"])
def test_a_platform_that_does_not_answer_is_named(address: str) -> None:
    """A platform that was stopped is noticed at once."""
    result = call("runs", "list", FIRESTORE_EMULATOR_HOST=address, PUBSUB_EMULATOR_HOST=address)
    assert (result.exit_code, f"nothing responds at {address}" in result.stderr) == (1, True)


def test_choices_for_a_new_platform_are_refused_for_one_that_is_up() -> None:
    """An option that would be ignored is an error."""
    result = call(
        "run", FORK_JOIN, "--keep", "--mock-duration", "1", FIRESTORE_EMULATOR_HOST="x:1", PUBSUB_EMULATOR_HOST="x:1"
    )
    assert (result.exit_code, "--mock-duration, --keep can only be chosen" in result.stderr) == (2, True)


UP: dict[str, str] = dict.fromkeys(("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"), "127.0.0.1:1")


@pytest.mark.parametrize("variables", [{}, {"WORKFLOW_TASK_RUNNER_URL": "http://mock:1"}])
def test_another_task_runner_is_refused_for_a_platform_that_is_up(variables: dict[str, str]) -> None:
    """`--tr-url` is refused on a running platform that uses another Task Runner."""
    result = call("run", FORK_JOIN, "--tr-url", "http://mine:2", **UP, **variables)
    assert result.exit_code == 2
    assert "--tr-url can only be chosen" in result.stderr
    assert "Give these options to `atom-workflows local up`" in result.stderr


@pytest.mark.parametrize("url", ["http://mock:1", "http://mock:1/"])
def test_the_task_runner_of_a_platform_that_is_up_may_be_named(url: str) -> None:
    """`--tr-url` may name the Task Runner that the platform uses anyway."""
    result = call("run", FORK_JOIN, "--tr-url", url, WORKFLOW_TASK_RUNNER_URL="http://mock:1", **UP)
    assert (result.exit_code, "nothing responds" in result.stderr) == (1, True)
    assert "continues" not in result.stderr


@pytest.mark.parametrize(
    ("chosen", "has", "agrees"),
    [
        ("process", "process", True),
        ("docker", "docker", True),
        ("mock", "mock", True),
        ("mock", "scripted", True),
        ("process", "mock", False),
        ("mock", "process", False),
        ("process", "other", False),
        ("process", "", False),
    ],
)
def test_the_runner_of_a_platform_that_is_up_may_be_named(chosen: str, has: str, *, agrees: bool) -> None:
    """`--runner` may name what runs the jobs of the platform anyway; anything else is refused."""
    result = call("run", FORK_JOIN, "--runner", chosen, ATOM_LOCAL_RUNNER=has, **UP)
    assert result.exit_code == (1 if agrees else 2)
    assert ("--runner can only be chosen" in result.stderr) is not agrees
    slots = call("run", FORK_JOIN, "--runner", chosen, "--slots", "3", ATOM_LOCAL_RUNNER=has, **UP)
    assert slots.exit_code == 2
    assert f"{'' if agrees else '--runner, '}--slots can only be chosen" in slots.stderr


@pytest.mark.parametrize(("runner", "is_mock"), [("mock", True), ("scripted", False), ("process", False), ("", False)])
def test_a_run_on_a_platform_with_a_mock_warns_of_programs(tmp_path: Path, runner: str, *, is_mock: bool) -> None:
    """`local up` exports what runs jobs, so `run` can warn of programs that would not run."""
    file = tmp_path / "wf.yaml"
    file.write_text("steps: [{id: make, task: {engine: process, args: [./make.py]}}]")
    result = call("run", str(file), ATOM_LOCAL_RUNNER=runner, **UP)
    assert ("Warning: a mock Task Runner simulates the program of `make`" in result.stderr) == is_mock


def test_the_command_line_starts_light() -> None:
    """Validating a file imports neither Google's clients nor rich."""
    program = (
        "import sys; from atom_client.cli.commands import cli; "
        f"cli.main(['validate', {FORK_JOIN!r}], standalone_mode=False); "
        "heavy = {'rich', 'grpc', 'google.api_core', 'requests', 'atom_emulator'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
