"""Runs of a workflow that limits how many of them are at work."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from atom_emulator.testing.world import World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.groups import AT_WORK
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.documents import RUNS
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import Query
from atom_workflows.run_documents import run_record

PATH = "gs://b/workflows/limited.yaml"


def limited(steps: int = 1, **concurrency: Any) -> str:
    """Return a chain of steps with this limit on the runs."""
    names = [f"s{number}" for number in range(steps)]
    chain = [
        {"id": name, "dependsOn": names[number - 1 : number] if number else [], "task": {"imageUri": "image"}}
        for number, name in enumerate(names)
    ]
    return json.dumps({"name": "limited", "concurrency": concurrency, "steps": chain})


def start(world: World, definition: str, key: str, **body: Any) -> str:
    """Start a run of the file at `PATH`, or at another path, with this key."""
    path = body.get("workflow_path", PATH)
    world.files.content[path, None] = definition.encode()
    asked = {"workflow_path": path, "run_key": key, **body}
    return handle_start(world.services, read_start_event(asked, event_id=key)).run_id


def runs_of(world: World) -> dict[str, RunRecord]:
    """Return all runs by id, without counting the reads."""
    found = map(run_record, world.store.inner.query(Query(collection=RUNS)))
    return {run.id: run for run in found}


def in_state(world: World, *states: RunState) -> list[RunRecord]:
    """Return the runs in these states, in the order in which they were started."""
    found = [run for run in runs_of(world).values() if run.state in states]
    return sorted(found, key=lambda run: (run.created_at, run.id))


def at_work(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs that take up a place."""
    return [run for run in runs if run.state in AT_WORK]
