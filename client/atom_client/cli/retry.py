"""`runs retry`: run again what did not succeed, and with `--wait` follow the run to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from atom_client.cli.output import Output
from atom_client.cli.to_end import Waiting, exit_code
from atom_client.deployment import with_place
from atom_client.errors import Misuse
from atom_client.text import counted
from atom_client.views.as_json import dumped
from atom_client.views.progress import RunView, view_of
from atom_client.views.queries import full_run_id, read_steps
from atom_workflows.coordinator.commands import retry_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """What the user asked for; `run_id` may be the beginning of one."""

    run_id: str
    wait: bool = False
    timeout_s: float | None = None
    as_json: bool = False


def retry_unsuccessful(services: Services, options: RetryOptions) -> int:
    """Run again what did not succeed; the exit code."""
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout is for --wait; give both, or leave --timeout out")
    run_id = full_run_id(services.store, options.run_id)
    steps = read_steps(services.store, run_id)
    if options.wait:
        return _followed(services, run_id, steps, options)
    retry_run(services, run_id)
    if options.as_json:
        click.echo(dumped({"run": run_id, "steps": len(_to_run(steps))}))
    else:
        click.echo(f"{_said(run_id, steps)} `{with_place(f'runs show {run_id}')}`")
    return 0


def _followed(services: Services, run_id: str, steps: Sequence[StepRecord], options: RetryOptions) -> int:
    def begin() -> str:
        retry_run(services, run_id)
        return _said(run_id, steps)

    waiting = Waiting(
        services=services,
        view=_kept(run_id, steps),
        output=Output(aside=options.as_json),
        as_json=options.as_json,
        timeout_s=options.timeout_s,
    )
    run, ended = waiting.to_end(begin)
    waiting.tell(run, ended)
    waiting.tell_what_next(run)
    return exit_code(run)


def _kept(run_id: str, steps: Sequence[StepRecord]) -> RunView:
    """What is known before the run goes on: what succeeded stays so."""
    kept = {step.id: view_of(step) for step in steps if step.state is StepState.SUCCEEDED}
    return RunView(run_id=run_id, total=len(steps), order=tuple(step.id for step in steps), steps=kept)


def _to_run(steps: Sequence[StepRecord]) -> list[StepRecord]:
    return [step for step in steps if step.state is not StepState.SUCCEEDED]


def _said(run_id: str, steps: Sequence[StepRecord]) -> str:
    return f"Run {run_id} goes on: {counted(len(_to_run(steps)), 'step')} to run again."
