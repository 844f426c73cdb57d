"""Runs that repair ended ones: a workflow, its edits, and what became of each step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator.preparation import new_run
from atom_workflows.coordinator.reuse import ReusePlan, plan_reuse
from atom_workflows.coordinator.start import Started, handle_start
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.reuse import Judgment
from atom_workflows.language.parser import parse_workflow
from atom_workflows.messages.start import read_start_event

BASE: Final = """
name: nightly
params:
  day: {type: text, default: mon}
  limit: {type: int, default: 3}
steps:
  - {id: extract, task: {imageUri: 'extract:1', args: {day: '${{ params.day }}'}}, outputs: {rows: int}}
  - id: clean
    dependsOn: [extract]
    task: {imageUri: 'clean:1', args: {rows: '${{ steps.extract.outputs.rows }}', mode: fast}}
  - {id: stats, dependsOn: [extract], task: {imageUri: 'stats:1', args: {limit: '${{ params.limit }}'}}}
  - id: train
    dependsOn: [clean]
    forEach: [a, b]
    task: {imageUri: 'train:1', args: {part: '${{ item }}'}}
    outputs: {score: int}
  - {id: report, dependsOn: [clean, stats, train], task: {imageUri: 'report:1'}}
  - {id: publish, dependsOn: [report], task: {imageUri: 'publish:1'}}
"""

_OUTPUTS: Final = {"outputs": {"rows": 12, "name": "n", "score": 7}}

FAILING: Final = json.dumps({"default": _OUTPUTS, "rules": [{"step": "publish", "fail_times": 9}]})
"""A Task Runner at which the last step fails."""

WORKING: Final = json.dumps({"default": _OUTPUTS})


def edited(text: str, replaced: Mapping[str, str]) -> str:
    """Return the file with each of these strings replaced once."""
    for old, new in replaced.items():
        assert old in text, old
        before, _, behind = text.rpartition(old)
        text = before + new + behind
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A world with an ended run."""

    world: World
    run_id: str


def ended_run(text: str = BASE, *, script: str = WORKING, world: World | None = None, **options: Any) -> EndedRun:
    """Run a workflow to its end, after which the Task Runner works."""
    world = world or World()
    world.task_runner.jobs.script = parse_script(script)
    run_id = world.start(text, path="nightly.yaml", run_key="first", **options)
    assert world.run_to_end(run_id).state.is_terminal
    world.task_runner.jobs.script = parse_script(WORKING)
    return EndedRun(world=world, run_id=run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """The ended run that repaired another one."""

    run: RunRecord
    steps: Mapping[str, StepRecord]
    earlier_steps: Mapping[str, StepRecord]
    judgment: Judgment
    # The steps of which the new run has submitted jobs; items count as their steps.
    jobs: set[str]


def request(earlier_id: str, text: str, *, key: str = "second", **fields: Any) -> dict[str, Any]:
    """Return the start message of a repair."""
    named = {"workflow_path": "nightly.yaml", "run_key": key, "definition": text}
    return {**named, "repairs": earlier_id, **fields}


def plan(world: World, body: Mapping[str, Any]) -> ReusePlan:
    """Return what a request would keep."""
    event: Any = read_start_event(body, event_id="e")
    workflow = parse_workflow(event.definition, filename="nightly.yaml")
    return plan_reuse(world.services, new_run(world.services, event), event, workflow, {})


def start_repair(world: World, body: Mapping[str, Any]) -> Started:
    """Start a repair, but deliver nothing yet."""
    return handle_start(world.services, read_start_event(body, event_id="e"))


def repair(earlier: EndedRun, text: str, *, params: Mapping[str, Any] | None = None, **fields: Any) -> Repaired:
    """Repair the run with an edited file and other parameters, and play the new run to its end."""
    world = earlier.world
    body = request(earlier.run_id, text, params=dict(params or {}), **fields)
    planned = plan(world, body)
    before = world.steps(earlier.run_id)
    submitted = len(world.task_runner.submitted)
    started = start_repair(world, {**body, "kept_digest": planned.judgment.digest})
    assert started.refusal is None, started.problems
    assert not list(find_flaws(world.steps(started.run_id), now=world.clock.now()))
    run = world.run_to_end(started.run_id)
    return Repaired(
        run=run,
        steps=world.steps(run.id),
        earlier_steps=before,
        judgment=planned.judgment,
        jobs={key.split("/")[1].partition("[")[0] for key, _ in world.task_runner.submitted[submitted:]},
    )
