"""Workflows with `forEach` as values, and runs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atom_emulator.testing.world import TASK_RUNNER_URL, World
from atom_workflows.coordinator import seed
from atom_workflows.coordinator.definitions import Definition
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.preparation import with_workflow
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import ForEach, Step, Task, Template, Workflow
from atom_workflows.expressions.types import ANY, Type

RUN = "loop-run"


def template(text: str, *path: str | int) -> Template:
    """Return a template for this place in a job's body."""
    return Template(path=path, text=f"${{{{ {text} }}}}")


def each(items: Sequence[Any] | str | Mapping[str, Any], *, of: Type = ANY, **options: Any) -> ForEach:
    """Return a list of items, an expression that computes it, or several of them by name."""
    lists = items if isinstance(items, Mapping) else {"": items}
    return ForEach(
        lists={name: template(one) if isinstance(one, str) else one for name, one in lists.items()},
        item_type=of,
        **options,
    )


def step(step_id: str, *depends_on: str, args: Mapping[str, str] | None = None, **fields: Any) -> Step:
    """Return a step whose job has these expressions as its arguments."""
    templates = tuple(template(text, "args", name) for name, text in (args or {}).items())
    task = Task(image_uri="image", args=dict.fromkeys(args) if args else None, templates=templates)
    return Step(id=step_id, depends_on=depends_on, **{"task": task, **fields})


def workflow(*steps: Step, **fields: Any) -> Workflow:
    """Return a workflow of these steps."""
    return Workflow(name="flow", steps=steps, **fields)


def start(world: World, flow: Workflow, *, params: Mapping[str, Any] | None = None, run_id: str = RUN) -> str:
    """Start a run of a workflow, but deliver nothing yet."""
    now = world.clock.now()
    run = RunRecord(
        id=run_id,
        workflow="flow",
        state=RunState.SEEDING,
        created_at=now,
        task_runner_url=TASK_RUNNER_URL,
        params=params or {},
        expire_at=now + world.services.settings.keep_runs,
    )
    outbox = Outbox(world.services, wakes_checker=True)
    seed.seed_run(
        outbox,
        with_workflow(run, flow, digest="", env={}),
        Definition(workflow=flow, text=b"", path="flow.yaml"),
    )
    outbox.flush()
    return run_id


def run(world: World, flow: Workflow, **options: Any) -> RunRecord:
    """Run a workflow to its end."""
    return world.run_to_end(start(world, flow, **options))


def args(world: World) -> list[Any]:
    """Return the arguments of the submitted jobs, in order."""
    return [body.get("args") for _, body in world.task_runner.submitted]
