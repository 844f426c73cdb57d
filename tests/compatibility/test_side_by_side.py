"""Two versions handle the events of the same runs, as they do while a deployment is rolled out."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest

from atom_workflows.coordinator.run_commands import accept_command
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, steps_path
from atom_workflows.expressions.types import INT
from atom_workflows.messages.internal import MARK, RETRY, RunCommand
from atom_workflows.ports import Query
from compatibility.rollout import ADDED, Rollout, Version
from support import loops
from support.commands import retry_run
from support.groups import at_work, limited, runs_of
from support.workflows import layers

SEEDS = range(20)
SCRIPT = "default: {duration: 25}\nrules: [{step: l1x1, fail_times: 1}]"
RETRIED = json.dumps(
    json.loads(layers(4, 3)) | {"defaults": {"retry": {"maxAttempts": 3, "backoff": {"initial": "1s"}}}}
)


def require_success(world: Rollout, run_id: str) -> None:
    """Require a successful run that submitted each job as often as it should."""
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    submitted = Counter(world.submissions())
    assert submitted == dict.fromkeys(submitted, 1)
    assert {name.partition("/")[0] for name in submitted} == set(world.states(run_id))
    assert len(submitted) == len(world.states(run_id)) + 1
    assert min(world.seen.handled.values()) > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_a_version_that_only_adds(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """An older version neither trips over new fields nor loses them."""
    world = Rollout(seed, monkeypatch, script=SCRIPT)
    world.services = world._newer
    run_id = world.start(RETRIED)
    world.services = world._older
    require_success(world, run_id)
    assert world.seen.refused == 0
    [run] = world.store.get([run_path(run_id)])
    documents = world.store.query(Query(collection=steps_path(run_id)))
    assert run is not None
    assert all(ADDED in document.fields for document in [run, *documents])


def test_a_version_with_another_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older version leaves a newer one's events to it."""
    refused = 0
    for seed in SEEDS:
        world = Rollout(seed, monkeypatch, newer=Version(events=3), script=SCRIPT)
        require_success(world, world.start(RETRIED))
        refused += world.seen.refused
    assert refused > len(SEEDS)


def test_a_rollout_that_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends though its newer version's events are left behind."""
    world = Rollout(7, monkeypatch, newer=Version(events=3), script="default: {duration: 25}")
    world.newer_share = 1
    run_id = world.start(layers(4, 3))
    world.settle_down()
    world.newer_share = 0
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert len(world.submissions()) == len(set(world.submissions())) == len(world.states(run_id))


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_commands_that_an_older_dispatcher_does_not_know(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """An older dispatcher leaves a command to a newer one, and no version loses it or carries it out twice."""
    older = Version(commands=2, marks=2)
    world = Rollout(seed, monkeypatch, older=older, script="rules: [{step: l1x1, always_fail: true}]")
    run_id = world.start(layers(2, 2))
    assert world.run_to_end(run_id).state == "FAILED"
    world.newer_share = 0
    for _ in range(2):
        accept_command(world.services, RunCommand(run_id, RETRY, retries=0, actor="ana@example.com"))
    refused = world.seen.refused
    [first, second] = world.bus.take_all("steps")
    assert not world.deliver(first)
    assert not world.deliver(second)
    assert (world.seen.refused, world.run(run_id).retries) == (refused + 2, 0)
    world.newer_share = 0.5
    world.clock.move(timedelta(minutes=5))
    assert world.run_to_end(run_id).state == "FAILED"
    assert world.run(run_id).retries == 1
    assert world.bus.take_all("dead-letters") == []


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_marks_that_an_older_dispatcher_does_not_know(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """An older dispatcher that knows other commands leaves a mark to a newer one."""
    world = Rollout(seed, monkeypatch, older=Version(marks=3), script="rules: [{step: l1x1, always_fail: true}]")
    run_id = world.start(layers(2, 2))
    assert world.run_to_end(run_id).state == "FAILED"
    world.newer_share = 0
    mark = RunCommand(run_id, MARK, retries=0, actor="ana@example.com", step="l1x1", state="skipped")
    accept_command(world.services, mark)
    [taken] = world.bus.take_all("steps")
    assert not world.deliver(taken)
    world.newer_share = 1
    world.clock.move(timedelta(minutes=5))
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert world.bus.take_all("dead-letters") == []


JOINED = 40
JOIN = json.dumps(
    {
        "name": "join",
        "steps": [
            *({"id": f"s{number}", "task": {"imageUri": "image"}} for number in range(JOINED)),
            {"id": "after", "dependsOn": [f"s{number}" for number in range(JOINED)], "task": {"imageUri": "image"}},
        ],
    }
)
"""A fan-in that takes a tree of barriers."""

FAILS_ONCE = "default: {duration: 25}\nrules: [{step: s3, fail_times: 1}, {step: s33, fail_times: 1}]"


def schemas(world: Rollout, run_id: str) -> set[object]:
    """The schemas of all documents of a run."""
    [run] = world.store.get([run_path(run_id)])
    assert run is not None
    return {document.fields["schema"] for document in [run, *world.store.query(Query(collection=steps_path(run_id)))]}


def require_failure_and_repair(world: Rollout, run_id: str) -> None:
    """Two of the joined steps fail, so what is behind them is skipped, until a retry runs these three alone."""
    assert world.run_to_end(run_id).state == "FAILED"
    assert Counter(world.states(run_id).values()) == {"SUCCEEDED": JOINED - 2, "FAILED": 2, "SKIPPED": 1}
    before = len(world.submissions())
    retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert len(world.submissions()) == before + 3


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_runs_of_both_schemas(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Versions that write the one and the other handle runs of both, and each run keeps the schema it began with."""
    world = Rollout(seed, monkeypatch, newer=Version(new_runs=2), script=FAILS_ONCE)
    first, second = world.start_by("older", JOIN, "1"), world.start_by("newer", JOIN, "2")
    for run_id, schema in ((first, 1), (second, 2)):
        require_failure_and_repair(world, run_id)
        assert schemas(world, run_id) == {schema}
    assert world.seen.refused == 0
    assert min(world.seen.handled.values()) > 5


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_a_version_that_cannot_read_a_run(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """It leaves a run of the second schema to the version that started it, and goes on with those of the first."""
    world = Rollout(seed, monkeypatch, older=Version(reads=(1,)), newer=Version(new_runs=2), script=FAILS_ONCE)
    first, second = world.start_by("older", JOIN, "1"), world.start_by("newer", JOIN, "2")
    require_failure_and_repair(world, first)
    require_failure_and_repair(world, second)
    assert world.seen.refused > 0


PIPELINE = json.dumps(
    {
        "name": "pipeline",
        "params": {"mode": {"type": "text", "enum": ["full", "delta"], "default": "delta"}},
        "steps": [
            {"id": "list", "task": {"imageUri": "image"}, "outputs": {"rows": "int"}},
            {"id": "full", "dependsOn": ["list"], "when": "params.mode == 'full'", "task": {"imageUri": "image"}},
            {"id": "delta", "dependsOn": ["list"], "when": "params.mode == 'delta'", "task": {"imageUri": "image"}},
            {"id": "check", "dependsOn": ["list"], "allowFailure": True, "task": {"imageUri": "image"}},
            {
                "id": "report",
                "dependsOn": ["full", "delta", "check"],
                "task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}},
            },
            {"id": "last", "dependsOn": ["report"], "task": {"imageUri": "image"}},
            {"id": "react", "dependsOn": ["last"], "trigger": "any-failed", "task": {"imageUri": "image"}},
        ],
        "finally": [{"id": "clean", "task": {"imageUri": "image", "args": {"state": "${{ run.state }}"}}}],
        "outputs": {"rows": "${{ steps.list.outputs.rows }}"},
    }
)
PIPELINE_SCRIPT = """
default: {duration: 25}
rules:
  - {step: list, duration: 25, outputs: {rows: 12}}
  - {step: check, always_fail: true}
  - {step: last, fail_times: 1}
  - {step: s3, fail_times: 1}
  - {step: s33, fail_times: 1}
"""


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_a_version_that_knows_no_expressions(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """It leaves runs that use them to the newer version, writes none of their documents, and goes on with others."""
    world = Rollout(seed, monkeypatch, older=Version(reads=(1, 2)), script=PIPELINE_SCRIPT)
    plain, other = world.start_by("older", JOIN, "1"), world.start_by("newer", PIPELINE, "2")
    assert world.run_to_end(other).state == "FAILED"
    require_failure_and_repair(world, plain)
    with world._version("newer"):
        assert world.states(other) == {
            **dict.fromkeys(("list", "delta", "report", "react", "clean"), "SUCCEEDED"),
            "full": "SKIPPED",
            "check": "FAILED",
            "last": "FAILED",
        }
        retry_run(world.services, other)
    run = world.run_to_end(other)
    assert (run.state, run.outputs) == ("SUCCEEDED", {"rows": 12})
    assert schemas(world, other) == {3}
    assert schemas(world, plain) == {1}
    assert world.seen.refused > 0
    assert world.seen.older_wrote == {plain}


LOOPS_SCRIPT = """
default: {duration: 25, outputs: {n: 1}}
rules:
  - {step: "train[1]", duration: 25, fail_times: 1, outputs: {n: 1}}
  - {step: s3, fail_times: 1}
  - {step: s33, fail_times: 1}
"""


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_a_version_that_knows_no_loops(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """It leaves runs with `forEach` to the newer version, gives up none of their events, and goes on with others."""
    older = Version(reads=(1, 2, 3), items=1)
    world = Rollout(seed, monkeypatch, older=older, script=LOOPS_SCRIPT)
    plain = world.start_by("older", JOIN, "1")
    train = loops.step("train", for_each=loops.each(list(range(40))), outputs={"n": INT})
    flow = loops.workflow(train, loops.step("last", "train", args={"n": "sum(steps.train.outputs.n)"}))
    with world._version("newer"):
        other = loops.start(world, flow)
    assert world.run_to_end(other).state == "FAILED"
    require_failure_and_repair(world, plain)
    with world._version("newer"):
        retry_run(world.services, other)
    assert world.run_to_end(other).state == "SUCCEEDED"
    submitted = [key for key, _ in world.task_runner.submitted if key.startswith(other)]
    assert len(submitted) == len(set(submitted)) == 42
    assert schemas(world, other) == {4}
    assert world.seen.refused > 0
    assert world.seen.older_wrote == {plain}


@pytest.mark.parametrize("seed", range(10))
def test_runs_in_line_are_left_to_the_newer_version(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """An older version writes nothing of runs that wait for each other, and they run one at a time all the same."""
    world = Rollout(seed, monkeypatch, older=Version(reads=(1, 2, 3)), script="default: {duration: 15}")
    ids = [world.start_by("newer", limited(2), f"key-{number}") for number in range(3)]
    assert [world.run(run_id).state for run_id in ids] == [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED]
    most = 0
    for _ in range(200):
        world.settle_down()
        runs = runs_of(world)
        most = max(most, len(at_work(runs.values())))
        if all(run.state.is_terminal for run in runs.values()):
            break
        world.clock.move(timedelta(seconds=10))
        world.tick()
    assert {run.state for run in runs_of(world).values()} == {RunState.SUCCEEDED}
    assert most == 1
    assert world.seen.older_wrote == set()
    assert world.seen.refused > 0
