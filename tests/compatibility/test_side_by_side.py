"""Two versions handle the events of the same runs, as they do while a deployment is rolled out."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from atom_workflows.documents import run_path, steps_path
from atom_workflows.ports import Query
from compatibility.rollout import ADDED, Rollout
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
        world = Rollout(seed, monkeypatch, newer_schema=2, script=SCRIPT)
        require_success(world, world.start(RETRIED))
        refused += world.seen.refused
    assert refused > len(SEEDS)


def test_a_rollout_that_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends though its newer version's events are left behind."""
    world = Rollout(7, monkeypatch, newer_schema=2, script="default: {duration: 25}")
    world.newer_share = 1
    run_id = world.start(layers(4, 3))
    world.settle_down()
    world.newer_share = 0
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert len(world.submissions()) == len(set(world.submissions())) == len(world.states(run_id))
