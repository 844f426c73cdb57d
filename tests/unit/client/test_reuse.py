"""`runs retry --with` and `--param` show what a new run would keep, ask, and start it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from atom_client.cli.output import Output
from atom_emulator.testing.world import World
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from support.command_line import call_runs
from support.groups import runs_of
from support.json_shapes import require_documented
from support.repairs import BASE, FAILING, WORKING, EndedRun, edited, ended_run, repair, start_repair
from support.workflows import definition

CHANGED = edited(BASE, {"stats:1": "stats:2"})

SHOWN = """\
STEP     WHAT  WHY
extract  keep
clean    keep
stats    run   its image changed
train    keep
report   run   stats runs again
publish  run   it failed

Run {run} stays as it is. A new run keeps 3 steps of it and runs 3 steps.
"""


@pytest.fixture
def earlier() -> EndedRun:
    """Return a run whose last step has failed."""
    return ended_run(script=FAILING)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Return the path of an edited file."""
    path = tmp_path / "edited.yaml"
    path.write_text(CHANGED)
    return str(path)


def test_who_has_a_run_repaired_is_shown_and_why(earlier: EndedRun, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ended run has a line with the new one, as it has one for a retry in place."""
    monkeypatch.setenv("LOGNAME", "ana")
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    words = ("retry", earlier.run_id, "--with", file, "--yes", "--reason", "the wrong image")
    assert call_runs(earlier.world, *words).exit_code == 0
    [new] = new_runs(earlier)
    shown = call_runs(earlier.world, "show", earlier.run_id).stdout
    assert f"changed      retried (as {new.id}) by ana@laptop at " in shown
    assert ": the wrong image\n" in shown


def new_runs(earlier: EndedRun) -> list[RunRecord]:
    """Deliver the start messages, and return the runs that they started."""
    earlier.world.settle_down()
    return [run for name, run in runs_of(earlier.world).items() if name != earlier.run_id]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let someone at a terminal read the output."""
    monkeypatch.setattr(Output, "has_reader", property(lambda _: True))


@pytest.mark.usefixtures("asked")
def test_the_choice_is_shown_before_the_run_is_started(earlier: EndedRun, file: str) -> None:
    """Each step has a line with its reason; the new run keeps just those steps."""
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", file, answer="y\n")
    assert result.stdout.startswith(SHOWN.format(run=earlier.run_id))
    (run,) = new_runs(earlier)
    assert result.stdout.splitlines()[-2:] == [
        f"Start it? [y/N]: y\nRequested run {run.id}, which keeps 3 steps of run {earlier.run_id}.".splitlines()[-1],
        f"To view it: `atom-workflows runs show {run.id}`",
    ]
    assert (result.exit_code, run.repairs) == (0, earlier.run_id)
    assert earlier.world.run_to_end(run.id).state is RunState.SUCCEEDED


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_no_answer_or_no_starts_nothing(earlier: EndedRun, file: str, answer: str) -> None:
    """Only a yes starts the run, and nothing is published before."""
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", file, answer=answer)
    assert result.exit_code == 1
    assert new_runs(earlier) == []


def test_a_script_is_not_asked(earlier: EndedRun, file: str) -> None:
    """Without a terminal, what would happen is shown, and then happens."""
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", file)
    assert result.stdout.startswith(SHOWN.format(run=earlier.run_id))
    assert len(new_runs(earlier)) == 1


def test_a_dry_run_only_shows(earlier: EndedRun, file: str) -> None:
    """It asks nothing and starts nothing; as JSON it is for programs."""
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", file, "--dry-run")
    assert (result.exit_code, result.stdout) == (0, SHOWN.format(run=earlier.run_id))
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", file, "--dry-run", "--json")
    shown = json.loads(result.stdout)
    require_documented("runs retry", shown)
    assert {name: shown[name] for name in ("dry_run", "repairs", "kept", "again", "removed", "changed")} == {
        "dry_run": True,
        "repairs": earlier.run_id,
        "kept": 3,
        "again": 3,
        "removed": 0,
        "changed": [],
    }
    assert shown["steps"][2] == {"id": "stats", "what": "run", "why": "its image changed"}
    assert new_runs(earlier) == []


def test_why_explains_a_kept_step_by_its_own_run() -> None:
    """It names the run in which the step ended, and shows no body that no one has sent."""
    text = edited(BASE, {"mode: fast": "mode: '${{ run.id }}'"})
    earlier = ended_run(text)
    repaired = repair(earlier, edited(text, {"stats:1": "stats:2"}))
    said = call_runs(earlier.world, "why", repaired.run.id, "clean").stdout
    assert f"run {earlier.run_id}, in which it ended; `atom-workflows why {earlier.run_id} clean` explains" in said
    assert "sent" not in said
    assert earlier.run_id in call_runs(earlier.world, "why", earlier.run_id, "clean").stdout


def test_why_counts_the_steps_of_a_run_that_only_has_what_succeeded() -> None:
    """Steps that SUCCEEDED are not read, but they are there."""
    text = definition({"a": []})
    earlier = ended_run(text)
    repaired = repair(earlier, definition({"a": [], "b": ["a"]}))
    for run_id, steps in ((earlier.run_id, "1 step"), (repaired.run.id, "2 steps")):
        assert f": {steps}." in call_runs(earlier.world, "why", run_id).stdout


def test_the_summary_of_a_repair_is_about_its_own_attempts(tmp_path: Path) -> None:
    """It says how many steps were kept, and not that one of these needed several attempts in the earlier run."""
    flaky = {"rules": [{"step": "publish", "fail_times": 9}, {"step": "clean", "fail_times": 1}]}
    text = edited(BASE, {"- id: clean": "- id: clean\n    retry: {maxAttempts: 2}"})
    earlier = ended_run(text, script=json.dumps({**json.loads(WORKING), **flaky}))
    assert earlier.world.steps(earlier.run_id)["clean"].attempt == 2
    (tmp_path / "edited.yaml").write_text(edited(text, {"stats:1": "stats:2"}))
    call_runs(earlier.world, "retry", earlier.run_id, "--with", str(tmp_path / "edited.yaml"))
    (run,) = new_runs(earlier)
    assert earlier.world.run_to_end(run.id).state is RunState.SUCCEEDED
    shown = call_runs(earlier.world, "show", run.id).stdout
    assert ": 6 steps and 2 items; 3 steps were kept." in shown


def test_a_run_that_never_had_a_file_is_refused() -> None:
    """The reason is the run's state, not its missing file."""
    world = World()
    run_id = start_repair(world, {"workflow_path": "gs://bucket/gone.yaml", "run_key": "k"}).run_id
    result = call_runs(world, "retry", run_id, "--param", "limit=5")
    assert f"run {run_id} is INVALID and has no steps to keep" in result.stderr


def test_a_program_gets_one_object(earlier: EndedRun, file: str) -> None:
    """With --json the answer has the id of the new run, and the table is on stderr."""
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", file, "--json", "--yes")
    (run,) = new_runs(earlier)
    shown = json.loads(result.stdout)
    require_documented("runs retry", shown)
    assert (shown["run_id"], shown["repairs"], shown["kept"]) == (run.id, earlier.run_id, 3)
    assert SHOWN.format(run=earlier.run_id) in result.stderr


def test_another_parameter_needs_no_file_if_the_file_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file of that name in the working folder is used if it is unchanged; otherwise it has to be given."""
    monkeypatch.chdir(tmp_path)
    earlier = ended_run()
    Path("nightly.yaml").write_text(CHANGED)
    result = call_runs(earlier.world, "retry", earlier.run_id, "--param", "limit=5", "--yes")
    assert result.exit_code == 2
    assert "this folder has no unchanged nightly.yaml; give the file with --with FILE" in result.output
    Path("nightly.yaml").write_text(BASE)
    result = call_runs(earlier.world, "retry", earlier.run_id, "--param", "limit=5", "--yes")
    assert "params.limit: 3 is now 5\n" in result.output
    (run,) = new_runs(earlier)
    assert run.params == {"day": "mon", "limit": 5}
    # The new run stores its file, whichever run it repairs.
    assert earlier.world.run_to_end(run.id).state is RunState.SUCCEEDED
    Path("nightly.yaml").unlink()
    assert call_runs(earlier.world, "retry", run.id, "--param", "limit=6", "--yes").exit_code == 0


def test_a_param_that_nothing_declares_is_no_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file without params has no param to change: alone it is refused, and with an edited file it is warned of."""
    monkeypatch.chdir(tmp_path)
    plain = definition({"a": [], "b": ["a"]})
    earlier = ended_run(plain)
    Path("flow.yaml").write_text(plain)
    refused = call_runs(earlier.world, "retry", earlier.run_id, "--with", "flow.yaml", "--param", "x=1", "--yes")
    assert "there is no param `x`; the workflow has no params" in refused.stderr
    assert (refused.exit_code, new_runs(earlier)) == (2, [])
    Path("flow.yaml").write_text(definition({"a": [], "c": ["a"]}))
    warned = call_runs(earlier.world, "retry", earlier.run_id, "--with", "flow.yaml", "--param", "x=1", "--yes")
    assert "Warning: params were given, but the file declares none; they are stored but not used" in warned.stderr
    assert (warned.exit_code, len(new_runs(earlier))) == (0, 1)


def test_a_file_from_a_bucket_is_read_in_its_generation() -> None:
    """The run's own generation is used, and the start message names it instead of the content."""
    world = World(WORKING)
    run_id = world.upload(BASE)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    result = call_runs(world, "retry", run_id, "--param", "limit=5", "--yes")
    assert result.exit_code == 0
    (run,) = new_runs(EndedRun(world=world, run_id=run_id))
    assert (run.source, run.params["limit"]) == (world.run(run_id).source, 5)
    assert world.run_to_end(run.id).state is RunState.SUCCEEDED
    world.upload(CHANGED, generation=2)
    result = call_runs(world, "retry", run_id, "--param", "limit=6", "--yes")
    assert "its bucket does not keep generation 1 of it; give the file with --with FILE" in result.output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--param", "limit=many"), "nightly.yaml: `params.limit` is `many`, which is not a whole number"),
        (("--param", "nothing=1"), "nightly.yaml: there is no param `nothing`"),
        (("--param", "limit"), "--param is 'limit'; it must be NAME=VALUE"),
        (("--with", "missing.yaml"), "missing.yaml cannot be read"),
        (("--with", "empty.yaml"), "empty.yaml"),
        (("--with", "binary.yaml"), "binary.yaml is not UTF-8 text"),
        (("--with", "gs://bucket"), "is not a path of the form gs://BUCKET/OBJECT"),
        (("--with", "gs://bucket/gone.yaml"), "gs://bucket/gone.yaml does not exist"),
        (("--with", "nightly.yaml", "--timeout", "5s"), "--timeout requires --wait"),
        (("--with", "nightly.yaml", "--from", "stats"), "--from is for a run that is continued"),
        (("--param", "limit=5", "--failed"), "--failed is for a run that is continued"),
    ],
)
def test_wrong_input_is_answered_with_a_sentence(
    args: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is started, and the sentence says what to do."""
    monkeypatch.chdir(tmp_path)
    Path("nightly.yaml").write_text(BASE)
    Path("empty.yaml").write_text("")
    Path("binary.yaml").write_bytes(b"name: \xff")
    earlier = ended_run(script=FAILING)
    result = call_runs(earlier.world, "retry", earlier.run_id, *args)
    assert said in result.output
    assert result.exit_code in {1, 2}
    assert new_runs(earlier) == []


def test_both_runs_name_each_other_and_kept_steps_are_marked(earlier: EndedRun, file: str) -> None:
    """`runs show` of each shows the other, as a table and as JSON."""
    call_runs(earlier.world, "retry", earlier.run_id, "--with", file, "--yes")
    (run,) = new_runs(earlier)
    assert earlier.world.run_to_end(run.id).state is RunState.SUCCEEDED
    shown = call_runs(earlier.world, "show", run.id).stdout
    assert f"repairs      {earlier.run_id}, keeping some of its steps" in shown
    assert f"(given in the start message, named as in run {earlier.run_id})" in shown
    step = call_runs(earlier.world, "show", run.id, "--step", "clean").stdout
    assert (
        f"  kept from    run {earlier.run_id}, in which it ended; `atom-workflows why {earlier.run_id} clean`" in step
    )
    assert f"kept from {earlier.run_id}: 2 items" in shown
    assert f"repaired by  {run.id}" in call_runs(earlier.world, "show", earlier.run_id).output
    both = json.loads(call_runs(earlier.world, "show", run.id, "--json").output)
    assert both["run"]["repairs"] == earlier.run_id
    assert {step["id"] for step in both["steps"] if step["kept_from"]} == {"extract", "clean", "train"}
    before = json.loads(call_runs(earlier.world, "show", earlier.run_id, "--json").output)
    assert before["run"]["repaired_by"] == [run.id]
    items = call_runs(earlier.world, "show", run.id, "--items", "train").output
    assert f"atom-workflows runs show {earlier.run_id} --items train" in items


@pytest.mark.parametrize("command", [("retry", "--from"), ("why",)])
def test_an_item_of_a_kept_step_is_shown_with_the_earlier_run(
    earlier: EndedRun, file: str, command: tuple[str, ...]
) -> None:
    """Whoever names such an item is sent to the run that has it."""
    call_runs(earlier.world, "retry", earlier.run_id, "--with", file, "--yes")
    (run,) = new_runs(earlier)
    earlier.world.run_to_end(run.id)
    result = call_runs(earlier.world, command[0], run.id, *command[1:], "train[1]")
    assert result.exit_code == 1
    assert result.stderr.rstrip().endswith(
        f"`train` was kept from run {earlier.run_id}: `atom-workflows runs show {earlier.run_id} --items train` shows "
        "its items"
    )


def test_a_run_that_keeps_nothing_is_warned_of(earlier: EndedRun, tmp_path: Path) -> None:
    """Users who expected to save work learn that none is saved, and how to begin anew."""
    path = tmp_path / "other.yaml"
    path.write_text(edited(BASE, {"extract:1": "extract:2"}))
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", str(path), "--dry-run")
    warning = (
        f"Warning: no step of run {earlier.run_id} is kept: the new run starts from scratch, like a run started with "
        "`atom-workflows start`\n"
    )
    assert result.stderr.endswith(warning)
    path.write_text(CHANGED)
    assert warning not in call_runs(earlier.world, "retry", earlier.run_id, "--with", str(path), "--dry-run").stderr


def test_a_large_run_shows_what_is_not_kept(tmp_path: Path) -> None:
    """Of hundreds of steps, those that run again are shown, and the others are counted."""
    edges = {f"s{number}": [f"s{number - 1}"] if number else [] for number in range(100)}
    earlier = ended_run(definition(edges))
    path = tmp_path / "large.json"
    path.write_text(definition(edges, s98={"task": {"imageUri": "other"}}))
    result = call_runs(earlier.world, "retry", earlier.run_id, "--with", str(path), "--dry-run")
    assert result.stdout.startswith(
        "STEP  WHAT  WHY\ns98   run   its image changed\ns99   run   s98 runs again\n(98 more steps not shown;"
    )
