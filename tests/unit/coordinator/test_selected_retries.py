"""A retry of steps that a person named: `--from`, `--only` and `--failed`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator import commits
from atom_workflows.core import graph
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Trigger
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import RunStateError, SelectionError
from atom_workflows.expressions.types import INT
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.loops import RUN, args, each, run, step, workflow
from support.mortal import Died, Fate, make_mortal
from support.workflows import chain, definition, fan, script

DIAMOND = definition({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"]})


def ended(flow: str = DIAMOND, **steps: Mapping[str, Any]) -> tuple[World, str]:
    """Return a world with one run that has ended."""
    world = World(script(**steps))
    run_id = world.start(flow)
    world.run_to_end(run_id)
    return world, run_id


def is_sound(world: World, run_id: str = RUN) -> bool:
    """Return True if the documents of the run agree."""
    return not list(find_flaws(world.steps(run_id), now=world.clock.now()))


def again(world: World, run_id: str, **names: Any) -> list[str]:
    """Retry a run to its end and return what was submitted meanwhile, in order."""
    before = len(world.submissions())
    retry_run(world.services, run_id, **names)
    assert is_sound(world, run_id)
    world.run_to_end(run_id)
    assert is_sound(world, run_id)
    return world.submissions()[before:]


def now_fails(world: World, *steps: str) -> None:
    """Let these steps fail from now on, and no others."""
    world.task_runner.jobs.script = parse_script(script(**{one: {"always_fail": True} for one in steps}))


def test_from_runs_a_step_and_everything_after_it_again() -> None:
    """Whatever their states, and steps before it keep their results."""
    world, run_id = ended()
    assert again(world, run_id, first=["b"]) == ["b/2", "d/2", "e/2"]
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_only_runs_a_step_again_and_leaves_what_succeeded() -> None:
    """The run ends once the step has, though nothing that depends on it waits for it."""
    world, run_id = ended(DIAMOND, b={"duration": 30})
    retry_run(world.services, run_id, only=["b"])
    world.settle_down()
    assert (world.run(run_id).state, world.states(run_id)["b"]) == (RunState.RUNNING, "RUNNING")
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions()[5:] == ["b/2"]
    assert world.steps(run_id)["d"].remaining == 0


def test_only_runs_again_what_was_blocked_by_the_step() -> None:
    """What depends on the step and did not succeed runs again."""
    world, run_id = ended(DIAMOND, b={"fail_times": 1})
    assert again(world, run_id, only=["b"]) == ["b/2", "d/1", "e/1"]
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_a_step_that_fails_again_alone_fails_the_run() -> None:
    """A failure counts, even if all that depends on the step keeps its success, and in later rounds, too."""
    world, run_id = ended()
    now_fails(world, "b")
    assert again(world, run_id, only=["b"]) == ["b/2"]
    assert world.run(run_id).state is RunState.FAILED
    assert [error["step"] for error in world.run(run_id).errors] == ["b"]
    now_fails(world)
    assert again(world, run_id, only=["e"]) == ["e/2"]
    assert world.run(run_id).state is RunState.FAILED
    assert again(world, run_id, only=["b"]) == ["b/3"]
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_everything_after_a_step_that_ran_alone_is_still_after_it() -> None:
    """A later retry knows all dependents of a step, also those that were left as they were."""
    world, run_id = ended()
    again(world, run_id, only=["b"])
    assert again(world, run_id, first=["b"]) == ["b/3", "d/2", "e/2"]
    now_fails(world, "b")
    again(world, run_id, only=["b"])
    now_fails(world)
    assert again(world, run_id) == ["b/5", "d/3", "e/3"]
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_several_names_are_combined() -> None:
    """Each is chosen in its own way."""
    flow = definition({"a": [], "b": ["a"], "x": [], "y": ["x"], "p": [], "q": ["p"]})
    world, run_id = ended(flow)
    assert sorted(again(world, run_id, first=["x", "p"], only=["a"])) == ["a/2", "p/2", "q/2", "x/2", "y/2"]


def test_what_is_not_named_keeps_its_failure() -> None:
    """The run fails again, unless the failed steps are asked for, too."""
    flow = definition({"a": [], "b": ["a"], "x": [], "y": ["x"]})
    world, run_id = ended(flow, x={"fail_times": 1})
    assert again(world, run_id, first=["b"]) == ["b/2"]
    assert world.run(run_id).state is RunState.FAILED
    assert world.states(run_id)["y"] == "SKIPPED"
    assert sorted(again(world, run_id, first=["b"], failed=True)) == ["b/3", "x/2", "y/1"]
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_a_reaction_to_a_failure_is_reconsidered() -> None:
    """A step that succeeded because of a failure would otherwise fail the run for ever."""
    flow = definition({"a": [], "alarm": ["a"], "b": ["a"]}, alarm={"trigger": "any-failed"})
    world, run_id = ended(flow, a={"fail_times": 1})
    assert again(world, run_id, only=["a"]) == ["a/2", "b/1"]
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert world.states(run_id)["alarm"] == "SKIPPED"


def test_a_step_between_two_that_run_again_is_named_too() -> None:
    """Otherwise the second one would not wait for the first, so the selection is refused, and changes nothing."""
    world, run_id = ended(chain(4))
    problem = "s2 would run again, and so would s0, which comes before it; but s1 between them would be kept"
    with pytest.raises(SelectionError, match=problem):
        retry_run(world.services, run_id, only=["s0", "s2"])
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert again(world, run_id, only=["s0", "s1", "s2"]) == ["s0/2", "s1/2", "s2/2"]


@pytest.mark.parametrize("name", ["nothing", "~end", "b[0]", ""])
def test_a_step_that_does_not_exist_is_refused(name: str) -> None:
    """Nothing is changed, and the error has the name."""
    world, run_id = ended()
    with pytest.raises(SelectionError) as caught:
        retry_run(world.services, run_id, first=[name])
    assert caught.value.name == name
    assert world.run(run_id).retries == 0


def test_too_many_names_are_refused() -> None:
    """The choice is stored with the run, so it is limited."""
    world, run_id = ended()
    with pytest.raises(SelectionError, match="101 steps are named, but at most 100 can be"):
        retry_run(world.services, run_id, only=["a"] * 101)


def test_a_run_that_never_began_has_no_steps_to_name() -> None:
    """A retry runs all of them."""
    flow = json.loads(chain(2)) | {"concurrency": {"limit": 1}}
    world = World("default: {duration: 100}")
    _, second = world.start(json.dumps(flow), run_key="1"), world.start(json.dumps(flow), run_key="2")
    world.settle_down()
    cancel_run(world.services, second)
    with pytest.raises(SelectionError, match="has never begun"):
        retry_run(world.services, second, first=["s0"])


def test_steps_under_finally_run_again_in_every_round() -> None:
    """Also if only one step runs again, and after it; naming one of them runs all of them."""
    last = step("clean", args={"state": "run.state"})
    world = World()
    run(world, workflow(step("a"), step("b", "a"), finally_steps=(last, step("mail", "clean"))))
    assert again(world, RUN, only=["a"]) == ["a/2", "clean/2", "mail/2"]
    assert again(world, RUN, first=["mail"]) == ["clean/3", "mail/3"]
    now_fails(world, "a")
    assert again(world, RUN, only=["a"]) == ["a/3", "clean/4", "mail/4"]
    assert args(world)[-2] == {"state": "FAILED"}
    assert world.run(RUN).state is RunState.FAILED


def test_a_condition_is_decided_again() -> None:
    """A step that runs again is decided by its condition, with the results that others keep."""
    flow = json.dumps(
        {
            "name": "flow",
            "steps": [
                {"id": "a", "task": {"imageUri": "i"}, "outputs": {"n": "int"}},
                {"id": "b", "dependsOn": ["a"], "when": "steps.a.outputs.n > 1", "task": {"imageUri": "i"}},
            ],
        }
    )
    world = World(script(a={"outputs": {"n": 1}}))
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert again(world, run_id, first=["b"]) == []
    world.task_runner.jobs.script = parse_script(script(a={"outputs": {"n": 2}}))
    assert again(world, run_id, only=["a"]) == ["a/2", "b/1"]


def test_the_outputs_of_a_run_are_computed_again() -> None:
    """A run that is retried has none until it has succeeded again."""
    flow = {
        "name": "flow",
        "steps": [{"id": "a", "task": {"imageUri": "i"}, "outputs": {"n": "int"}}],
        "outputs": {"n": "${{ steps.a.outputs.n }}"},
    }
    world = World(script(a={"outputs": {"n": 1}}))
    run_id = world.start(json.dumps(flow))
    assert world.run_to_end(run_id).outputs == {"n": 1}
    now_fails(world, "a")
    again(world, run_id, first=["a"])
    assert (world.run(run_id).state, world.run(run_id).outputs) == (RunState.FAILED, {})
    world.task_runner.jobs.script = parse_script(script(a={"outputs": {"n": 2}}))
    again(world, run_id)
    assert world.run(run_id).outputs == {"n": 2}


def test_a_run_that_ended_in_time_is_not_late_when_it_is_retried() -> None:
    """A deadline is about the first end of a run that succeeded."""
    flow = json.loads(chain(1)) | {"deadline": {"after": "1h"}}
    world = World()
    run_id = world.start(json.dumps(flow))
    world.run_to_end(run_id)
    world.clock.sleep(7_200)
    again(world, run_id, first=["s0"])
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert not world.run(run_id).late


# -- loops -----------------------------------------------------------------------------------------------------------


def loop(**options: Any) -> tuple[World, list[str]]:
    """Return a world whose run has a loop between two steps, and what it submitted."""
    world = World(json.dumps({"default": {"outputs": {"n": 1}}}))
    train = step("train", "first", for_each=each([1, 2, 3, 4], **options), outputs={"n": INT})
    last = step("last", "train", args={"n": "sum(steps.train.outputs.n)"})
    assert run(world, workflow(step("first"), train, last)).state is RunState.SUCCEEDED
    return world, world.submissions()


@pytest.mark.parametrize("options", [{}, {"max_parallel": 1}, {"max_parallel": 2}])
def test_a_loop_runs_again_as_a_whole(options: Mapping[str, Any]) -> None:
    """Its list is computed again, with all of its items."""
    world, _ = loop(**options)
    items = [f"train[{index}]~2/1" for index in range(4)]
    assert again(world, RUN, first=["train"]) == [*items, "last/2"]
    assert again(world, RUN, only=["train"]) == [item.replace("~2", "~3") for item in items]
    assert world.run(RUN).item_count == 4


@pytest.mark.parametrize("options", [{}, {"max_parallel": 1}, {"max_parallel": 2}])
def test_one_item_runs_again_and_its_loop_is_gathered_again(options: Mapping[str, Any]) -> None:
    """Other items keep their results, and what depends on the loop is chosen as for any step."""
    world, _ = loop(**options)
    world.task_runner.jobs.script = parse_script(json.dumps({"default": {"outputs": {"n": 5}}}))
    assert again(world, RUN, only=["train[1]"]) == ["train[1]/2"]
    assert again(world, RUN, first=["train[2]"]) == ["train[2]/2", "last/2"]
    assert args(world)[-1] == {"n": 12}
    assert world.run(RUN).state is RunState.SUCCEEDED


def test_an_item_that_fails_again_fails_its_loop_and_the_run() -> None:
    """What is left as it is does not hide it."""
    world, _ = loop()
    now_fails(world, "train[1]")
    assert again(world, RUN, only=["train[1]"]) == ["train[1]/2"]
    assert (world.run(RUN).state, world.states(RUN)["train"]) == (RunState.FAILED, "FAILED")
    world.task_runner.jobs.script = parse_script(json.dumps({"default": {"outputs": {"n": 2}}}))
    assert again(world, RUN) == ["train[1]/3", "last/2"]
    assert args(world)[-1] == {"n": 5}


def test_a_loop_that_succeeded_is_left_as_it_is() -> None:
    """Only the step before it runs again, so the loop keeps its list and its items."""
    world, _ = loop()
    assert again(world, RUN, only=["first"]) == ["first/2"]
    assert world.run(RUN).state is RunState.SUCCEEDED


def test_an_item_of_an_earlier_list_is_not_known_by_its_number() -> None:
    """An item's name means the item of the newest list."""
    world, _ = loop()
    again(world, RUN, first=["train"])
    assert again(world, RUN, only=["train[0]"]) == ["train[0]~2/2"]
    with pytest.raises(SelectionError, match=r"no item train\[4\]"):
        retry_run(world.services, RUN, only=["train[4]"])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 22, 2))
def test_tolerated_failures_are_not_what_failed(fatal: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """An item runs again beside one whose failure its step tolerates, wherever the reset dies."""
    monkeypatch.setattr(commits, "MAX_WRITES", 2)
    rules: dict[str, dict[str, Any]] = {"train[0]": {"always_fail": True}, "x": {"fail_times": 1}}
    world = World(script(**rules))
    flow = workflow(step("train", for_each=each([1, 2, 3], tolerate=1)), step("x"))
    assert run(world, flow).state is RunState.FAILED
    before, plain = len(world.submissions()), world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        retry_run(world.services, RUN, only=["train[1]"], failed=True)
    world.services = plain
    if world.run(RUN).state is RunState.FAILED:
        retry_run(world.services, RUN, only=["train[1]"], failed=True)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert sorted(world.submissions()[before:]) == ["train[1]/2", "x/2"]
    assert is_sound(world)


# -- groups, stops and deaths ----------------------------------------------------------------------------------------


def test_a_retry_that_waits_for_a_place_keeps_its_choice() -> None:
    """The steps are reset once the run has a place, as a person chose them."""
    flow = json.loads(chain(3)) | {"concurrency": {"limit": 1, "whenFull": "queue"}}
    world = World()
    first = world.start(json.dumps(flow), run_key="1")
    world.run_to_end(first)
    world.task_runner.jobs.script = parse_script("default: {duration: 100}")
    other = world.start(json.dumps(flow), run_key="2")
    world.settle_down()
    retry_run(world.services, first, only=["s1"])
    assert world.run(first).state is RunState.QUEUED
    world.run_to_end(other)
    assert world.run_to_end(first).state is RunState.SUCCEEDED
    assert [step.attempt for step in world.steps(first).values() if step.attempt] == [1, 2, 1]


def test_a_stop_in_the_middle_keeps_what_was_left_as_it_is() -> None:
    """A cancel ends only what runs again, and a plain retry then runs what it ended, and all behind it."""
    world, run_id = ended(DIAMOND)
    world.task_runner.jobs.script = parse_script("default: {duration: 100}")
    retry_run(world.services, run_id, only=["b"])
    world.settle_down()
    cancel_run(world.services, run_id)
    states = world.states(run_id)
    assert (world.run(run_id).state, states["b"], states["d"]) == (RunState.CANCELLED, "CANCELLED", "SUCCEEDED")
    world.task_runner.jobs.script = parse_script("default: {}")
    assert again(world, run_id) == ["b/3", "d/2", "e/2"]
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_what_a_stop_left_counts_as_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A barrier that a stop has ended counts again what is before it, so that no step that it cut off is lost."""
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 2)
    world = World("default: {duration: 100}")
    flow = json.loads(definition({f"s{number}": [] for number in range(6)})) | {"timeout": "30s"}
    run_id = world.start(json.dumps(flow))
    assert world.run_to_end(run_id).state is RunState.FAILED
    now_fails(world)
    assert again(world, run_id, only=["s0"]) == ["s0/2"]
    assert world.run(run_id).state is RunState.FAILED
    assert len(world.run(run_id).errors) == 5


def test_a_run_that_fails_for_what_was_left_says_so() -> None:
    """Steps that a stop kept from starting have no message of their own."""
    world = World(script(a={"duration": 100}))
    flow = json.loads(definition({"a": [], "b": ["a"], "x": []})) | {"timeout": "30s"}
    run_id = world.start(json.dumps(flow))
    assert world.run_to_end(run_id).state is RunState.FAILED
    now_fails(world)
    assert again(world, run_id, only=["a"]) == ["a/2", "b/1"]
    world.store.commit([Update(path=step_path(run_id, "x"), fields={"state": "SKIPPED", "by_choice": False})])
    assert again(world, run_id, only=["b"]) == ["b/2"]
    assert world.run(run_id).state is RunState.FAILED
    assert [error["message"] for error in world.run(run_id).errors] == [
        "steps that the retry did not rerun had not succeeded"
    ]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 16))
@pytest.mark.parametrize("names", [{"only": ["b"]}, {"first": ["b"]}, {"only": ["train[1]"], "first": ["b"]}])
def test_a_retry_that_dies_is_finished_with_the_same_choice(
    names: Mapping[str, Any], fatal: int, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """Wherever the reset is interrupted, the checker has it continued, and the same steps run again."""
    monkeypatch.setattr(commits, "MAX_WRITES", 2)
    world = World()
    flow = workflow(
        step("a"),
        step("b", "a"),
        step("c", "b"),
        step("train", "a", for_each=each([1, 2, 3])),
        step("d", "c", "train", trigger=Trigger.ALWAYS),
    )
    assert run(world, flow).state is RunState.SUCCEEDED
    before, plain = len(world.submissions()), world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        retry_run(world.services, RUN, **names)
    world.services = plain
    if world.run(RUN).state is RunState.SUCCEEDED and world.run(RUN).retries == 0:
        retry_run(world.services, RUN, **names)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    expected = {"only": {"b/2"}, "first": {"b/2", "c/2", "d/2"}}
    wanted = (
        {one for name in names for one in expected[name]} if len(names) == 1 else {"b/2", "c/2", "d/2", "train[1]/2"}
    )
    assert sorted(world.submissions()[before:]) == sorted(wanted)
    assert is_sound(world)


def test_the_choice_is_gone_with_the_next_retry() -> None:
    """A retry without names runs what did not succeed, whatever the retry before it ran."""
    world, run_id = ended()
    now_fails(world, "d")
    again(world, run_id, first=["b"])
    assert world.run(run_id).selection is not None
    now_fails(world)
    assert again(world, run_id) == ["d/3", "e/2"]
    assert world.run(run_id).selection is None


def test_two_people_choose_one_after_the_other() -> None:
    """The second one finds the run reopened."""
    world, run_id = ended()
    retry_run(world.services, run_id, only=["b"])
    with pytest.raises(RunStateError, match="only a run that has ended"):
        retry_run(world.services, run_id, first=["a"])


def test_a_wide_step_runs_again_alone() -> None:
    """A step with a thousand dependents that are left as they are takes a few edges, and no thousand writes."""
    world, run_id = ended(fan(1_000))
    writes = world.store.writes
    assert again(world, run_id, only=["root"]) == ["root/2"]
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert world.store.writes - writes < 60


# -- any graph -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_any_selection_runs_again_what_it_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any graph, in several rounds: a model of users' steps alone says what runs again, and in which order."""
    chance = Random(seed)  # noqa: S311 (nothing secret)
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 2)
    monkeypatch.setattr(graph, "FAN_OUT_LIMIT", 3)
    names = [f"s{number}" for number in range(chance.randint(3, 9))]
    edges = {
        name: chance.sample(names[:number], chance.randint(0, min(number, 3))) for number, name in enumerate(names)
    }
    after: dict[str, set[str]] = {name: set() for name in names}
    for name in reversed(names):
        for need in edges[name]:
            after[need] |= {name, *after[name]}
    world = World()
    run_id = world.start(definition(edges))
    world.run_to_end(run_id)
    for _ in range(4):
        states = world.states(run_id)
        first = chance.sample(names, chance.choice([0, 0, 1, 2]))
        only = chance.sample(names, chance.choice([1, 1, 2]))
        failing = chance.choice(names)
        now_fails(world, *([failing] if chance.random() < 0.5 else []))
        chosen = {*first, *(name for one in first for name in after[one])}
        pending = list(only)
        while pending:
            one = pending.pop()
            chosen.add(one)
            pending += [
                name for name in names if one in edges[name] and name not in chosen and states[name] != "SUCCEEDED"
            ]
        before, attempts = len(world.submissions()), {name: world.steps(run_id)[name].attempt for name in names}
        try:
            again(world, run_id, first=first, only=only)
        except SelectionError:
            kept = {name for name in names if name not in chosen}
            assert any(after[one] & kept & {need for need in names if after[need] & chosen} for one in chosen)
            continue
        submitted = [one.partition("/")[0] for one in world.submissions()[before:]]
        assert set(submitted) <= chosen
        assert len(submitted) == len(set(submitted))
        positions = {name: number for number, name in enumerate(submitted)}
        for one in submitted:
            assert all(positions[need] < positions[one] for need in positions if one in after[need])
        steps = world.steps(run_id)
        for name in names:
            if name not in chosen:
                assert (steps[name].state, steps[name].attempt) == (states[name], attempts[name])
            else:
                assert name in submitted or any(steps[need].state != "SUCCEEDED" for need in edges[name])
        is_good = all(steps[name].state == "SUCCEEDED" for name in names)
        assert world.run(run_id).state is (RunState.SUCCEEDED if is_good else RunState.FAILED)


def test_the_run_document_has_the_choice() -> None:
    """It is written by the commit that reopens the run, with who chose it."""
    world, run_id = ended()
    retry_run(world.services, run_id, first=["b"], only=["c"], failed=True)
    [document] = world.store.get([run_path(run_id)])
    assert document is not None
    assert document.fields["selection"] == {"first": ["b"], "only": ["c"], "failed": True}
    assert world.run(run_id).changes[-1].what == "retry --from b --only c --failed"
