"""Outputs of steps, the values that tasks are given, and the outputs of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.firestore.memory import MemoryStore
from atom_emulator.testing.world import CountingStore, World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.states import RunState, StepState
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import Document
from atom_workflows.settings import from_environment
from support.commands import retry_run
from support.workflows import definition, script


def task(**fields: Any) -> dict[str, Any]:
    """Return a step's task with the fields."""
    return {"task": {"imageUri": "image", **fields}}


def bodies(world: World) -> dict[str, Any]:
    """Return the body of the last submission of each step."""
    return {key.split("/")[1]: body for key, body in world.task_runner.submitted}


def test_outputs_are_delivered_with_their_types() -> None:
    """A number stays a number, a list stays a list, and a list among arguments is spliced in."""
    world = World(script(list={"outputs": {"rows": 12, "files": ["gs://b/a", "gs://b/c"]}}))
    flow = definition(
        {"list": [], "load": ["list"]},
        list={"outputs": {"rows": "int", "files": ["gsUri"]}},
        load=task(
            imageUri="image:${{ steps.list.outputs.rows }}",
            args=["--rows", "${{ steps.list.outputs.rows }}", "${{ steps.list.outputs.files }}", "--end"],
            labels={"first": "${{ steps.list.outputs.files[0] }}"},
        ),
    )
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    sent = bodies(world)["load"]
    assert sent["imageUri"] == "image:12"
    assert sent["args"] == ["--rows", 12, "gs://b/a", "gs://b/c", "--end"]
    assert sent["labels"]["first"] == "gs://b/a"
    assert json.loads(world.steps(run_id)["load"].sent) == sent


def test_a_null_leaves_its_entry_out() -> None:
    """That holds for a field of the task and for an entry of a map of arguments."""
    world = World("")
    flow = definition(
        {"a": []}, a=task(masterType="${{ step.last.reason ?? null }}", args={"x": "${{ null }}", "y": "${{ 2 }}"})
    )
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    sent = bodies(world)["a"]
    assert "masterType" not in sent
    assert sent["args"] == {"y": 2}


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "`rows` is missing"),
        ({"rows": "12"}, "`rows` "),
        ({"rows": 1.5}, "`rows` "),
        ({"rows": 1, "more": 2}, ""),
        ({"rows": 3.0}, ""),
    ],
)
def test_a_job_must_return_what_its_step_declares(outputs: dict[str, Any], said: str) -> None:
    """A missing or mistyped output fails the attempt; one that is not declared is dropped."""
    world = World(script(a={"outputs": outputs}))
    run_id = world.start(definition({"a": []}, a={"outputs": {"rows": "int"}}))
    run = world.run_to_end(run_id)
    step = world.steps(run_id)["a"]
    assert run.state is (RunState.FAILED if said else RunState.SUCCEEDED)
    assert said in step.message
    assert step.last_kind == ("outputs" if said else "")


def test_the_wrong_part_of_an_output_is_named() -> None:
    """A mistyped item of a list is named with its index, not as the whole output."""
    world = World(script(a={"outputs": {"rows": [1, None, 3]}}))
    run_id = world.start(definition({"a": []}, a={"outputs": {"rows": ["int"]}}))
    world.run_to_end(run_id)
    assert "`rows[1]` is null, not a whole number" in world.steps(run_id)["a"].message


def test_the_task_runner_may_explain_missing_outputs() -> None:
    """The message of a job without its outputs is kept, since it may say why there are none."""
    world = World(script(a={"outputs": {}, "message": "the outputs file is not JSON"}))
    run_id = world.start(definition({"a": []}, a={"outputs": {"rows": "int"}}))
    world.run_to_end(run_id)
    assert world.steps(run_id)["a"].message.endswith("returned: none; its message: the outputs file is not JSON")


def test_members_that_are_left_out_count_as_null() -> None:
    """Ten thousand empty maps of fifty members would not fit into a document."""
    members = {f"n{number}": "int or null" for number in range(50)}
    world = World(script(a={"outputs": {"rows": [{}] * 10_000}, "synchronous": True}))
    run_id = world.start(definition({"a": []}, a={"outputs": {"rows": [members]}}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert "bytes as JSON (with null for each member that is left out)" in world.steps(run_id)["a"].message


def test_an_attempt_without_its_outputs_is_retried() -> None:
    """The second attempt returns them."""
    world = World(script(a={"outputs": [{}, {"rows": 3}]}))
    retry = {"maxAttempts": 2, "backoff": {"initial": "1s"}}
    flow = definition(
        {"a": [], "b": ["a"]},
        a={"outputs": {"rows": "int"}, "retry": retry},
        b=task(args={"rows": "${{ steps.a.outputs.rows }}"}),
    )
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["b"]["args"] == {"rows": 3}
    assert world.submissions() == ["a/1", "a/2", "b/1"]


def test_parameters_and_values_of_the_run_reach_the_task() -> None:
    """They are put in when the run starts, so a step reads no document for them."""
    world = World("", env={"registry": "eu.example"})
    flow = json.loads(
        definition(
            {"a": []},
            a=task(
                imageUri="${{ env.registry }}/load",
                args={"day": "${{ day(params.day, -1) }}", "n": "${{ params.n }}"},
            ),
        )
    )
    flow["params"] = {"day": {"type": "date"}, "n": 8}
    run_id = world.start(json.dumps(flow), params={"day": "2026-03-01"})
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["a"]["imageUri"] == "eu.example/load"
    assert bodies(world)["a"]["args"] == {"day": "2026-02-28", "n": 8}
    run = world.run(run_id)
    assert (run.params, run.defaulted, run.env) == ({"day": "2026-03-01", "n": 8}, ("n",), {"registry": "eu.example"})
    assert world.steps(run_id)["a"].templates == ()


def test_wrong_parameters_make_a_visible_run() -> None:
    """An INVALID run names every problem at once."""
    world = World("")
    flow = json.loads(definition({"a": []}))
    flow["params"] = {"shards": {"type": "int", "max": 64}, "region": {"type": "text"}}
    run_id = world.start(json.dumps(flow), params={"shards": 128, "regoin": "eu"})
    run = world.run(run_id)
    assert run.state is RunState.INVALID
    said = "\n".join(error["message"] for error in run.errors)
    for part in ("128", "at most 64", "regoin", "region", "required"):
        assert part in said


@pytest.mark.parametrize("count", [2, 20])
def test_a_task_is_too_large_with_its_values_whenever_they_are_known(count: int) -> None:
    """A body over its limit fails its step alone, also if it is large with parameters only."""
    args = ["${{ params.text }}"] * count
    flow = {"params": {"text": {"type": "text"}}, **json.loads(definition({"a": [], "b": []}, b=task(args=args)))}
    world = World("")
    run_id = world.start(json.dumps(flow), params={"text": "x" * 60_000})
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.states(run_id) == {"a": "SUCCEEDED", "b": "FAILED"}
    assert world.submissions() == ["a/1"]
    assert "more than the 65,536 allowed" in world.steps(run_id)["b"].message


@pytest.mark.parametrize("args", [[], ["${{ step.attempt }}"]])
def test_local_times_among_outputs_are_of_the_workflows_zone(args: list[str]) -> None:
    """An instant without an offset is a local time, whether or not the step has expressions of its own."""
    world = World(script(a={"outputs": {"at": "2026-01-01T00:00:00"}}))
    flow = json.loads(
        definition(
            {"a": [], "b": ["a"]},
            a={"outputs": {"at": "instant"}, **task(args=args)},
            b=task(args=["${{ steps.a.outputs.at }}"]),
        )
    )
    run_id = world.start(json.dumps({**flow, "timezone": "Europe/Paris"}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["b"]["args"] == ["2025-12-31T23:00:00Z"]


def test_an_alias_keeps_the_order_of_what_it_repeats() -> None:
    """A list is spliced in where it stands, also in arguments that an alias repeats."""
    flow = """
    steps:
      - {id: list, task: {imageUri: image}, outputs: {files: [text], last: text}}
      - id: a
        dependsOn: list
        task: {imageUri: image, args: [&all ["${{ steps.list.outputs.files }}", "-", "${{ steps.list.outputs.last }}"]]}
      - {id: b, dependsOn: list, task: {imageUri: image, args: ["${{ steps.list.outputs.files }}", *all, end]}}
    """
    world = World(script(list={"outputs": {"files": ["x", "y", "z"], "last": "l"}}))
    assert world.run_to_end(world.start(flow)).state is RunState.SUCCEEDED
    assert bodies(world)["a"]["args"] == [["x", "y", "z", "-", "l"]]
    assert bodies(world)["b"]["args"] == ["x", "y", "z", ["x", "y", "z", "-", "l"], "end"]


@pytest.mark.parametrize("text", ["${{ params.none }}", "${{ step.last.kind ?? null }}"])
def test_fields_that_every_job_has_keep_their_default(text: str) -> None:
    """With null they are as if they were not written."""
    world = World("")
    flow = json.loads(definition({"a": []}, a=task(name=text, scaleTier=text)))
    run_id = world.start(json.dumps({**flow, "params": {"none": {"type": "text", "default": None}}}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert (bodies(world)["a"]["job_name"], bodies(world)["a"]["scaleTier"]) == ("a", "BASIC")


def test_an_expression_does_not_replace_our_own_labels() -> None:
    """They tell the Task Runner where a job comes from, and a file cannot set them otherwise, either."""
    world = World("")
    flow = definition({"a": []}, a=task(labels=dict.fromkeys(("workflow", "type", "mine"), "${{ run.id }}")))
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["a"]["labels"] == {"workflow": "flow", "type": "step", "mine": run_id}


@pytest.mark.parametrize("fields", [{"imageUri": "${{ params.p }}"}, {"labels": {"k": "${{ params.p }}"}}])
def test_a_field_does_not_hold_a_value_of_another_type(fields: dict[str, Any]) -> None:
    """A value of any type that is not text fails the step, and the Task Runner never sees it."""
    world = World("")
    flow = json.loads(definition({"a": []}, a=task(**fields)))
    run_id = world.start(json.dumps({**flow, "params": {"p": {"type": "any"}}}), params={"p": 5})
    assert world.run_to_end(run_id).state is RunState.FAILED
    step = world.steps(run_id)["a"]
    assert (step.last_kind, world.submissions()) == ("expression", [])
    assert step.message.endswith("(line 1) must be text, but its value is 5")


def test_a_value_that_takes_long_is_left_to_its_step() -> None:
    """Thousands of these would keep a run from being started."""
    world = World("")
    slow = "${{ len([x for x in range(params.n) if x >= 0]) }}"
    flow = {"params": {"n": 9_000}, **json.loads(definition({"a": []}, a=task(args=["${{ params.n }}", slow])))}
    run_id = world.start(json.dumps(flow))
    assert [template.text for template in world.steps(run_id)["a"].templates] == [slow]
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["a"]["args"] == [9_000, 9_000]


def test_all_parameters_together_are_a_map() -> None:
    """The name without a member reads all of them, or none if none are declared."""
    for params, sent in (({"n": 8}, '{"n":8}'), ({}, "{}")):
        world = World("")
        flow = json.loads(definition({"a": []}, a=task(args=["${{ json(params) }}"])))
        run_id = world.start(json.dumps({**flow, **({"params": params} if params else {})}))
        assert world.run_to_end(run_id).state is RunState.SUCCEEDED
        assert bodies(world)["a"]["args"] == [sent]


def test_a_retry_may_ask_for_more() -> None:
    """The task reads the reason of the attempt before, and `retry.when` decides by it."""
    world = World(script(a={"fail_times": 1, "reason": "OOM"}))
    retry = {"maxAttempts": 3, "when": "failure.reason == 'OOM'", "backoff": {"initial": "1s"}}
    machine = "${{ 'big' if (step.last.reason ?? '') == 'OOM' else 'small' }}"
    run_id = world.start(definition({"a": []}, a={**task(masterType=machine), "retry": retry}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert [body["masterType"] for _, body in world.task_runner.submitted] == ["small", "big"]


@pytest.mark.parametrize(
    ("condition", "attempts"),
    [("failure.reason == 'OOM'", 1), ("failure.kind in ['failed', 'timeout']", 3), ("failure.attempt < 2", 2)],
)
def test_only_the_failures_that_are_named_are_retried(condition: str, attempts: int) -> None:
    """Any other failure is final."""
    world = World(script(a={"reason": "PREEMPTED", "always_fail": True}))
    retry = {"maxAttempts": 3, "when": condition, "backoff": {"initial": "1s"}}
    run_id = world.start(definition({"a": []}, a={"retry": retry}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert len(world.submissions()) == attempts
    assert world.steps(run_id)["a"].reason == "PREEMPTED"


def test_the_outputs_of_a_run() -> None:
    """They are worked out once every step has ended, and stored with the run."""
    world = World(script(a={"outputs": {"rows": 12}}))
    flow = json.loads(definition({"a": [], "b": ["a"]}, a={"outputs": {"rows": "int"}}))
    flow["outputs"] = {"rows": "${{ steps.a.outputs.rows * 2 }}"}
    run_id = world.start(json.dumps(flow))
    run = world.run_to_end(run_id)
    assert (run.state, run.outputs) == (RunState.SUCCEEDED, {"rows": 24})


def test_outputs_that_cannot_be_worked_out_fail_the_run() -> None:
    """The error names the output."""
    world = World(script(a={"message": "none"}))
    flow = json.loads(definition({"a": []}))
    flow["outputs"] = {"rows": "${{ int(steps.a.message) }}"}
    run_id = world.start(json.dumps(flow))
    run = world.run_to_end(run_id)
    assert run.state is RunState.FAILED
    assert "rows" in run.errors[0]["message"]


def test_a_retry_of_the_run_replaces_outputs() -> None:
    """A step that runs again because of one before it loses its outputs, and readers get the new ones."""
    world = World(script(bad={"fail_times": 1}, good={"outputs": [{"n": 1}, {"n": 2}]}))
    flow = definition(
        {"bad": [], "good": ["bad"], "read": ["good"]},
        good={"trigger": "always", "outputs": {"n": "int"}},
        read=task(args={"n": "${{ steps.good.outputs.n }}"}),
    )
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert bodies(world)["read"]["args"] == {"n": 1}
    retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["read"]["args"] == {"n": 2}
    assert world.submissions() == ["bad/1", "good/1", "read/1", "bad/2", "good/2", "read/2"]


def test_the_cost_of_outputs() -> None:
    """Having outputs costs one write more, and reading those of two steps two reads more; no message is added."""

    def cost(**fields: dict[str, Any]) -> tuple[int, int, int]:
        world = World(script(a={"outputs": {"n": 1}}, b={"outputs": {"n": 1}}))
        run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"]}, **fields))
        world.settle_down()
        assert world.run(run_id).state is RunState.SUCCEEDED
        return world.store.reads, world.store.writes, len(world.changes())

    declared = {"outputs": {"n": "int"}}
    plain = cost()
    with_outputs = cost(a=declared, b=declared)
    read = cost(a=declared, b=declared, c=task(args={"n": "${{ steps.a.outputs.n + steps.b.outputs.n }}"}))
    assert with_outputs == (plain[0], plain[1] + 2, plain[2])
    assert read == (plain[0] + 2, plain[1] + 2, plain[2])


def test_a_member_that_is_not_declared_is_dropped_at_any_depth() -> None:
    """A job may return more than its step reads."""
    world = World(script(a={"outputs": {"files": [{"name": "x", "size": 3}]}}))
    flow = definition(
        {"a": [], "b": ["a"]},
        a={"outputs": {"files": [{"name": "text"}]}},
        b=task(args={"files": "${{ steps.a.outputs.files }}"}),
    )
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["b"]["args"] == {"files": [{"name": "x"}]}


def test_a_step_that_is_read_as_a_whole_has_its_outputs() -> None:
    """Its state, message and outputs are read together."""
    world = World(script(a={"outputs": {"n": 1}}))
    flow = definition({"a": [], "b": ["a"]}, a={"outputs": {"n": "int"}}, b=task(args={"all": "${{ json(steps.a) }}"}))
    run_id = world.start(flow)
    world.run_to_end(run_id)
    sent = json.loads(bodies(world)["b"]["args"]["all"])
    assert (sent["state"], sent["outputs"]) == ("SUCCEEDED", {"n": 1})


def test_the_expressions_of_a_task_share_one_budget() -> None:
    """A file could otherwise keep a dispatcher busy for minutes with many cheap-looking expressions."""
    world = World(script(a={"outputs": {"n": 2000}}))
    dear = "${{ sum([x * 2 for x in range(steps.a.outputs.n)]) }}"
    flow = definition(
        {"a": [], "b": ["a"]}, a={"outputs": {"n": "int"}}, b=task(args={f"n{number}": dear for number in range(100)})
    )
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert "more than 100,000 evaluation steps" in world.steps(run_id)["b"].message
    assert world.submissions() == ["a/1"]


def test_an_invalid_run_can_be_replaced_by_a_plain_one() -> None:
    """Nothing of the file that could not be stored is left."""
    world = World("")
    large = json.loads(definition({"a": []}))
    large["params"] = {"p": {"type": "text", "default": "x"}}
    large["finally"] = [{"id": "z", "task": {"imageUri": "image"}}]
    large["outputs"] = {f"o{number}": "${{ params.p }}" + "y" * 12_000 for number in range(95)}
    run_id = world.start(json.dumps(large))
    assert world.run(run_id).state is RunState.INVALID
    assert world.start(definition({"a": []})) == run_id
    run = world.run_to_end(run_id)
    assert (run.state, run.schema, run.finally_timeout, run.outputs) == (RunState.SUCCEEDED, 1, None, {})


def test_the_problems_of_parameters_are_bounded() -> None:
    """An INVALID run with thousands of them can still be stored."""
    world = World("")
    flow = json.loads(definition({"a": []}))
    flow["params"] = {"n": 1}
    run_id = world.start(json.dumps(flow), params={f"unknown{number}": "x" * 20 for number in range(2_000)})
    run = world.run(run_id)
    assert run.state is RunState.INVALID
    assert len(run.errors) == 101
    assert "1,900 more" in run.errors[-1]["message"]


@pytest.mark.parametrize("image", ["${{ env.image ?? 'mine' }}", "${{ env.image if has(env.image) else 'mine' }}"])
def test_a_value_of_the_environment_may_be_missing_if_the_file_says_so(image: str) -> None:
    """Otherwise the run is INVALID, and names the variable to set."""
    world = World("")
    run_id = world.start(definition({"a": []}, a=task(imageUri=image)))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["a"]["imageUri"] == "mine"
    refused = World("")
    run_id = refused.start(definition({"a": []}, a=task(imageUri="${{ env.image }}")))
    assert "set WORKFLOW_ENV_image" in refused.run(run_id).errors[0]["message"]
    assert from_environment({"WORKFLOW_ENV_image": "x"}).env == {"image": "x"}


def test_a_failure_that_is_not_retried_says_why() -> None:
    """The step stores the condition with the values that it was decided on."""
    world = World(script(a={"always_fail": True, "reason": "BAD_INPUT"}))
    retry = {"maxAttempts": 3, "when": "failure.reason == 'OOM'"}
    run_id = world.start(definition({"a": []}, a={"retry": retry}))
    world.run_to_end(run_id)
    because = world.steps(run_id)["a"].because
    assert because == "not retried, as `failure.reason == 'OOM'` was false (`reason` = \"BAD_INPUT\")"


def test_dropped_outputs_are_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    """Names of outputs that a step does not declare are logged once, a few of them and never their values."""
    caplog.set_level(logging.INFO)
    many = {"rows": 1, "x" * 200: "secret", **{f"n{number}": "secret" for number in range(80)}}
    world = World(script(a={"outputs": many}, b={"outputs": {"rows": 1}}, c={"outputs": {"extra": 1}}))
    flow = definition({"a": [], "b": [], "c": []}, **{name: {"outputs": {"rows": "int"}} for name in "ab"})
    world.run_to_end(world.start(flow))
    lines = {
        fields["step_id"]: record.message
        for record in caplog.records
        if (fields := getattr(record, "fields", {})).get("action") == "step.outputs.dropped"
    }
    assert lines.keys() == {"a", "c"}
    assert lines["c"].endswith("are dropped: extra")
    assert lines["a"].endswith(f"are dropped: {'x' * 80}, n0, n1, n2, n3, n4, n5, n6, n7, n8 and 71 more")
    assert "secret" not in caplog.text


class Watched(CountingStore):
    """A store that remembers what was read by path."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.found: list[Document] = []

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        found = super().get(paths, fields=fields)
        self.found += [document for document in found if document is not None]
        return found


def test_of_other_steps_only_results_are_read() -> None:
    """The state of an earlier step is read without its task, which may be large."""
    world = World(script(a={"message": "well done"}))
    reads = {"state": "${{ steps.a.state }}", "message": "${{ steps.a.message }}"}
    run_id = world.start(definition({"a": [], "between": ["a"], "b": ["between"]}, b=task(args=reads)))
    watched = Watched(world.store.inner)
    world.services = replace(world.services, store=watched)
    world.run_to_end(run_id)
    assert bodies(world)["b"]["args"] == {"state": "SUCCEEDED", "message": "well done"}
    read = [one.fields for one in watched.found if one.id == "a" and one.fields["state"] == "SUCCEEDED"]
    assert read == [{"kind": "job", "state": "SUCCEEDED", "message": "well done"}]


def test_a_step_does_not_read_megabytes_of_outputs() -> None:
    """All outputs that a step or the run's outputs read are limited in total; what is larger fails with the reason."""
    names = [f"s{number}" for number in range(34)]
    world = World(script(**{name: {"outputs": {"text": "x" * 32_000, "n": 1}} for name in names}))
    outputs = {name: {"outputs": {"text": "text", "n": "int"}} for name in names}
    few, many = (" + ".join(f"steps.{name}.outputs.n" for name in some) for some in (names[:30], names))
    flow = json.loads(
        definition(
            {**dict.fromkeys(names, ()), "few": names, "many": names, "decide": names},
            **outputs,
            few=task(args={"sum": f"${{{{ {few} }}}}"}),
            many=task(args={"sum": f"${{{{ {many} }}}}"}),
            decide={"when": f"{many} > 1"},
        )
    )
    run_id = world.start(json.dumps(flow))
    world.run_to_end(run_id)
    said = "the outputs that its expressions read are more than 1,048,576 bytes in total"
    steps = world.steps(run_id)
    assert bodies(world)["few"]["args"] == {"sum": 30}
    assert [(steps[name].state.value, steps[name].last_kind) for name in ("many", "decide")] == [
        ("FAILED", "expression")
    ] * 2
    assert all(said in steps[name].message for name in ("many", "decide"))
    outputs_only = {"name": "flow", "steps": flow["steps"][:34], "outputs": {"sum": f"${{{{ {many} }}}}"}}
    run = world.run_to_end(world.start(json.dumps(outputs_only), run_key="outputs"))
    assert (run.state, run.outputs) == (RunState.FAILED, {})
    assert said in run.errors[0]["message"]


class Slow(CountingStore):
    """A store that takes 110 s to read outputs, the first time."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store.inner)
        self.world, self.is_slow = world, True

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        if self.is_slow and any("/outputs/" in path for path in paths):
            self.is_slow = False
            self.world.clock.move(timedelta(seconds=110))
        return super().get(paths, fields=fields)


def test_a_step_whose_values_took_long_to_read_is_not_submitted_late() -> None:
    """If too little of the lease is left, another instance could submit at the same time, so it is done later."""
    world = World(script(a={"outputs": {"n": 1}, "synchronous": True}))
    reads = task(args={"n": "${{ steps.a.outputs.n }}"})
    run_id = world.start(definition({"a": [], "b": ["a"]}, a={"outputs": {"n": "int"}}, b=reads))
    world.services = replace(world.services, store=Slow(world))
    world.settle_down()
    step = world.steps(run_id)["b"]
    assert (world.submissions(), step.state) == (["a/1"], StepState.DISPATCHING)
    assert step.message == "it was not called: too little of the step's lease was left"
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert bodies(world)["b"]["args"] == {"n": 1}


def test_labels_are_read_in_the_order_of_their_names() -> None:
    """The store keeps no order, and a run that is seeded again must give its jobs the same values."""
    world = World("")
    flow = definition({"a": []}, a=task(args={"labels": "${{ json(run.labels) }}"}))
    body = {"definition": flow, "run_key": "k", "labels": {"team": "x", "cost": "y"}}
    run_id = handle_start(world.services, read_start_event(body, event_id="1")).run_id
    world.run_to_end(run_id)
    assert bodies(world)["a"]["args"] == {"labels": '{"cost":"y","team":"x"}'}


def test_what_was_sent_is_forgotten_by_a_retry() -> None:
    """A step that a retry has not started again does not show the body of its earlier job."""
    world = World(script(a={"always_fail": True}))
    run_id = world.start(definition({"a": []}, a=task(args={"attempt": "${{ step.attempt }}"})))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert json.loads(world.steps(run_id)["a"].sent)["args"] == {"attempt": 1}
    retry_run(world.services, run_id)
    assert (world.steps(run_id)["a"].state, world.steps(run_id)["a"].sent) == (StepState.PENDING, "")
