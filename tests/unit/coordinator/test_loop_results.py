"""What others learn of a step with `forEach`: its failures, its place in the run, and what is behind it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator import batches, gathering, loading, retention
from atom_workflows.coordinator.repair import examine
from atom_workflows.core import gathering as core_gathering
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Condition, Step, Trigger
from atom_workflows.documents import run_path, step_path
from atom_workflows.expressions.types import INT, TEXT
from atom_workflows.messages.internal import ReadyStep, ready_messages, seed_message
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.gauge import lose
from support.loops import RUN, args, each, run, start, step, workflow
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, make_mortal
from support.retention import expiries
from support.workflows import script

FAILS = {"always_fail": True, "reason": "OOM", "message": "no memory"}


def tell(*, loop: bool = False, **fields: Any) -> Step:
    """Return a step under `finally` whose job is given the failures."""
    given = {"failures": "json(run.failures)", "count": "run.failureCount", "state": "run.state"}
    return step("tell", args=given, for_each=each([1, 2]) if loop else None, **fields)


def test_failed_items_are_among_the_failures_with_their_index() -> None:
    """`run.failures` has the items that failed, then the step that they failed, kind `items`."""
    world = World(script(**{"train[1]": FAILS}))
    ended = run(world, workflow(step("train", for_each=each([1, 2, 3])), finally_steps=(tell(),)))
    assert ended.state is RunState.FAILED
    failures = json.loads(args(world)[-1]["failures"])
    said = "1 of 3 items failed; first: train[1]: no memory"
    assert sorted(failures, key=lambda one: one["kind"]) == [
        {"step": "train", "index": 1, "kind": "failed", "reason": "OOM", "message": "no memory"},
        {"step": "train", "kind": "items", "reason": "", "message": said},
    ]
    assert args(world)[-1]["count"] == 2
    # The step's message names the first of its items.
    assert [dict(one) for one in ended.errors] == [{"step": "train", "message": said}]


@pytest.mark.parametrize("option", ["tolerate", "allow_failure"])
def test_tolerated_failures_of_items_are_not_among_the_failures(option: str) -> None:
    """They fail nothing, whether their step tolerates them or its own failure is allowed."""
    world = World(script(**{"train[1]": FAILS, "other": FAILS}))
    loop = each([1, 2, 3], tolerate=int(option == "tolerate"))
    train = step("train", for_each=loop, allow_failure=option == "allow_failure")
    ended = run(world, workflow(train, step("other"), finally_steps=(tell(),)))
    assert [one["step"] for one in json.loads(args(world)[-1]["failures"])] == ["other"]
    assert [one["step"] for one in ended.errors] == ["other"]
    assert world.steps(RUN)["train"].tolerated is (option == "allow_failure")


def test_failures_of_an_earlier_expansion_are_forgotten() -> None:
    """Items that a retry replaced are in no list of failures."""
    fails = {"always_fail": True}
    world = World(script(**{"first": fails, "train[0]": fails, "other": fails}))
    train = step("train", "first", for_each=each([1, 2]), trigger=Trigger.ALWAYS)
    run(world, workflow(step("first"), train, step("other"), finally_steps=(tell(),)))
    assert ("train", 0) in [(one["step"], one.get("index")) for one in json.loads(args(world)[-1]["failures"])]
    world.task_runner.jobs.script = parse_script(script(first=fails, other=fails))
    retry_run(world.services, RUN)
    ended = world.run_to_end(RUN)
    assert sorted(one["step"] for one in json.loads(args(world)[-1]["failures"])) == ["first", "other"]
    assert sorted(one["step"] for one in ended.errors) == ["first", "other"]


def test_a_failed_loop_blocks_and_a_handler_reacts() -> None:
    """To the steps behind it, it is a step like any other."""
    world = World(script(**{"train[0]": FAILS}))
    train = step("train", for_each=each([1, 2]))
    handler = step("handler", "train", trigger=Trigger.ANY_FAILED, args={"failed": "steps.train.counts.failed"})
    assert run(world, workflow(train, step("last", "train"), handler)).state is RunState.FAILED
    assert world.states(RUN)["last"] == "SKIPPED"
    assert world.steps(RUN)["last"].cause == "train"
    assert args(world)[-1] == {"failed": 1}


def test_items_do_not_stain_but_a_stain_passes() -> None:
    """A failure that an earlier step reacted to fails the run, through a loop that succeeded."""
    world = World(script(first={"always_fail": True}))
    train = step("train", "first", for_each=each([1, 2]), trigger=Trigger.ANY_FAILED)
    assert run(world, workflow(step("first"), train, step("last", "train"))).state is RunState.FAILED
    assert world.states(RUN)["last"] == "SUCCEEDED"
    assert all(one.stained == 0 for name, one in world.steps(RUN).items() if name.startswith("~in"))


def test_a_condition_that_cannot_be_evaluated_fails_the_step() -> None:
    """The step is FAILED, kind `expression`, though another node evaluated its condition."""
    world = World()
    train = step("train", for_each=each([1]), when=Condition(text="fromJson('x') == 1"))
    assert run(world, workflow(train)).state is RunState.FAILED
    failed = world.steps(RUN)["train"]
    assert (failed.last_kind, failed.message[:30]) == ("expression", "`when` (line 1) cannot be eval")
    assert world.states(RUN) == {"train": "FAILED"}


def test_a_loop_runs_under_finally() -> None:
    """It is expanded once the main part has ended, also after a cancel."""
    world = World("default: {duration: 1000}")
    start(world, workflow(step("train", for_each=each([1, 2])), finally_steps=(tell(loop=True),)))
    world.settle_down()
    world.task_runner.jobs.script = parse_script("")
    cancel_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    assert [one for one in world.submissions() if one.startswith("tell")] == ["tell[0]/1", "tell[1]/1"]
    assert {one["kind"] for one in json.loads(args(world)[-1]["failures"])} == {"stopped"}


def test_a_timeout_names_the_items_that_failed_before() -> None:
    """A loop that was stopped did not name them itself."""
    world = World(json.dumps({"default": {"duration": 1000}, "rules": [{"step": "train[1]", **FAILS}]}))
    ended = run(world, workflow(step("train", for_each=each([1, 2])), timeout=timedelta(minutes=1)))
    assert ended.state is RunState.FAILED
    assert {"step": "train[1]", "message": "no memory"} in [dict(one) for one in ended.errors]


@pytest.mark.parametrize("size", [4, 40])
def test_a_timeout_fails_a_loop_that_has_started(size: int) -> None:
    """A step whose items run was started, and counts those that had ended, however it is connected to them."""
    rules = [{"step": "train[1]"}, {"step": "train[2]", **FAILS}, {"step": "tell"}]
    world = World(json.dumps({"default": {"duration": 1000}, "rules": rules}))
    counts = {name: f"steps.train.counts.{name}" for name in ("total", "succeeded", "failed", "skipped")}
    train = step("train", for_each=each(list(range(size))), when=Condition(text="index > 0"))
    ends = (step("tell", args={"state": "steps.train.state", **counts}),)
    hour = timedelta(hours=1)
    flow = workflow(train, step("last", "train"), finally_steps=ends, finally_timeout=hour, timeout=hour / 60)
    assert run(world, flow).state is RunState.FAILED
    assert world.steps(RUN)["train"].message == "the workflow's timeout of 1m expired"
    assert args(world)[-1] == {"state": "FAILED", "total": size, "succeeded": 1, "failed": 1, "skipped": 1}
    assert world.steps(RUN)["last"].message == "not started: the workflow's timeout of 1m expired"


def test_items_not_started_are_not_failures_of_a_stopped_loop() -> None:
    """Items that too many failures kept from starting are not counted as failed if a stop ends their step."""
    world = World(script(**{"train[0]": FAILS}))
    counts = {name: f"steps.train.counts.{name}" for name in ("total", "succeeded", "failed", "skipped")}
    train = step("train", for_each=each(list(range(4)), max_parallel=1))
    start(world, workflow(train, finally_steps=(step("tell", args=counts),), finally_timeout=timedelta(hours=1)))

    def is_gathered(name: str, writes: Any) -> bool:
        path = step_path(RUN, "train")
        return name == "commit" and any(one.path == path and one.fields.get("state") for one in writes)

    meanwhile(world, is_gathered, lambda: cancel_run(world.services, RUN))
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    assert world.steps(RUN)["train"].state is StepState.CANCELLED
    assert args(world)[-1] == {"total": 4, "succeeded": 0, "failed": 1, "skipped": 0}


def test_outputs_that_are_too_large_fail_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to return instead."""
    for module in (gathering, core_gathering):
        monkeypatch.setattr(module, "MAX_GATHERED_BYTES", 10)
    world = World("default: {outputs: {n: 123456}}")
    train = step("train", for_each=each([1, 2]), outputs={"n": INT})
    assert (
        run(world, workflow(train, step("last", "train", args={"n": "steps.train.outputs.n"}))).state is RunState.FAILED
    )
    failed = world.steps(RUN)["train"]
    assert failed.last_kind == "outputs"
    assert failed.message.endswith("write them to Cloud Storage, and return gsUris")


def test_changes_name_the_items_as_users_see_them() -> None:
    """Reports to the outside world name items, and not the nodes that create and join them."""
    world = World()
    run(world, workflow(step("train", for_each=each([1, 2]))))
    named = {change["step"] for one in world.changes() for change in one.body["changes"] if "step" in change}
    assert named == {"train", "train[0]", "train[1]"}


def test_the_doctor_fixes_the_counters_of_a_loop() -> None:
    """Wrong counters of the step and of an item are found and corrected."""
    world = World("default: {duration: 20}")
    start(world, workflow(step("train", for_each=each([1, 2, 3]))))
    world.settle_down()
    world.store.commit([Update(path=step_path(RUN, "train"), increments={"remaining": 5})])
    found = examine(world.services, RUN, fixing=True)
    assert [one.step_id for one in found.fixed] == ["train"]
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED


def test_the_doctor_ignores_an_unfinished_expansion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that are not connected to the graph yet contradict nothing."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 2)
    world = World()
    start(world, workflow(step("train", for_each=each([1, 2, 3, 4, 5]))))
    plain = world.services
    # Reading and claiming the node, counting in the run, and two batches.
    make_mortal(world, Fate(fatal=6))
    with pytest.raises(Died):
        world.settle_down()
    world.services = plain
    assert "train[1]" in world.steps(RUN)
    assert "train[4]" not in world.steps(RUN)
    assert not examine(world.services, RUN, fixing=True).found
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED


@pytest.mark.parametrize("queries", range(1, 5))
def test_items_that_are_created_while_the_doctor_reads_are_not_missing(
    queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is not broken because it was read page by page while its graph grew."""
    monkeypatch.setattr(loading, "PAGE", 1)
    world = World("default: {duration: 20}")
    start(world, workflow(step("train", for_each=each([1, 2])), step("zzz", "train")))
    reached = [0]

    def is_moment(name: str, _: object) -> bool:
        reached[0] += name == "query"
        return reached[0] > queries

    meanwhile(world, is_moment, world.settle_down)
    assert not examine(world.services, RUN, fixing=True).found
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED


def test_results_of_an_unknown_expansion_are_not_gathered() -> None:
    """Without the node that created its items, a step fails rather than read those of an earlier list."""
    world = World("default: {duration: 60, outputs: {n: 1}}")
    train = step("train", for_each=each([1, 2]), outputs={"n": INT})
    start(world, workflow(train, step("last", "train", args={"n": "sum(steps.train.outputs.n)"})))
    world.settle_down()
    world.store.inner.delete(step_path(RUN, "~each.train"))
    assert world.run_to_end(RUN).state is RunState.FAILED
    assert "found no node that created its items" in world.steps(RUN)["train"].message


def test_all_documents_of_a_loop_expire_with_the_run() -> None:
    """Items, barriers and outputs have the date of the run, which keeps moving while the run is open."""
    world = World("default: {duration: 8000000, outputs: {n: 1}}", keep_runs=timedelta(days=30))
    train = step("train", for_each=each([1, 2]), outputs={"n": INT}, timeout=timedelta(days=365))
    start(world, workflow(train, step("last", "train", args={"n": "steps.train.outputs.n"})))
    world.settle_down()
    for _ in range(20):
        world.clock.move(timedelta(days=1))
        world.tick()
    until = world.run(RUN).expire_at
    assert until is not None
    assert until > world.clock.now() + timedelta(days=14)
    assert {one.expire_at for one in world.steps(RUN).values()} == {until}


@pytest.mark.parametrize("calls", range(12))
def test_items_that_are_created_while_a_run_is_renewed_do_not_expire_before_it(
    calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever they are created, they have the date of the run, or the run is renewed later."""
    monkeypatch.setattr(loading, "PAGE", 2)
    monkeypatch.setattr(retention, "AT_ONCE", 1)
    world = World("default: {duration: 8000000}", keep_runs=timedelta(days=30))
    train = step("train", for_each=each([1, 2, 3]), timeout=timedelta(days=365))
    start(world, workflow(train, step("zzz", "train")))
    lose(world, "steps")
    # As after a retry: creating as many items again does not change the run, which would be renewed later if it did.
    world.store.commit([Update(path=step_path(RUN, "~each.train"), fields={"counted": 3})])
    world.clock.move(timedelta(days=20))
    reached = [0]

    def is_moment(_: str, __: object) -> bool:
        reached[0] += 1
        return reached[0] > calls

    def create() -> None:
        world.bus.publish(ready_messages(RUN, [ReadyStep(step_id="~each.train")]))
        world.settle_down("steps")

    world.bus.publish([seed_message(RUN)])
    meanwhile(world, is_moment, create)
    world.settle_down("start")
    assert "train[2]" in world.steps(RUN)
    until = expiries(world)[run_path(RUN)]
    assert min(expiries(world).values()) == until
    for _ in range(3):
        world.clock.move(timedelta(minutes=5))
        world.tick()
    assert set(expiries(world).values()) == {until := expiries(world)[run_path(RUN)]}
    assert until > world.clock.now() + timedelta(days=14)


def test_text_items_reach_conditions_of_other_steps() -> None:
    """A step behind a loop may read its state and counts in a condition."""
    world = World()
    train = step("train", for_each=each(["a"], of=TEXT))
    last = step(
        "last", "train", when=Condition(text="steps.train.counts.total == 1 and steps.train.state == 'SUCCEEDED'")
    )
    assert run(world, workflow(train, last)).state is RunState.SUCCEEDED
    assert world.states(RUN)["last"] == "SUCCEEDED"
