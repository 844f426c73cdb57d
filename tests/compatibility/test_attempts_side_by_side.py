"""A version that keeps no attempts handles the events of the same runs as one that does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pytest

from atom_workflows.core.attempts import list_attempts
from atom_workflows.documents import steps_path
from atom_workflows.ports import Document, Query, Store, Update, Write, WriteResult
from atom_workflows.step_documents import step_record
from compatibility.rollout import Rollout
from support.commands import retry_run
from support.workflows import definition

SEEDS: Final = range(20)
UNKNOWN: Final = ("attempts", "submitted_at", "running_at")
SCRIPT: Final = """
default: {duration: 25, states: [QUEUED, RUNNING]}
rules:
- {step: a, fail_times: 2, submit_errors: [429]}
- {step: b, fail_times: 4}
"""
POLICIES: Final = {"retry": {"maxAttempts": 4, "backoff": {"initial": "1s"}}}


@dataclass(frozen=True, slots=True)
class OlderStore:
    """Reads and writes documents as a version that does not know these fields."""

    inner: Store

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        found = self.inner.get(paths, fields=fields)
        return [None if document is None else _without(document) for document in found]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.inner.commit(
            [
                replace(write, fields={name: value for name, value in write.fields.items() if name not in UNKNOWN})
                if isinstance(write, Update)
                else write
                for write in writes
            ]
        )

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return [_without(document) for document in self.inner.query(query)]

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)


def _without(document: Document) -> Document:
    return document._replace(fields={name: value for name, value in document.fields.items() if name not in UNKNOWN})


class Attempts(Rollout):
    """A rollout of the version that keeps attempts."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        super().__init__(seed, patch, script=SCRIPT)
        self._older = replace(self.services, store=OlderStore(self.store))


def test_attempts_beside_a_version_that_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go as ever; no attempt is kept twice or in another order, and only those of the older one are missing."""
    missing = complete = 0
    for seed in SEEDS:
        world = Attempts(seed, monkeypatch)
        run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"]}, a=POLICIES, b=POLICIES))
        assert world.run_to_end(run_id).state == "FAILED"
        retry_run(world.services, run_id)
        assert world.run_to_end(run_id).state == "SUCCEEDED"
        submitted = Counter(world.submissions())
        steps = {one.id: step_record(one) for one in world.store.query(Query(collection=steps_path(run_id)))}
        assert {name: steps[name].attempt for name in "abc"} == {"a": 3, "b": 5, "c": 1}
        assert set(submitted) == {f"{name}/{n}" for name in "abc" for n in range(1, steps[name].attempt + 1)}
        for name in "abc":
            listed = list_attempts(steps[name])
            numbers = [one.number for one in listed]
            assert numbers == sorted(set(numbers)) != []
            assert (numbers[-1], listed[-1].kind) == (steps[name].attempt, "succeeded")
            for one in listed:
                assert one.running_at is None or (one.ended_at is not None and one.running_at <= one.ended_at)
            missing += len(numbers) < steps[name].attempt
            complete += len(numbers) == steps[name].attempt > 1
    assert missing > len(SEEDS) // 2
    assert complete > 1


def test_a_step_is_written_as_before_until_an_attempt_ends_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents of a run whose steps succeed at once have none of the new fields."""
    world = Attempts(1, monkeypatch)
    world.newer_share = 1
    run_id = world.start(definition({"c": [], "d": ["c"]}))
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    for document in world.store.query(Query(collection=steps_path(run_id))):
        assert "attempts" not in document.fields
        assert "submitted_at" not in document.fields
