"""The start of a run that keeps steps of an ended one: what is refused, what it inherits, and what is decided once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator.commands import cancel_run, retry_run
from atom_workflows.coordinator.preparation import Refusal
from atom_workflows.coordinator.run_commands import accept_command
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.gathering import count_items
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import outputs_path, run_path, steps_path
from atom_workflows.errors import RunStateError
from atom_workflows.handlers.start import on_start
from atom_workflows.messages.internal import MARK, RunCommand
from atom_workflows.ports import Update
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, make_mortal
from support.repairs import BASE, FAILING, WORKING, EndedRun, edited, ended_run, plan, repair, request, start_repair
from support.workflows import definition, script

CHANGED = edited(BASE, {"stats:1": "stats:2"})
AGAIN = {"stats", "report", "publish"}


def refusal(world: World, body: dict[str, Any]) -> str:
    """Start a repair, which is refused, and return why."""
    started = start_repair(world, body)
    assert started.refusal is not None
    assert world.run(started.run_id).state is RunState.INVALID
    (problem,) = started.problems
    return str(problem["message"])


def test_a_run_that_succeeded_can_be_run_with_another_parameter() -> None:
    """Only the steps that read it, and those behind them, run again."""
    repaired = repair(ended_run(), BASE, params={"limit": 5})
    assert repaired.run.state is RunState.SUCCEEDED
    assert repaired.jobs == AGAIN
    assert repaired.run.params == {"day": "mon", "limit": 5}
    assert repaired.run.defaulted == ("day",)


def test_parameters_that_were_given_are_given_again() -> None:
    """A parameter keeps its value unless the request has another one; a default may change with the file."""
    earlier = ended_run(params={"day": "tue"}, script=FAILING)
    repaired = repair(earlier, edited(BASE, {"default: mon": "default: fri"}))
    assert repaired.run.params == {"day": "tue", "limit": 3}
    assert repaired.jobs == {"publish"}


def test_a_parameter_that_the_file_no_longer_has_is_dropped() -> None:
    """It is no problem that the earlier run was given one that is gone."""
    earlier = ended_run(params={"limit": 7}, script=FAILING)
    text = edited(BASE, {"  limit: {type: int, default: 3}\n": "", ", args: {limit: '${{ params.limit }}'}": ""})
    repaired = repair(earlier, text)
    assert repaired.run.params == {"day": "mon"}
    assert repaired.jobs == AGAIN


def test_a_run_whose_outputs_could_not_be_computed_is_corrected_without_a_job() -> None:
    """If no step has changed, but the outputs of the run have, the new run only computes these."""
    outputs = "outputs: {half: '${{ 12 / (steps.extract.outputs.rows - 12) }}'}\n"
    earlier = ended_run(f"{BASE}{outputs}")
    assert earlier.world.run(earlier.run_id).state is RunState.FAILED
    repaired = repair(earlier, f"{BASE}{outputs.replace(' - 12', '')}")
    assert (repaired.jobs, repaired.run.state, repaired.run.outputs) == (set(), RunState.SUCCEEDED, {"half": 1.0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE, "no step of run {} would run again: it SUCCEEDED, and nothing that matters to a step has changed"),
        ("steps: [{id: a b}]", "`id`"),
    ],
)
def test_a_request_that_changes_nothing_or_is_invalid_starts_nothing(text: str, said: str) -> None:
    """Such a run is INVALID, with the reason, and the earlier one does not name it."""
    earlier = ended_run()
    assert said.format(earlier.run_id) in refusal(earlier.world, request(earlier.run_id, text))
    assert earlier.world.run(earlier.run_id).repaired_by == ()


def test_only_ended_runs_with_steps_can_be_repaired() -> None:
    """A run that is open, has never begun, does not exist, or is nearly deleted is refused with a sentence."""
    world = World(WORKING)
    is_open = world.start(BASE, run_key="open", path="nightly.yaml")
    assert f"run {is_open} is RUNNING; wait for it to end" in refusal(world, request(is_open, CHANGED, key="a"))
    invalid = world.start("steps: []", run_key="invalid", path="nightly.yaml")
    assert "is INVALID and has no steps to keep" in refusal(world, request(invalid, CHANGED, key="b"))
    started = start_repair(world, request("nightly-unknown", CHANGED, key="c"))
    assert started.refusal is Refusal.NOT_FOUND
    assert world.run_to_end(is_open).state is RunState.SUCCEEDED
    world.clock.move(world.services.settings.keep_runs - timedelta(minutes=50))
    assert "will be deleted at" in refusal(world, request(is_open, CHANGED, key="d"))


def test_a_run_has_one_open_repair_at_a_time() -> None:
    """A second one is refused until the first has ended; both runs name each other."""
    earlier = ended_run()
    world = earlier.world
    first = start_repair(world, request(earlier.run_id, CHANGED, key="one")).run_id
    said = refusal(world, request(earlier.run_id, CHANGED, key="two"))
    assert said.startswith(f"run {first} already repairs run {earlier.run_id}, and is RUNNING")
    assert world.run(first).repairs == earlier.run_id
    cancel_run(world.services, first, actor="me")
    second = start_repair(world, request(earlier.run_id, CHANGED, key="two"))
    assert second.refusal is None
    assert world.run(earlier.run_id).repaired_by == (first, second.run_id)


def test_no_relative_of_an_open_repair_is_retried() -> None:
    """Neither the run that it repairs nor an earlier repair of that run runs the same steps beside it."""
    earlier = ended_run(script=FAILING)
    world = earlier.world
    first = start_repair(world, request(earlier.run_id, CHANGED, key="one")).run_id
    cancel_run(world.services, first, actor="me")
    second = start_repair(world, request(earlier.run_id, CHANGED, key="two")).run_id
    said = f"run {second} already repairs run {earlier.run_id}, and is RUNNING; wait for it to end, or cancel it"
    for run_id in (earlier.run_id, first):
        with pytest.raises(RunStateError) as refused:
            retry_run(world.services, run_id, actor="me")
        assert str(refused.value) == said
        with pytest.raises(RunStateError, match=f"run {second} already repairs"):
            accept_command(world.services, RunCommand(run_id, "retry", retries=0, actor="me"))
        with pytest.raises(RunStateError, match=f"run {second} already repairs"):
            accept_command(world.services, RunCommand(run_id, MARK, 0, actor="me", step="publish", state="skipped"))
    assert said in refusal(world, request(first, edited(CHANGED, {"publish:1": "publish:2"}), key="three"))
    cancel_run(world.services, second, actor="me")
    retry_run(world.services, earlier.run_id, actor="me")
    for run_id in (first, second):
        with pytest.raises(RunStateError, match=f"run {earlier.run_id} is the one that run {run_id} repairs, and is"):
            retry_run(world.services, run_id, actor="me")
    assert world.run_to_end(earlier.run_id).state is RunState.SUCCEEDED
    retry_run(world.services, first, actor="me")


def test_the_ended_run_records_who_had_it_repaired() -> None:
    """The change names the new run, whoever asked for it, and why; a request that names no one records none."""
    earlier = ended_run()
    first = start_repair(earlier.world, request(earlier.run_id, CHANGED, key="a", actor="ana", reason="the wrong day"))
    [change] = earlier.world.run(earlier.run_id).changes
    assert (change.actor, change.what, change.why) == ("ana", f"retry as {first.run_id}", "the wrong day")
    cancel_run(earlier.world.services, first.run_id, actor="me")
    start_repair(earlier.world, request(earlier.run_id, CHANGED, key="b"))
    assert earlier.world.run(earlier.run_id).changes == (change,)


def test_of_two_repairs_at_the_same_moment_one_is_refused() -> None:
    """The commit that creates the run has a guard on the one that it repairs, which is then read again."""
    earlier = ended_run()
    world = earlier.world
    other = request(earlier.run_id, CHANGED, key="other")

    def start_other() -> None:
        assert start_repair(world, other).refusal is None

    moment = meanwhile(world, lambda name, _: name == "commit", start_other)
    said = refusal(world, request(earlier.run_id, CHANGED))
    assert moment.happened
    assert "already repairs run" in said


def test_something_else_than_was_shown_is_not_started() -> None:
    """The digest of what is kept ties the start to what its user has seen."""
    earlier = ended_run()
    world = earlier.world
    shown = plan(world, request(earlier.run_id, CHANGED)).judgment.digest
    other = edited(CHANGED, {"clean:1": "clean:2"})
    said = refusal(world, request(earlier.run_id, other, kept_digest=shown))
    assert "would be kept are no longer the ones that were shown" in said
    assert start_repair(world, request(earlier.run_id, CHANGED, kept_digest=shown)).refusal is None


def test_a_repeated_request_starts_nothing_and_another_one_needs_its_own_key() -> None:
    """The same message may come twice, even after the run has ended; a key belongs to one request."""
    repaired_by = request((earlier := ended_run()).run_id, CHANGED, params={"limit": 3})
    world = earlier.world
    first = start_repair(world, repaired_by)
    assert start_repair(world, repaired_by) == first
    world.run_to_end(first.run_id)
    jobs = len(world.task_runner.submitted)
    assert start_repair(world, repaired_by) == first
    world.run_to_end(first.run_id)
    assert len(world.task_runner.submitted) == jobs
    for other in ({"params": {"limit": 4}}, {"repairs": first.run_id}, {"definition": BASE}):
        assert start_repair(world, {**repaired_by, **other}).refusal is Refusal.KEY_IN_USE
    plain = {name: value for name, value in repaired_by.items() if name != "repairs"}
    assert start_repair(world, plain).refusal is Refusal.KEY_IN_USE


def test_a_repair_stands_for_the_same_day() -> None:
    """It inherits the time for which the run was scheduled, its window, trigger and labels, and its Task Runner."""
    text = edited(BASE, {"default: mon": "default: '${{ day(run.scheduledAt) }}'", "type: text": "type: date"})
    text = edited(text, {"publish:1": "publish:2"})
    world = World(FAILING)
    body = {"workflow_path": "nightly.yaml", "run_key": "k", "definition": text, "labels": {"team": "a", "tier": "1"}}
    run_id = start_repair(world, {**body, "scheduled_at": "2025-12-24T02:00:00Z"}).run_id
    assert world.run_to_end(run_id).state is RunState.FAILED
    world.clock.move(timedelta(days=1))
    repaired = start_repair(world, request(run_id, text, labels={"tier": "2"}))
    run = world.run(repaired.run_id)
    assert run.scheduled_at == datetime(2025, 12, 24, 2, tzinfo=UTC)
    assert run.params["day"] == "2025-12-24"
    assert run.labels == {"team": "a", "tier": "2"}
    assert world.steps(run.id)["extract"].kept_from == run_id


def test_a_repair_has_no_more_labels_than_any_run() -> None:
    """Those of the earlier run count, so they cannot pile up from repair to repair."""
    world = World(FAILING)
    old, new = ({f"{name}{number}": "1" for number in range(count)} for name, count in (("old", 40), ("new", 25)))
    run_id = start_repair(world, {"workflow_path": "a.yaml", "run_key": "k", "definition": BASE, "labels": old}).run_id
    assert world.run_to_end(run_id).state is RunState.FAILED
    said = refusal(world, request(run_id, BASE, labels=new))
    assert said == f"the run would have 65 labels, including those of run {run_id}; it may have 64"
    del new["new0"]
    assert start_repair(world, request(run_id, BASE, labels=new)).refusal is None


def test_a_default_is_computed_as_of_the_run_that_is_repaired() -> None:
    """A run that was started by hand counts as scheduled for its creation, also by its repair on another day."""
    text = edited(BASE, {"default: mon": "default: '${{ day(run.createdAt) }}'", "type: text": "type: date"})
    earlier = ended_run(text, script=FAILING)
    earlier.world.clock.move(timedelta(days=2))
    repaired = repair(earlier, text)
    assert (repaired.jobs, repaired.run.params["day"]) == ({"publish"}, "2026-01-01")
    assert repaired.run.scheduled_at == earlier.world.run(earlier.run_id).created_at


def test_a_repair_of_a_repair_computes_defaults_as_of_the_first_run() -> None:
    """However often a run is repaired, and on whichever day, its defaults keep their values."""
    text = edited(BASE, {"default: mon": "default: '${{ day(run.createdAt) }}'", "type: text": "type: date"})
    earlier = ended_run(text, script=FAILING)
    world = earlier.world
    for number in (2, 3):
        world.clock.move(timedelta(days=2))
        text = edited(text, {f"stats:{number - 1}": f"stats:{number}"})
        repaired = repair(earlier, text, key=str(number))
        assert (repaired.jobs, repaired.run.params["day"]) == (AGAIN, "2026-01-01")
        assert repaired.run.defaulted == ("day", "limit")
        earlier = EndedRun(world=world, run_id=repaired.run.id)


def test_a_repair_that_cannot_be_stored_is_refused() -> None:
    """A file that is too large for the run's definition makes it INVALID, with the reason, at the first request."""
    earlier = ended_run(script=FAILING)
    noise = hashlib.shake_256().hexdigest(1_000_000)
    said = refusal(earlier.world, request(earlier.run_id, f"{BASE}# {noise}\n"))
    assert said.startswith("nightly.yaml takes up")
    assert earlier.world.run(earlier.run_id).repaired_by == ()


def test_the_largest_outputs_can_be_kept() -> None:
    """What the earlier run could store of its items fits into the new run, too."""
    text = """
steps:
  - {id: each, forEach: '${{ [x for x in range(100)] }}', task: {imageUri: each}, outputs: {name: text}}
  - {id: last, dependsOn: [each], task: {imageUri: 'last:1', args: {n: '${{ len(steps.each.outputs.name) }}'}}}
"""
    earlier = ended_run(text, script=json.dumps({"default": {"outputs": {"name": "x" * 8_995}}}))
    assert earlier.world.run(earlier.run_id).state is RunState.SUCCEEDED
    repaired = repair(earlier, edited(text, {"last:1": "last:2"}))
    assert (repaired.jobs, repaired.run.state) == ({"last"}, RunState.SUCCEEDED)


def test_the_outputs_of_many_loops_are_copied_a_few_at_a_time() -> None:
    """Each may be nearly as large as a document can be, and a function has little memory."""
    loop = "  - {{id: each{0}, forEach: [1], task: {{imageUri: each}}, outputs: {{score: int}}}}\n"
    reads = " + ".join(f"steps.each{number}.outputs.score[0]" for number in range(12))
    text = "steps:\n" + "".join(map(loop.format, range(12))) + f"outputs: {{sum: '${{{{ {reads} }}}}'}}\n"
    earlier = ended_run(text)
    read: list[int] = []

    def note(name: str, argument: Any) -> bool:
        if name == "get":
            read.append(sum("/outputs/" in path and earlier.run_id in path for path in argument))
        return False

    meanwhile(earlier.world, note, lambda: None)
    run_id = start_repair(earlier.world, request(earlier.run_id, text.replace(" + ", " - ", 1))).run_id
    assert (sum(read), max(read)) == (12, 10)
    assert earlier.world.run_to_end(run_id).outputs == {"sum": 70}


def test_a_repair_of_a_repair_names_the_run_in_which_a_step_ended() -> None:
    """What was kept once can be kept again, with its outputs."""
    earlier = ended_run()
    first = repair(earlier, CHANGED, key="one")
    of_first = EndedRun(world=earlier.world, run_id=first.run.id)
    again = repair(of_first, edited(CHANGED, {"publish:1": "publish:2"}), key="two")
    assert (again.jobs, again.run.state) == ({"publish"}, RunState.SUCCEEDED)
    steps = again.steps
    assert (steps["extract"].kept_from, steps["stats"].kept_from) == (earlier.run_id, first.run.id)


def test_a_retry_of_a_repair_keeps_what_it_kept() -> None:
    """If the new run fails, it is retried in place like any other."""
    earlier = ended_run(script=FAILING)
    world = earlier.world
    world.task_runner.jobs.script = parse_script(FAILING)
    run_id = start_repair(world, request(earlier.run_id, CHANGED)).run_id
    assert world.run_to_end(run_id).state is RunState.FAILED
    world.task_runner.jobs.script = parse_script(WORKING)
    jobs = len(world.task_runner.submitted)
    retry_run(world.services, run_id, actor="me")
    assert not list(find_flaws(world.steps(run_id), now=world.clock.now()))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions()[jobs:] == ["publish/2"]
    assert world.steps(run_id)["extract"].kept_from == earlier.run_id


def test_a_retry_of_the_run_before_its_steps_were_copied_fails_the_new_run() -> None:
    """What was decided about an earlier version of the run is not mixed with a later one.

    A function of another version may retry the run, or a command that was given at the same moment.
    """
    earlier = ended_run(script=FAILING)
    world = earlier.world

    def retried() -> None:
        world.store.commit([Update(path=run_path(earlier.run_id), fields={"retries": 1})])

    moment = meanwhile(
        world,
        lambda name, argument: name == "get" and any("/definition/" in path for path in argument),
        retried,
    )
    run_id = start_repair(world, request(earlier.run_id, CHANGED)).run_id
    assert moment.happened
    run = world.run_to_end(run_id)
    said = f"run {earlier.run_id} was changed or deleted before the steps to keep were copied from it"
    assert (run.state, run.errors[0]["message"]) == (RunState.FAILED, said)


LIMITED = f"concurrency: {{limit: 1}}\n{BASE}"


def test_a_repair_waits_for_a_place_like_any_run() -> None:
    """What it keeps was decided when it was started, and its counters are right once it begins."""
    earlier = ended_run(LIMITED)
    world = earlier.world
    other = world.start(LIMITED, path="nightly.yaml", run_key="other", params={"day": "sun"})
    repaired = start_repair(world, request(earlier.run_id, edited(LIMITED, {"stats:1": "stats:2"}))).run_id
    assert world.run(repaired).state is RunState.QUEUED
    assert world.run_to_end(other).state is RunState.SUCCEEDED
    assert world.run_to_end(repaired).state is RunState.SUCCEEDED
    assert {key.split("/")[1] for key, _ in world.task_runner.submitted if key.startswith(repaired)} == AGAIN


def test_a_repair_that_waited_for_too_long_says_that_the_run_is_gone() -> None:
    """If the earlier run was deleted meanwhile, the new one fails with a sentence, and runs nothing."""
    earlier = ended_run(LIMITED)
    world = earlier.world
    other = world.start(LIMITED, path="nightly.yaml", run_key="other", params={"day": "sun"})
    repaired = start_repair(world, request(earlier.run_id, edited(LIMITED, {"stats:1": "stats:2"}))).run_id
    steps = [f"{steps_path(earlier.run_id)}/{name}" for name in world.steps(earlier.run_id)]
    world.store.inner.delete(run_path(earlier.run_id), *steps)
    assert world.run_to_end(other).state is RunState.SUCCEEDED
    jobs = len(world.task_runner.submitted)
    run = world.run_to_end(repaired)
    assert (run.state, len(world.task_runner.submitted)) == (RunState.FAILED, jobs)
    assert "was changed or deleted before the steps to keep were copied from it" in run.errors[0]["message"]


def _count_calls() -> int:
    earlier = ended_run()
    fate = Fate()
    make_mortal(earlier.world, fate)
    start_repair(earlier.world, request(earlier.run_id, CHANGED))
    return len(fate.calls)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fatal", range(1, _count_calls() + 1))
def test_start_dies_at_any_call(fatal: int, *, after: bool) -> None:
    """The redelivered message goes on with the same choice, and each step that runs again gets one job."""
    earlier = ended_run()
    world = earlier.world
    body = request(earlier.run_id, CHANGED)
    jobs = len(world.task_runner.submitted)
    make_mortal(world, Fate(fatal=fatal, after=after))
    with pytest.raises(Died):
        start_repair(world, body)
    run_id = start_repair(world, body).run_id
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert sorted(job.split("/")[0] for job in world.submissions()[jobs:]) == sorted(AGAIN)
    assert_outputs_are_kept(earlier, run_id)
    assert world.run(earlier.run_id).repaired_by == (run_id,)


@pytest.mark.parametrize("fatal", range(1, _count_calls() + 1))
def test_start_dies_and_its_message_is_lost(fatal: int) -> None:
    """If the run exists, its audit goes on with it; otherwise nothing has happened."""
    earlier = ended_run()
    world = earlier.world
    jobs = len(world.task_runner.submitted)
    make_mortal(world, Fate(fatal=fatal))
    with pytest.raises(Died):
        start_repair(world, request(earlier.run_id, CHANGED))
    repaired_by = world.run(earlier.run_id).repaired_by
    for run_id in repaired_by:
        assert world.run_to_end(run_id).state is RunState.SUCCEEDED
        assert_outputs_are_kept(earlier, run_id)
    expected = sorted(AGAIN) if repaired_by else []
    assert sorted(job.split("/")[0] for job in world.submissions()[jobs:]) == expected


def assert_outputs_are_kept(earlier: EndedRun, run_id: str) -> None:
    """Assert that the outputs of the kept steps are those of the earlier run."""
    store = earlier.world.store.inner
    paths = [[outputs_path(one, name) for name in ("extract", "train")] for one in (earlier.run_id, run_id)]
    before, after = ([one and one.fields["values"] for one in store.get(part)] for part in paths)
    assert before == after


def test_steps_under_finally_run_again_and_main_steps_are_kept() -> None:
    """They follow the whole run, so they cannot be kept, and begin after what is repaired."""
    text = f"{BASE}finally:\n  - {{id: clean-up, task: {{imageUri: clean-up}}}}\n"
    repaired = repair(ended_run(text, script=FAILING), text)
    assert repaired.jobs == {"publish", "clean-up"}
    assert repaired.run.state is RunState.SUCCEEDED


def test_only_a_step_under_finally_can_be_corrected() -> None:
    """If it is what was edited, it runs again after a run that SUCCEEDED, too, and nothing else does."""
    text = f"{BASE}finally:\n  - {{id: clean-up, task: {{imageUri: 'clean-up:1'}}}}\n"
    earlier = ended_run(text)
    assert "no step of run" in refusal(earlier.world, request(earlier.run_id, text, key="same"))
    for number, edit in enumerate(({"clean-up:1": "clean-up:2"}, {"id: clean-up": "id: sweep"})):
        repaired = repair(earlier, edited(text, edit), key=str(number))
        assert len(repaired.jobs) == 1
        assert repaired.jobs < {"clean-up", "sweep"}
        assert repaired.run.state is RunState.SUCCEEDED


def test_a_step_that_was_skipped_by_choice_stays_skipped_until_its_condition_changes() -> None:
    """What decided it is as it was, so the steps behind it are kept as well."""
    text = edited(BASE, {"- {id: stats,": "- {id: stats, when: '${{ params.limit > 5 }}',"})
    repaired = repair(ended_run(text, script=FAILING), text)
    assert repaired.jobs == {"publish"}
    assert (repaired.steps["stats"].state, repaired.steps["stats"].by_choice) == (StepState.SKIPPED, True)
    assert repaired.steps["stats"].because
    repaired = repair(ended_run(text, script=FAILING), text, params={"limit": 9})
    assert repaired.jobs == {"stats", "report", "publish"}


@pytest.mark.parametrize(
    "edit",
    [
        {"forEach: [a, b]": "forEach: '${{ [x for x in [1] if x > 1] }}'"},
        {"- id: train\n": "- id: train\n    when: '${{ params.limit > 5 }}'\n"},
        {"- id: train\n": "- id: train\n    when: '${{ item == \"b\" }}'\n"},
    ],
    ids=["no items", "skipped", "some skipped"],
)
def test_a_loop_is_kept_however_its_items_came_to_be(edit: dict[str, str]) -> None:
    """The node that would have created items is kept with its step, and so are the counts of the items."""
    text = edited(BASE, edit)
    repaired = repair(ended_run(text, script=FAILING), text)
    assert repaired.jobs == {"publish"}
    before, after = (count_items(steps["train"]) for steps in (repaired.earlier_steps, repaired.steps))
    assert before == after


def test_a_failure_that_was_tolerated_is_tried_again() -> None:
    """Only what succeeded is kept."""
    text = edited(BASE, {"- {id: stats,": "- {id: stats, allowFailure: true,"})
    rule = json.dumps({"default": {"outputs": {"rows": 1, "score": 1}}, "rules": [{"step": "stats", "fail_times": 9}]})
    earlier = ended_run(text, script=rule)
    assert earlier.world.run(earlier.run_id).state is RunState.SUCCEEDED
    assert repair(earlier, text).jobs == AGAIN


@pytest.mark.parametrize("width", [3, 40, 250])
def test_a_plain_run_keeps_what_is_behind_many_barriers(width: int) -> None:
    """Barriers that only stand for kept steps are kept, and all others count them."""
    leaves = [f"leaf{number}" for number in range(width)]
    edges = {"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves, "end": ["join"]}
    earlier = ended_run(definition(edges), script=script(leaf1={"fail_times": 9}))
    repaired = repair(earlier, definition(edges, join={"task": {"imageUri": "other"}}))
    assert repaired.jobs == {"leaf1", "join", "end"}
    assert repaired.run.state is RunState.SUCCEEDED
    again = repair(EndedRun(world=earlier.world, run_id=repaired.run.id), definition(edges), key="again")
    assert again.jobs == {"join", "end"}


def test_a_deployment_that_has_changed_counts_if_a_step_reads_it() -> None:
    """A value of the environment is compared like a parameter, though the file is the same."""
    text = edited(BASE, {"mode: fast": "mode: '${{ env.MODE }}'"})
    world = World(env={"MODE": "a"})
    earlier = ended_run(text, script=FAILING, world=world)
    world.services = replace(world.services, settings=replace(world.services.settings, env={"MODE": "b"}))
    started = start_repair(world, request(earlier.run_id, text))
    assert {name for name, step in world.steps(started.run_id).items() if step.kept_from} >= {"extract", "stats"}
    assert not world.steps(started.run_id)["clean"].kept_from


def test_a_repair_that_was_cancelled_in_line_still_keeps_its_steps() -> None:
    """Its steps are written when it is retried, with the choice of its start."""
    earlier = ended_run(LIMITED)
    world = earlier.world
    other = world.start(LIMITED, path="nightly.yaml", run_key="other", params={"day": "sun"})
    run_id = start_repair(world, request(earlier.run_id, edited(LIMITED, {"stats:1": "stats:2"}))).run_id
    cancel_run(world.services, run_id, actor="me")
    assert world.run(run_id).state is RunState.CANCELLED
    assert world.run_to_end(other).state is RunState.SUCCEEDED
    retry_run(world.services, run_id, actor="me")
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert {key.split("/")[1] for key, _ in world.task_runner.submitted if key.startswith(run_id)} == AGAIN


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, HTTPStatus.ACCEPTED, ""),
        ({"schema": 3}, HTTPStatus.ACCEPTED, ""),
        ({"repairs": "nightly-unknown"}, HTTPStatus.NOT_FOUND, "there is no run nightly-unknown"),
        ({"definition": BASE}, HTTPStatus.BAD_REQUEST, "no step of run"),
        ({"kept_digest": "0" * 16}, HTTPStatus.BAD_REQUEST, "the steps of run"),
        ({"repairs": "../control/checker"}, HTTPStatus.BAD_REQUEST, "an event's repairs cannot be"),
        ({"repairs": ["a"]}, HTTPStatus.BAD_REQUEST, "an event's repairs must be text"),
        ({"repairs": ""}, HTTPStatus.BAD_REQUEST, "an event's repairs must be text"),
        (
            {"repairs": None, "kept_digest": "0"},
            HTTPStatus.BAD_REQUEST,
            "kept_digest applies to the run that `repairs`",
        ),
        ({"kept_digest": "0" * 65}, HTTPStatus.BAD_REQUEST, "at most 64 characters"),
        ({"params": {"limit": "many"}}, HTTPStatus.BAD_REQUEST, "`params.limit`"),
        ({"schema": 4}, HTTPStatus.SERVICE_UNAVAILABLE, "its schema is 4"),
    ],
)
def test_a_call_can_ask_for_a_repair(fields: dict[str, Any], status: HTTPStatus, said: str) -> None:
    """The start function answers as for any start, and says what is wrong."""
    earlier = ended_run()
    body = json.dumps({**request(earlier.run_id, CHANGED), **fields}).encode()
    text, found, _ = on_start(earlier.world.services, {"Content-Type": "application/json"}, body)
    assert (found, said in text) == (status, True)
