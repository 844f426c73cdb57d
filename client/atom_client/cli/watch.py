"""`runs watch`: show the progress of a run that someone else may have started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from atom_client.cli.follow import Waiting, exit_code
from atom_client.cli.live import counts_line
from atom_client.cli.output import Output
from atom_client.cli.platform import find_services_for_run
from atom_client.text import local_time, one_line
from atom_client.views.progress import RunView, progress_of
from atom_client.views.queries import in_order, read_outlines
from atom_client.views.run_references import require_run
from atom_workflows.coordinator.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The options that the user gave; `run_id` may be anything that refers to a run."""

    run_id: str
    timeout_s: float | None = None
    as_json: bool = False


_NOTHING_MOVES: Final = (
    "This is the last known state: no platform is up in this folder, so nothing moves. `atom-workflows local up` in "
    "another terminal resumes the run; then repeat the command to follow it."
)


def watch_run(services: Services, options: WatchOptions) -> int:
    """Show a run until it ends, and return the exit code.

    A run that has ended is shown as it was left, and so is an open one while no platform is up.
    """
    run = require_run(services.store, options.run_id)
    output = Output(aside=options.as_json)
    # The history is there when the platform of a single run has ended with it, so that is what is read.
    found = services if run.state.is_terminal else find_services_for_run(services, run.id)
    waiting = Waiting(
        services=services if found is None else replace(found, store=services.store),
        reads_history=found is not services,
        view=RunView(run_id=run.id),
        output=output,
        as_json=options.as_json,
        timeout_s=options.timeout_s,
    )

    def begin() -> str:
        started = f"started {local_time(run.started_at)}" if run.started_at else f"created {local_time(run.created_at)}"
        return f"Run {run.id} of {one_line(run.workflow)}, {started}. Ctrl-C ends this view; the run continues."

    def catch_up() -> RunView:
        # The run is read again, since it may have gone on before its changes were received.
        now_run = require_run(services.store, run.id)
        nodes = read_outlines(services.store, run.id)
        view = progress_of(now_run, nodes, in_order(nodes.values()), now=services.clock.now())
        if not output.is_terminal and view.total:
            output.say(counts_line(view))
        return view

    is_moving = found is not None and not run.state.is_terminal
    ended = waiting.to_end(begin, catch_up=catch_up) if is_moving else waiting.read_result(run)
    waiting.print_result(ended)
    if found is None:
        output.say(_NOTHING_MOVES)
        return exit_code(ended.run)
    waiting.print_next_steps(ended.run)
    return exit_code(ended.run)
