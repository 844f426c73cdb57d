"""A step with `forEach` runs once for each item, and ends once all of them have ended."""

from __future__ import annotations

import json

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import expansion
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Condition, RetryPolicy
from atom_workflows.documents import outputs_path
from atom_workflows.expressions.types import INT, NUMBER, TEXT
from support.loops import RUN, args, each, run, step, template, workflow
from support.workflows import script


def outputs(world: World, step_id: str) -> dict[str, object]:
    """Return the stored outputs of a step."""
    document = world.store.inner.get([outputs_path(RUN, step_id)])[0]
    return {} if document is None else json.loads(document.fields["values"])


def test_a_step_runs_once_for_each_item() -> None:
    """Each item has a job of its own, whose expressions read the item and its index."""
    world = World()
    train = step("train", for_each=each(["a", "b", "c"], of=TEXT), args={"name": "item", "number": "index"})
    ended = run(world, workflow(train, step("last", "train")))
    assert ended.state is RunState.SUCCEEDED
    assert world.submissions() == ["train[0]/1", "train[1]/1", "train[2]/1", "last/1"]
    assert args(world)[:3] == [{"name": name, "number": number} for number, name in enumerate("abc")]
    assert world.states(RUN)["train"] == "SUCCEEDED"
    assert ended.item_count == 3


@pytest.mark.parametrize("size", [1, 32, 33, 200, 201, 450])
def test_any_number_of_items_is_joined(size: int) -> None:
    """The step waits for all of its items, through barriers if they are many."""
    world = World()
    flow = workflow(step("train", for_each=each(list(range(size)))), step("last", "train"))
    assert run(world, flow).state is RunState.SUCCEEDED
    assert len(set(world.submissions())) == len(world.submissions()) == size + 1
    assert world.submissions()[-1] == "last/1"
    assert all(len(one.depends_on) <= 33 and len(one.dependents) <= 201 for one in world.steps(RUN).values())


def test_several_lists_give_every_combination() -> None:
    """An item of several lists is a map, and the last list varies fastest."""
    world = World()
    lists = {"region": ["eu", "us"], "size": [1, 2]}
    run(world, workflow(step("train", for_each=each(lists), args={"region": "item.region", "size": "item.size"})))
    assert args(world) == [{"region": region, "size": size} for region in ("eu", "us") for size in (1, 2)]


def test_the_list_may_be_an_output() -> None:
    """The list is computed once the steps before it have ended."""
    world = World(script(files={"outputs": {"names": ["x", "y"]}}))
    files = step("files", outputs={"names": each([]).item_type})
    flow = workflow(files, step("train", "files", for_each=each("steps.files.outputs.names"), args={"file": "item"}))
    assert run(world, flow).state is RunState.SUCCEEDED
    assert args(world) == [None, {"file": "x"}, {"file": "y"}]


def test_the_outputs_are_gathered_in_the_order_of_the_items() -> None:
    """Steps behind it read the outputs of its items as lists, and how many there were."""
    rules = {f"train[{number}]": {"outputs": {"auc": number / 4, "unread": "x"}} for number in range(3)}
    world = World(script(**rules))
    train = step("train", for_each=each([1, 2, 3]), outputs={"auc": NUMBER, "unread": TEXT})
    counts = {name: f"steps.train.counts.{name}" for name in ("total", "succeeded", "failed", "skipped")}
    flow = workflow(train, step("last", "train", args={"auc": "json(steps.train.outputs.auc)", **counts}))
    assert run(world, flow).state is RunState.SUCCEEDED
    assert args(world)[-1] == {"auc": "[0.0,0.25,0.5]", "total": 3, "succeeded": 3, "failed": 0, "skipped": 0}
    # What no expression reads is not gathered.
    assert outputs(world, "train") == {"auc": [0.0, 0.25, 0.5]}


def test_an_empty_list_succeeds() -> None:
    """Nothing to do is done: the step succeeds with empty outputs."""
    world = World()
    train = step("train", for_each=each([]), outputs={"auc": NUMBER})
    last = step("last", "train", args={"auc": "steps.train.outputs.auc", "total": "steps.train.counts.total"})
    assert run(world, workflow(train, last)).state is RunState.SUCCEEDED
    assert args(world) == [{"auc": [], "total": 0}]


def test_items_may_be_skipped_one_by_one() -> None:
    """A condition that names the item is decided for each one; skipped items have null as their outputs."""
    world = World("default: {outputs: {auc: 1.0}}")
    when = Condition(text="item > 1")
    train = step("train", for_each=each([1, 2, 3], of=INT), when=when, outputs={"auc": NUMBER})
    last = step("last", "train", args={"auc": "steps.train.outputs.auc", "skipped": "steps.train.counts.skipped"})
    assert run(world, workflow(train, last)).state is RunState.SUCCEEDED
    assert args(world)[-1] == {"auc": [None, 1.0, 1.0], "skipped": 1}
    assert world.steps(RUN)["train[0]"].because == "`item > 1` was false (`item` = 1)"


def test_all_items_skipped_is_a_success() -> None:
    """A step all of whose items were skipped succeeds with nulls."""
    world = World()
    train = step("train", for_each=each([1, 2]), when=Condition(text="index > 5"), outputs={"auc": NUMBER})
    last = step("last", "train", args={"auc": "steps.train.outputs.auc"})
    assert run(world, workflow(train, last)).state is RunState.SUCCEEDED
    assert args(world) == [{"auc": [None, None]}]


def test_a_condition_without_the_item_is_decided_once() -> None:
    """The step is skipped with the reason, and its list is not evaluated."""
    world = World()
    train = step("train", for_each=each("fromJson('null')"), when=Condition(text="1 > 2"))
    assert run(world, workflow(train, step("last", "train"))).state is RunState.SUCCEEDED
    assert world.states(RUN) == {"train": "SKIPPED", "last": "SKIPPED"}
    skipped = world.steps(RUN)["train"]
    assert skipped.by_choice
    assert skipped.because == "`1 > 2` was false"


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        (each("fromJson('null')"), "`forEach` (line 1) must be a list, but its value is null"),
        (each("fromJson('5')"), "must be a list, but its value is 5"),
        (each("fromJson('nonsense')"), "cannot be evaluated"),
        (each({"a": list(range(101)), "b": list(range(100))}), "101 x 100 = 10,100 items, more than the 10,000"),
        # More than the largest number that Python's `len` returns.
        (each(dict.fromkeys("abcdefgh", [0] * 300)), "= 65,610,000,000,000,000,000 items, more than the 10,000"),
        (each(["x" * 9000]), "item 0 of `forEach` is 9,002 bytes as JSON, more than the 8,192 allowed"),
        (each([1], max_parallel=template("fromJson('0')")), "`maxParallel` (line 1) must be a whole number of at"),
    ],
)
def test_a_list_that_cannot_be_used_fails_the_step(loop: object, said: str) -> None:
    """The step itself is FAILED, kind `expression`, with the reason."""
    world = World()
    ended = run(world, workflow(step("train", for_each=loop), step("last", "train")))
    assert ended.state is RunState.FAILED
    failed = world.steps(RUN)["train"]
    assert (failed.state, failed.last_kind) == (StepState.FAILED, "expression")
    assert said in failed.message
    assert world.states(RUN) == {"train": "FAILED", "last": "SKIPPED"}
    assert world.submissions() == []


def test_too_many_failures_fail_the_step() -> None:
    """All items run, and the step is FAILED, kind `items`, naming the first."""
    world = World(script(**{f"train[{number}]": {"always_fail": True, "message": "no"} for number in (1, 2)}))
    ended = run(world, workflow(step("train", for_each=each([1, 2, 3]), retry=RetryPolicy())))
    assert ended.state is RunState.FAILED
    failed = world.steps(RUN)["train"]
    assert failed.last_kind == "items"
    assert failed.message.startswith("2 of 3 items failed; first: train[1]: ")
    assert len(world.submissions()) == 3


def test_tolerated_failures_let_the_step_succeed() -> None:
    """At most `tolerate` items may fail; what is behind the step reads nulls in their places, and the run succeeds."""
    world = World(json.dumps({"default": {"outputs": {"n": 7}}, "rules": [{"step": "train[1]", "always_fail": True}]}))
    train = step("train", for_each=each([1, 2], tolerate=1), outputs={"n": INT})
    last = step("last", "train", args={"n": "steps.train.outputs.n", "failed": "steps.train.counts.failed"})
    assert run(world, workflow(train, last)).state is RunState.SUCCEEDED
    assert args(world)[-1] == {"n": [7, None], "failed": 1}


def test_an_item_is_retried_by_the_policy_of_its_step() -> None:
    """`retry` and `retry.when` are each item's, and the latter reads the item."""
    world = World("default: {fail_times: 1}")
    policy = RetryPolicy(max_attempts=2, when=Condition(text="item == 2 and index == 1"))
    run(world, workflow(step("train", for_each=each([1, 2]), retry=policy)))
    assert world.submissions() == ["train[0]/1", "train[1]/1", "train[1]/2"]
    assert world.states(RUN) == {"train": "FAILED", "train[0]": "FAILED", "train[1]": "SUCCEEDED"}


def test_there_are_no_more_items_than_allowed_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run counts the items of all of its steps."""
    monkeypatch.setattr(expansion, "MAX_ITEMS_OF_RUN", 5)
    world = World()
    flow = workflow(*(step(f"s{number}", for_each=each([1, 2])) for number in range(3)))
    assert run(world, flow).item_count == 4
    said = "with this step, the run would have 6 items in total, more than the 5 allowed"
    assert sorted(world.steps(RUN)[f"s{number}"].message for number in range(3)) == ["", "", said]
