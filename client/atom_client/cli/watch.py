"""`runs watch`: show the progress of any run, whoever started it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from atom_client.cli.follow import Waiting, exit_code
from atom_client.cli.live import counts_line
from atom_client.cli.output import Output
from atom_client.cli.platform import find_services_for_run
from atom_client.text import local_time, one_line
from atom_client.views.items import read_loops
from atom_client.views.progress import RunView, progress_of
from atom_client.views.queries import in_order, read_outlines, read_outlines_without_items
from atom_client.views.run_references import require_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.expansion import current_nodes

MOST_ITEMS_READ: Final = 2_000
"""The most items read when a run is first seen: one page. If the run has more, they are only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The options that the user gave.

    `run_id` may be anything that refers to a run.
    """

    run_id: str
    timeout_s: float | None = None
    as_json: bool = False


_NOTHING_MOVES: Final = (
    "This is the last known state: no platform is up in this folder, so nothing moves. `atom-workflows local up` in "
    "another terminal resumes the run; then repeat the command to follow it."
)


def watch_run(services: Services, options: WatchOptions) -> int:
    """Show a run until it ends, and return the exit code.

    A run that has ended is shown in its last state, and so is an open run while no platform is up.
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
        view = view_from_documents(services, run.id)
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


def view_from_documents(services: Services, run_id: str) -> RunView:
    """Return the view of a run that has begun.

    The run is read again, since it may have moved on before its changes were received.
    """
    store, run = services.store, require_run(services.store, run_id)
    if run.item_count <= MOST_ITEMS_READ:
        nodes = read_outlines(store, run_id)
        return progress_of(run, nodes, in_order(nodes.values()), now=services.clock.now())
    nodes = current_nodes(read_outlines_without_items(store, run))
    view = progress_of(run, nodes, in_order(nodes.values()), now=services.clock.now())
    loops = read_loops(store, run, nodes)
    # Of a list that has not been computed yet, all items are heard of.
    return replace(view, counted={name: loops[name].counts for name in view.sizes if name in loops})
