"""A person marks a step as succeeded or skipped: what becomes of the step, of its job, and of what comes after it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator.close import request_stop
from atom_workflows.coordinator.marks import Wish
from atom_workflows.coordinator.marks import mark_step as reopen_only
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.attempts import list_attempts
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.marks import Effect, read_mark
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.user_changes import UserChange
from atom_workflows.core.workflow import Condition
from atom_workflows.documents import outputs_path, run_path, step_path
from atom_workflows.errors import MarkError, RunContended, RunStateError
from atom_workflows.expressions.types import INT
from atom_workflows.ports import Update
from atom_workflows.run_documents import stop_fields
from support.commands import ACTOR, cancel_run, mark_step, retry_run
from support.loops import RUN, args, each, start, step, workflow
from support.repairs import BASE, FAILING, edited, ended_run, repair
from support.workflows import chain, definition, fan, script

SECOND = timedelta(seconds=1)
LONG = {"duration": 1000}


def begun(flow: str, **steps: Any) -> tuple[World, str]:
    """Return a world with a run that has gone as far as it can without time passing."""
    world = World(script(**steps))
    run_id = world.start(flow)
    world.settle_down()
    return world, run_id


def ended(flow: str, **steps: Any) -> tuple[World, str]:
    """Return a world with a run that has ended."""
    world, run_id = begun(flow, **steps)
    world.run_to_end(run_id)
    return world, run_id


def to_end(world: World, run_id: str) -> RunState:
    """Let a run go on to its end, and return its state; its documents agree before and after."""
    assert not list(find_flaws(world.steps(run_id), now=world.clock.now()))
    state = world.run_to_end(run_id).state
    assert not list(find_flaws(world.steps(run_id), now=world.clock.now()))
    return state


# -- a run that goes on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
def test_a_step_that_waits_ends_as_marked_once_it_is_released(state: str) -> None:
    """Its job is never submitted, and it waits for the step before it like every step."""
    world, run_id = begun(chain(3), s0={"duration": 30})
    assert mark_step(world.services, run_id, "s1", state, reason="done by hand") is Effect.WAITS
    world.settle_down()
    assert world.states(run_id)["s1"] == "PENDING"
    assert to_end(world, run_id) is RunState.SUCCEEDED
    after = "SUCCEEDED" if state == "succeeded" else "SKIPPED"
    assert world.states(run_id) == {"s0": "SUCCEEDED", "s1": state.upper(), "s2": after}
    assert world.submissions() == ["s0/1", "s2/1"] if state == "succeeded" else ["s0/1"]
    marked = world.steps(run_id)["s1"]
    assert marked.message == f"marked as {state} by {ACTOR}: done by hand"
    mark = read_mark(marked)
    assert mark is not None
    assert (mark.state, mark.actor, mark.why, mark.outputs) == (marked.state, ACTOR, "done by hand", "")
    [change] = world.run(run_id).changes
    assert (change.actor, change.what, change.why) == (ACTOR, f"mark s1 {state}", "done by hand")


def test_steps_that_also_depend_on_others_run_after_a_skipped_one() -> None:
    """Only a step all of whose dependencies were skipped is skipped itself, in plain runs as in others."""
    flow = definition({"a": [], "b": [], "both": ["a", "b"], "alone": ["b"], "last": ["both", "alone"]})
    world, run_id = begun(flow, a={"duration": 30}, b={"duration": 60})
    mark_step(world.services, run_id, "b", "skipped")
    assert to_end(world, run_id) is RunState.SUCCEEDED
    states = world.states(run_id)
    assert (states["both"], states["alone"], states["last"]) == ("SUCCEEDED", "SKIPPED", "SUCCEEDED")


def test_a_skip_passes_through_barriers_of_plain_runs() -> None:
    """A barrier of the compiler stands for the marked step before it."""
    world, run_id = begun(fan(300), root={"duration": 30})
    mark_step(world.services, run_id, "root", "skipped")
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert set(world.states(run_id).values()) == {"SKIPPED"}


def test_the_job_of_a_running_step_is_stopped_first() -> None:
    """The steps after it begin only once the job has ended, and the attempt is kept."""
    world, run_id = begun(chain(2), s0={**LONG, "stop": {"after": 20}})
    assert mark_step(world.services, run_id, "s0") is Effect.STOPS_JOB
    world.tick()
    marked = world.steps(run_id)["s0"]
    assert (marked.state, len(world.task_runner.stopped)) == (StepState.RUNNING, 1)
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1", "s1/1"]
    marked = world.steps(run_id)["s0"]
    assert world.task_runner.submitted_at[1] - world.task_runner.submitted_at[0] >= timedelta(seconds=20)
    assert [(one.number, one.kind, one.job_id) for one in list_attempts(marked)] == [(1, "stopped", marked.job_id)]
    assert not marked.unstopped


def test_marking_a_step_again_does_not_lengthen_the_wait_for_its_job() -> None:
    """The step ends ten minutes after it was first marked, as it was marked last."""
    world, run_id = begun(chain(2), s0={**LONG, "stop": "ignore", "duration": 10_000})
    began = world.clock.now()
    for number in range(30):
        if world.states(run_id)["s0"] == "RUNNING":
            mark_step(world.services, run_id, "s0", ("succeeded", "skipped")[number % 2])
        world.clock.move(timedelta(minutes=1))
        world.tick()
    marked = world.steps(run_id)["s0"]
    assert marked.finished_at is not None
    assert marked.finished_at - began <= timedelta(minutes=12)
    assert (marked.state, marked.unstopped) == (StepState.SUCCEEDED, (marked.job_id,))


def test_a_job_that_cannot_be_stopped_does_not_hold_its_step_up() -> None:
    """The step ends as marked, and names the job that may still run."""
    world, run_id = begun(chain(2), s0={**LONG, "stop": "cannot"})
    mark_step(world.services, run_id, "s0", "skipped")
    assert to_end(world, run_id) is RunState.SUCCEEDED
    marked = world.steps(run_id)["s0"]
    assert (marked.state, marked.unstopped) == (StepState.SKIPPED, (marked.job_id,))


def test_a_step_in_back_off_ends_at_once() -> None:
    """Nothing of it runs; the attempts that failed are kept."""
    world, run_id = begun(
        definition({"a": [], "b": ["a"]}, a={"retry": {"maxAttempts": 3, "backoff": {"initial": "5m", "max": "5m"}}}),
        a={"fail_times": 9},
    )
    assert world.states(run_id)["a"] == "RETRYING"
    assert mark_step(world.services, run_id, "a") is Effect.ENDS
    assert world.states(run_id)["a"] == "SUCCEEDED"
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert [one.kind for one in list_attempts(world.steps(run_id)["a"])] == ["failed"]


def test_a_mark_is_made_once_and_may_be_changed_until_the_step_ends() -> None:
    """The same mark again changes nothing; another one takes its place."""
    world, run_id = begun(chain(2), s0={"duration": 30})
    for _ in range(2):
        mark_step(world.services, run_id, "s1", "skipped")
    assert len(world.run(run_id).changes) == 1
    mark_step(world.services, run_id, "s1")
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert world.states(run_id)["s1"] == "SUCCEEDED"


def test_a_failure_before_a_marked_step_still_fails_the_run() -> None:
    """The steps after the marked one run, as if it had reacted to the failure."""
    world, run_id = begun(chain(4), s0={"duration": 30, "always_fail": True})
    mark_step(world.services, run_id, "s1")
    assert to_end(world, run_id) is RunState.FAILED
    assert list(world.states(run_id).values()) == ["FAILED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]
    assert [error["step"] for error in world.run(run_id).errors] == ["s0"]


def test_a_condition_is_not_asked_of_a_marked_step() -> None:
    """Neither is its trigger."""
    flow = definition(
        {"a": [], "b": ["a"], "c": ["a"]}, b={"when": "steps.a.state == 'FAILED'"}, c={"trigger": "any-failed"}
    )
    world, run_id = begun(flow, a={"duration": 30})
    mark_step(world.services, run_id, "b")
    mark_step(world.services, run_id, "c")
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert world.states(run_id) == {"a": "SUCCEEDED", "b": "SUCCEEDED", "c": "SUCCEEDED"}
    assert world.submissions() == ["a/1"]


def test_a_marked_step_under_finally_does_not_run() -> None:
    """It ends as marked after the main steps, also if these are cancelled."""
    flow = json.dumps({**json.loads(chain(1)), "finally": [{"id": "clean", "task": {"imageUri": "image"}}]})
    world, run_id = begun(flow, s0=LONG)
    mark_step(world.services, run_id, "clean", "skipped")
    cancel_run(world.services, run_id)
    assert to_end(world, run_id) is RunState.CANCELLED
    assert (world.states(run_id)["clean"], world.submissions()) == ("SKIPPED", ["s0/1"])


def test_a_step_whose_submission_was_deferred_ends_at_once() -> None:
    """No dispatcher works on it while it waits to be submitted again."""
    world, run_id = begun(chain(2), s0={"submit_errors": [{"status": 429, "times": 50}]})
    assert world.states(run_id)["s0"] == "DISPATCHING"
    assert mark_step(world.services, run_id, "s0") is Effect.ENDS
    assert to_end(world, run_id) is RunState.SUCCEEDED


def test_a_step_that_is_being_submitted_cannot_be_marked_yet() -> None:
    """Its job would begin unseen, beside the steps after it."""
    world, run_id = begun(chain(2), s0=LONG)
    fields = {"state": "DISPATCHING", "answered": False, "job_id": ""}
    world.store.commit([Update(path=step_path(run_id, "s0"), fields=fields)])
    with pytest.raises(RunContended, match="is being submitted"):
        mark_step(world.services, run_id, "s0")


# -- a run that has ended --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
def test_a_mark_reopens_a_run_that_has_ended(state: str) -> None:
    """The failed step ends as marked, and what it had blocked is decided again; nothing else runs."""
    flow = definition({"a": [], "b": ["a"], "c": ["a", "b"], "x": []})
    world, run_id = ended(flow, b={"always_fail": True})
    assert mark_step(world.services, run_id, "b", state) is Effect.REOPENS
    assert to_end(world, run_id) is RunState.SUCCEEDED
    run = world.run(run_id)
    assert (run.retries, [(one.actor, one.what) for one in run.changes]) == (1, [(ACTOR, f"mark b {state}")])
    assert sorted(world.submissions()) == ["a/1", "b/1", "c/1", "x/1"]
    assert world.states(run_id)["b"] == state.upper()
    assert [one.kind for one in list_attempts(world.steps(run_id)["b"])] == ["failed"]


def test_a_step_behind_a_failure_may_be_marked() -> None:
    """What comes after it runs, and the run fails again because of the failure."""
    world, run_id = ended(chain(3), s0={"always_fail": True})
    mark_step(world.services, run_id, "s1")
    assert to_end(world, run_id) is RunState.FAILED
    assert list(world.states(run_id).values()) == ["FAILED", "SUCCEEDED", "SUCCEEDED"]
    mark_step(world.services, run_id, "s0")
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert world.submissions().count("s2/1") == 1


def test_a_mark_counts_in_its_own_round_only() -> None:
    """A retry from a step before runs the marked step."""
    world, run_id = ended(chain(2), s1={"fail_times": 1})
    mark_step(world.services, run_id, "s1")
    to_end(world, run_id)
    retry_run(world.services, run_id, first=["s0"])
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1", "s1/1", "s0/2", "s1/2"]
    assert read_mark(world.steps(run_id)["s1"]) is None


def test_a_retry_of_what_did_not_succeed_keeps_a_marked_step() -> None:
    """It has ended like any other."""
    world, run_id = ended(definition({"a": [], "b": [], "c": ["b"]}), a={"fail_times": 1}, b={"fail_times": 1})
    mark_step(world.services, run_id, "b", "skipped")
    assert to_end(world, run_id) is RunState.FAILED
    retry_run(world.services, run_id)
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert (world.states(run_id)["b"], world.submissions()[2:]) == ("SKIPPED", ["a/2"])


STOPPED_FLOWS: dict[str, tuple[str, dict[str, Any]]] = {
    # What the step does when its run is stopped, and the script of the steps.
    "waits": (chain(2), {"s0": LONG}),
    "runs": (chain(2), {"s1": {**LONG, "stop": {"after": 600}}}),
}


def marked_and_stopped(case: str, state: str, stop: str) -> tuple[World, str]:
    """Return a world with a run that was stopped before the mark of its step `s1` took effect."""
    flow, steps = STOPPED_FLOWS[case]
    world, run_id = begun(flow, **steps)
    mark_step(world.services, run_id, "s1", state, reason="loaded by hand")
    world.store.commit([Update(path=run_path(run_id), fields={"deadline": world.clock.now()})])
    kind = StopKind.CANCEL if stop == "cancel" else StopKind.TIMEOUT
    outbox = Outbox(world.services)
    request_stop(outbox, run_id, Stop(kind=kind, reason=stop, requested_at=world.clock.now()))
    outbox.flush()
    assert world.run_to_end(run_id).state is (RunState.CANCELLED if stop == "cancel" else RunState.FAILED)
    assert world.steps(run_id)["s1"].has_open_mark
    return world, run_id


@pytest.mark.parametrize("stop", ["cancel", "timeout"])
@pytest.mark.parametrize("state", ["succeeded", "skipped"])
@pytest.mark.parametrize("case", STOPPED_FLOWS)
def test_a_mark_outlives_a_stop_that_ended_its_step_first(case: str, state: str, stop: str) -> None:
    """The retry in place ends the step as marked, and no further job of it runs."""
    world, run_id = marked_and_stopped(case, state, stop)
    before = world.submissions().count("s1/1")
    retry_run(world.services, run_id)
    assert to_end(world, run_id) is RunState.SUCCEEDED
    marked = world.steps(run_id)["s1"]
    assert marked.state.value == state.upper()
    assert marked.message == f"marked as {state} by {ACTOR}: loaded by hand"
    assert len([one for one in world.submissions() if one.startswith("s1/")]) == before


def test_a_mark_outlives_rounds_that_leave_its_step_alone() -> None:
    """Neither a retry from a step before it nor one of another step forgets it."""
    world, run_id = begun(definition({"a": [], "b": ["a"], "x": []}), a=LONG)
    mark_step(world.services, run_id, "b")
    cancel_run(world.services, run_id)
    world.run_to_end(run_id)
    retry_run(world.services, run_id, only=["x"])
    to_end(world, run_id)
    retry_run(world.services, run_id, first=["a"])
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert "b/1" not in world.submissions()
    assert world.steps(run_id)["b"].message.startswith("marked as succeeded")


def test_a_retry_that_names_a_step_forgets_a_mark_that_took_no_effect() -> None:
    """The person who names it wants it to run."""
    for option in ("first", "only"):
        world, run_id = marked_and_stopped("waits", "succeeded", "cancel")
        retry_run(world.services, run_id, failed=True, **{option: ["s1"]})  # type: ignore[arg-type] # both are lists
        assert to_end(world, run_id) is RunState.SUCCEEDED
        assert "s1/1" in world.submissions()


def test_the_outputs_of_a_mark_outlive_a_stop() -> None:
    """Steps after it read them after the retry."""
    world, run_id = begun(READS, list={**LONG, "always_fail": True})
    mark_step(world.services, run_id, "list", outputs={"rows": 7})
    cancel_run(world.services, run_id)
    world.run_to_end(run_id)
    retry_run(world.services, run_id)
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert args(world)[-1] == {"rows": 7}


def test_a_mark_outlives_a_cancel_before_its_own_round_began() -> None:
    """The mark names a round in which its step was never reset."""
    world, run_id = ended(chain(2), s0={"fail_times": 1})
    outbox = Outbox(world.services)
    change = UserChange(at=world.clock.now(), actor=ACTOR, what="mark", why="")
    assert reopen_only(outbox, run_id, Wish("s0", StepState.SUCCEEDED), change) is Effect.REOPENS
    cancel_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.CANCELLED
    retry_run(world.services, run_id)
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1", "s1/1"]


def test_a_mark_of_a_loop_or_an_item_outlives_a_stop() -> None:
    """A later mark of the loop, in the run that has ended, takes its place."""
    for name, again in (("train", None), ("train", "succeeded"), ("train[1]", None)):
        world = World(script(first=LONG, train={"duration": 1000}))
        needs = ["first"] if name == "train" else []
        start(world, workflow(*([step("first")] if needs else []), step("train", *needs, for_each=each([1, 2]))))
        world.settle_down()
        mark_step(world.services, RUN, name, "skipped")
        cancel_run(world.services, RUN)
        world.run_to_end(RUN)
        if again:
            mark_step(world.services, RUN, name, again)
        else:
            retry_run(world.services, RUN)
        to_end(world, RUN)
        ends = {one.id: one for one in world.steps(RUN).values()}
        if name == "train":
            assert ends["train"].state.value == (again or "skipped").upper()
            assert not [one for one in world.submissions() if one.startswith("train[")]
        else:
            assert [one for one in world.submissions() if one.startswith("train[1]")] == ["train[1]/1"]


def test_a_step_of_a_cancelled_run_may_be_marked() -> None:
    """The steps after it run."""
    world, run_id = begun(chain(2), s0=LONG)
    cancel_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.CANCELLED
    mark_step(world.services, run_id, "s0")
    assert to_end(world, run_id) is RunState.SUCCEEDED


def test_a_reaction_to_the_failure_is_decided_again() -> None:
    """A step that ran because the marked one had failed is skipped, as nothing failed any more."""
    world, run_id = ended(
        definition({"a": [], "alarm": ["a"]}, alarm={"trigger": "any-failed"}), a={"always_fail": True}
    )
    mark_step(world.services, run_id, "a")
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert world.states(run_id)["alarm"] == "SKIPPED"


@pytest.mark.parametrize(
    ("step_id", "state", "message"),
    [
        ("s0", "succeeded", "step s0 is already SUCCEEDED"),
        ("s0", "skipped", "step s0 is already SUCCEEDED"),
        ("nope", "succeeded", "there is no step nope in run"),
        ("~end", "succeeded", "there is no step ~end in run"),
        ("a/b", "succeeded", "there is no step a/b in run"),
        ("__a__", "succeeded", "there is no step __a__ in run"),
    ],
)
def test_what_cannot_be_marked_is_refused(step_id: str, state: str, message: str) -> None:
    """The run is left as it is."""
    world, run_id = ended(chain(2), s1={"always_fail": True})
    with pytest.raises(MarkError, match=message):
        mark_step(world.services, run_id, step_id, state)
    assert world.run(run_id).state is RunState.FAILED


def test_a_failed_step_of_a_run_that_goes_on_is_refused() -> None:
    """The steps after it have been skipped because of it."""
    world, run_id = begun(definition({"a": [], "b": ["a"], "x": []}), a={"always_fail": True}, x=LONG)
    with pytest.raises(MarkError, match="step a is FAILED, which has affected the steps after it"):
        mark_step(world.services, run_id, "a")


def test_a_run_that_is_being_ended_is_left_alone() -> None:
    """Its steps can be marked once it has ended."""
    world, run_id = begun(chain(2), s0=LONG)
    stop = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=world.clock.now())
    world.store.commit([Update(path=run_path(run_id), fields={"stop": stop_fields(stop)})])
    with pytest.raises(RunStateError, match=r"is being ended \(enough\); mark the step once the run"):
        mark_step(world.services, run_id, "s1")


# -- outputs ---------------------------------------------------------------------------------------------------------

READS = definition(
    {"list": [], "load": ["list"]},
    list={"outputs": {"rows": "int", "note": "text or null"}},
    load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
)


def test_the_outputs_that_a_person_supplies_are_those_of_the_step() -> None:
    """Steps after it read them."""
    world, run_id = ended(READS, list={"always_fail": True})
    mark_step(world.services, run_id, "list", outputs={"rows": 7})
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert args(world)[-1] == {"rows": 7}
    stored = world.store.get([outputs_path(run_id, "list")])[0]
    assert stored is not None
    assert json.loads(stored.fields["values"]) == {"rows": 7, "note": None}


def test_the_outputs_of_a_mark_may_be_changed_until_the_step_ends() -> None:
    """A mark with other outputs is another mark, even if the same person gives the same reason."""
    flow = definition(
        {"first": [], "list": ["first"], "load": ["list"]},
        list={"outputs": {"rows": "int"}},
        load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
    )
    world, run_id = begun(flow, first={"duration": 30})
    for rows in (7, 8, 8):
        assert mark_step(world.services, run_id, "list", outputs={"rows": rows}) is Effect.WAITS
    assert len(world.run(run_id).changes) == 2
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert args(world)[-1] == {"rows": 8}


def test_the_outputs_of_a_marked_loop_may_be_changed_until_it_ends() -> None:
    """Its mark waits at the node that would create its items."""
    loop = step("train", "first", for_each=each([1, 2]), outputs={"n": INT})
    world = World(script(first={"duration": 30}))
    start(world, workflow(step("first"), loop, step("sum", "train", args={"n": "steps.train.outputs.n"})))
    world.settle_down()
    for given in ([4], [5], [5]):
        mark_step(world.services, RUN, "train", outputs={"n": given})
    assert len(world.run(RUN).changes) == 2
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert args(world)[-1] == {"n": [5]}


def test_a_repeated_mark_is_held_to_the_declared_outputs() -> None:
    """Outputs that do not fit are refused, although the same person has marked the step already."""
    flow = definition({"first": [], "list": ["first"]}, list={"outputs": {"rows": "int"}})
    world, run_id = begun(flow, first={"duration": 30})
    mark_step(world.services, run_id, "list", outputs={"rows": 7})
    with pytest.raises(MarkError, match="`rows` "):
        mark_step(world.services, run_id, "list", outputs={"rows": "many"})


@pytest.mark.parametrize(
    ("state", "given", "message"),
    [
        ("succeeded", {}, "needs the outputs that it declares .rows, note.: `rows` is missing"),
        ("succeeded", {"rows": "many"}, "`rows` "),
        ("succeeded", {"rows": 7, "row": 8}, "does not declare the output row; did you mean rows?"),
        ("succeeded", {"rows": 7, "size": 8}, "does not declare the output size; it declares rows, note"),
        ("succeeded", {"rows": 7, "note": "x" * 40_000}, "larger than 32,768 bytes"),
        ("skipped", {"rows": 7}, "a skipped step has no outputs"),
    ],
)
def test_outputs_are_checked_like_those_of_a_job(state: str, given: dict[str, Any], message: str) -> None:
    """Nothing is changed if they do not fit."""
    world, run_id = ended(READS, list={"always_fail": True})
    with pytest.raises(MarkError, match=message):
        mark_step(world.services, run_id, "list", state, outputs=given)
    assert world.run(run_id).state is RunState.FAILED


READS_LATER = definition(
    {"first": [], "list": ["first"], "load": ["list"]},
    list={"outputs": {"rows": "int"}},
    load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
)


def test_outputs_may_be_changed_until_the_step_ends() -> None:
    """They are part of the mark, and checked each time."""
    world, run_id = begun(READS_LATER, first={"duration": 30})
    for rows in (1, 2):
        mark_step(world.services, run_id, "list", outputs={"rows": rows})
    with pytest.raises(MarkError, match="`rows` "):
        mark_step(world.services, run_id, "list", outputs={"rows": "many"})
    assert [change.what for change in world.run(run_id).changes] == ["mark list succeeded"] * 2
    assert to_end(world, run_id) is RunState.SUCCEEDED
    assert args(world)[-1] == {"rows": 2}


def test_other_outputs_are_refused_once_the_step_has_ended() -> None:
    """The steps after it may have read them; the same mark again only publishes these."""
    world, run_id = begun(READS, load={"duration": 30}, list={"submit_errors": [{"status": 429, "retry_after": 60}]})
    mark_step(world.services, run_id, "list", outputs={"rows": 1})
    assert mark_step(world.services, run_id, "list", outputs={"rows": 1}) is Effect.ENDS
    with pytest.raises(MarkError, match="step list is already SUCCEEDED"):
        mark_step(world.services, run_id, "list", outputs={"rows": 2})


def test_a_skipped_step_has_no_outputs() -> None:
    """A step that needs them fails, and says so."""
    flow = definition(
        {"list": [], "other": [], "load": ["list", "other"]},
        list={"outputs": {"rows": "int"}},
        load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
    )
    world, run_id = ended(flow, list={"always_fail": True})
    mark_step(world.services, run_id, "list", "skipped")
    assert to_end(world, run_id) is RunState.FAILED
    assert world.steps(run_id)["load"].state is StepState.FAILED


# -- loops -----------------------------------------------------------------------------------------------------------


def test_an_item_may_be_marked() -> None:
    """Its outputs are gathered with those of the others, and it hands its place on."""
    loop = step("train", for_each=each([1, 2, 3], max_parallel=1), outputs={"n": INT})
    after = step("sum", "train", args={"n": "steps.train.outputs.n"})
    world = World(script(train={**LONG, "outputs": {"n": 5}}))
    start(world, workflow(loop, after))
    world.settle_down()
    assert mark_step(world.services, RUN, "train[1]", outputs={"n": 20}) is Effect.WAITS
    assert mark_step(world.services, RUN, "train[0]", outputs={"n": 10}) is Effect.STOPS_JOB
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert args(world)[-1] == {"n": [10, 20, 5]}
    assert [key for key, _ in world.task_runner.submitted] == [f"{RUN}/train[0]/1", f"{RUN}/train[2]/1", f"{RUN}/sum/1"]


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
def test_a_marked_item_that_is_blocked_has_not_ended_as_marked(state: str) -> None:
    """It was not given its place, because too many others failed, so the same mark again is refused."""
    loop = step("train", for_each=each([1, 2, 3], max_parallel=1, of=INT))
    world = World(script(train={"always_fail": True, "duration": 5}, beside=LONG))
    start(world, workflow(loop, step("beside")))
    world.settle_down()
    mark_step(world.services, RUN, "train[2]", state)
    while world.steps(RUN)["train"].state is not StepState.FAILED:
        world.clock.move(timedelta(seconds=20))
        world.tick()
    assert world.states(RUN)["train[2]"] == "SKIPPED"
    with pytest.raises(MarkError, match=r"item train\[2\] is SKIPPED, which has affected the steps after it"):
        mark_step(world.services, RUN, "train[2]", state)


def test_a_failed_item_of_an_ended_run_may_be_marked() -> None:
    """Its step gathers once more, and no other item runs again."""
    loop = step("train", for_each=each([1, 2, 3]))
    world = World(json.dumps({"rules": [{"step": "train[1]", "always_fail": True}]}))
    start(world, workflow(loop, step("after", "train")))
    assert world.run_to_end(RUN).state is RunState.FAILED
    mark_step(world.services, RUN, "train[1]")
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert len(world.submissions()) == 4


def test_an_item_whose_value_is_needed_cannot_be_skipped() -> None:
    """The list that its step gathers cannot hold null."""
    loop = step("train", for_each=each([1, 2]), outputs={"n": INT})
    after = step("sum", "train", args={"n": "steps.train.outputs.n"})
    world = World(script(train=LONG))
    start(world, workflow(loop, after))
    world.settle_down()
    with pytest.raises(MarkError, match=r"item train\[0\] cannot be skipped: the outputs n of step train are lists"):
        mark_step(world.services, RUN, "train[0]", "skipped")


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
def test_a_loop_that_has_not_begun_may_be_marked(state: str) -> None:
    """None of its items is created."""
    loop = step("train", "first", for_each=each([1, 2]), outputs={"n": INT})
    after = step("sum", "train", "first", args={"n": "steps.train.outputs.n ?? [0]"})
    world = World(script(first={"duration": 30}))
    start(world, workflow(step("first"), loop, after))
    world.settle_down()
    given = {"n": [4]} if state == "succeeded" else {}
    assert mark_step(world.services, RUN, "train", state, outputs=given) is Effect.WAITS
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert args(world)[1:] == [{"n": [4] if state == "succeeded" else [0]}]
    marked = world.steps(RUN)["train"]
    assert (marked.state, marked.items) == (state.upper(), 0)
    assert read_mark(marked) is not None


def test_a_loop_that_is_released_may_be_marked() -> None:
    """It ends in the commit of the mark, although no dispatcher has come to it yet."""
    loop = step("train", for_each=each([1, 2]), outputs={"n": INT})
    world = World()
    start(world, workflow(loop, step("sum", "train", args={"n": "steps.train.outputs.n"})))
    assert mark_step(world.services, RUN, "train", outputs={"n": [4]}) is Effect.ENDS
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert args(world) == [{"n": [4]}]
    assert read_mark(world.steps(RUN)["train"]) is not None


def test_steps_under_finally_are_marked_with_what_runs_again() -> None:
    """Their items are created anew, so a mark of the step prevents that, and one of an item is refused."""
    loop = step("clean", for_each=each([1, 2]))
    world = World(json.dumps({"rules": [{"step": "clean[1]", "always_fail": True}]}))
    start(world, workflow(step("work"), finally_steps=(loop,)))
    assert world.run_to_end(RUN).state is RunState.FAILED
    with pytest.raises(MarkError, match="creates all items again"):
        mark_step(world.services, RUN, "clean[1]")
    mark_step(world.services, RUN, "clean")
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert [name.partition("/")[0] for name in world.submissions()] == ["work", "clean[0]", "clean[1]"]


def test_a_loop_whose_items_have_begun_is_refused_until_its_run_has_ended() -> None:
    """Single items may be marked, and the step in the ended run."""
    loop = step("train", for_each=each([1, 2]))
    world = World(script(train=LONG))
    start(world, workflow(loop, step("after", "train")))
    world.settle_down()
    with pytest.raises(MarkError, match=r"items of step train have begun; mark individual items, such as 'train\[0\]'"):
        mark_step(world.services, RUN, "train")
    cancel_run(world.services, RUN)
    world.run_to_end(RUN)
    mark_step(world.services, RUN, "train")
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert [name.partition("/")[0] for name in world.submissions()] == ["train[0]", "train[1]", "after"]


def test_an_item_condition_is_not_asked() -> None:
    """A marked item of a step whose items have conditions ends as marked."""
    loop = step("train", for_each=each([1, 2], max_parallel=1, of=INT), when=Condition(text="item > 5", line=1))
    world = World()
    start(world, workflow(step("first"), loop))
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert mark_step(world.services, RUN, "train[0]") is Effect.REOPENS
    assert to_end(world, RUN) is RunState.SUCCEEDED
    assert world.steps(RUN)["train[0]"].state is StepState.SUCCEEDED


# -- repairs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
def test_a_repair_with_an_edited_file_keeps_a_marked_step(state: str) -> None:
    """With who marked it, and the outputs that a person supplied."""
    rules = [{"step": "extract", "always_fail": True}, {"step": "publish", "always_fail": True}]
    earlier = ended_run(script=json.dumps({"rules": rules}))
    outputs = {"rows": 12} if state == "succeeded" else {}
    mark_step(earlier.world.services, earlier.run_id, "extract", state, outputs=outputs)
    earlier.world.task_runner.jobs.script = parse_script(FAILING)
    earlier.world.run_to_end(earlier.run_id)
    repaired = repair(earlier, edited(BASE, {"publish:1": "publish:2", "clean:1": "clean:2"}))
    kept = repaired.steps["extract"]
    assert (kept.state, kept.kept_from, "extract" in repaired.jobs) == (state.upper(), earlier.run_id, False)
    mark = read_mark(kept)
    assert mark is not None
    assert (mark.actor, mark.retries, kept.message) == (ACTOR, 0, f"marked as {state} by {ACTOR}")
