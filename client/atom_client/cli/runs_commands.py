"""The commands about runs: the group `runs`, and `why`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from atom_client.cli.completion import FILE
from atom_client.cli.options import json_option, reason_option, run_argument, timeout_of, wait_options
from atom_client.deployment import environment, place_options
from atom_client.errors import RUN_FAILED, Misuse

if TYPE_CHECKING:
    from atom_workflows.coordinator.services import Services

_RUN_STATES = ("QUEUED", "SEEDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED", "INVALID")

_STEP_STATES = ("PENDING", "DISPATCHING", "RUNNING", "RETRYING", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED")


@click.group()
def runs() -> None:
    """List, show, watch, cancel, retry, mark and repair runs.

    The runs are those of the local platform that is up in this folder or whose variables are exported, or those of a
    project. While no platform is up, commands that only read show the history that this folder keeps. A run that `run`
    has started on a platform of its own can be watched, cancelled, marked and repaired from the same folder.

    RUN is a run's id, its first characters if no other id begins with them, or the name or the file of a workflow,
    which stands for its newest run. --last stands for the newest run of all.
    """


@runs.command("list")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    metavar="N",
    default=20,
    show_default=True,
    help="The number of runs per page.",
)
@click.option("--page", type=click.IntRange(min=1), metavar="N", default=1, show_default=True, help="The page to show.")
@click.option("--failed", is_flag=True, help="List runs that are FAILED or INVALID.")
@click.option("--running", is_flag=True, help="List runs that have not ended: RUNNING, SEEDING or QUEUED.")
@click.option(
    "--state",
    "states",
    type=click.Choice(_RUN_STATES, case_sensitive=False),
    multiple=True,
    metavar="STATE",
    help=f"List runs in this state; may be repeated. One of {', '.join(_RUN_STATES)}.",
)
@click.option("--workflow", metavar="NAME", help="List runs of the workflow with this name, or of this file.")
@click.option(
    "--label", "labels", metavar="NAME=VALUE", multiple=True, help="List runs with this label; may be repeated."
)
@click.option(
    "--since",
    metavar="TIME",
    help="List runs created since a time such as 2026-03-01 or 2026-03-01T02:30Z (local unless it has an offset), 2h, "
    "7d, today or yesterday.",
)
@click.option(
    "--sort",
    type=click.Choice(["created", "started", "duration"]),
    default="created",
    show_default=True,
    help="What comes first: the newest run, the one started last, or the longest, counted from its last retry, if any.",
)
@json_option
@place_options
def list_(**chosen: Any) -> None:
    """List the newest runs, or those that meet all conditions.

    If several states are given, a run may be in any of them. The duration of a run that has not ended is the time that
    it has taken so far, and its steps are shown in the form 273 of 300. The duration of a run that was retried counts
    from its last retry; the column IN ALL, from its first start. If there are more runs than fit on the page, the last
    line gives the total number and the command that shows the next ones.
    """
    from atom_client.cli.run_list import ListOptions, list_runs  # noqa: PLC0415 (imported only when needed)

    list_runs(_services(), ListOptions(**chosen))


@runs.command()
@run_argument
@click.option("--outputs", "with_outputs", is_flag=True, help="Also show the outputs of the run and of its steps.")
@click.option("--step", metavar="STEP", help="Show everything about this step or item, with its attempts.")
@click.option("--items", metavar="STEP", help="Show only the items of this step with forEach, failed ones first.")
@click.option("--failed", is_flag=True, help="Show only steps that are FAILED.")
@click.option("--running", is_flag=True, help="Show only steps in progress: RUNNING, DISPATCHING or RETRYING.")
@click.option(
    "--state",
    "states",
    type=click.Choice(_STEP_STATES, case_sensitive=False),
    multiple=True,
    metavar="STATE",
    help=f"Show only steps in this state; may be repeated. One of {', '.join(_STEP_STATES)}.",
)
@click.option(
    "--sort",
    type=click.Choice(["started", "duration"]),
    default="started",
    show_default=True,
    help="What comes first: the step that was started first, or the longest.",
)
@click.option(
    "--page", metavar="N", type=click.IntRange(min=1), help="The page of steps or items to show [default: 1]."
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1, max=1000),
    help="The number of steps per page [default: 200, or all with --json], or of items with --items [default: 50].",
)
@json_option
@place_options
def show(run_id: str, step: str | None, items: str | None, *, with_outputs: bool, as_json: bool, **chosen: Any) -> None:
    """Show a run and its steps; `why` explains their states.

    A step with `forEach` is shown as one line with the counts of its items, followed by the messages of the first ones
    that failed. --items lists its items. The duration of a step that has not ended is the time it has taken so far.

    --step shows one step, or an item such as 'train[3]': how long it waited and for what, a table of its last 20
    attempts with their jobs, what was sent to the Task Runner, and its outputs.
    """
    from atom_client.cli.items import PAGE_SIZE, show_items  # noqa: PLC0415 (see above)
    from atom_client.cli.runs import ShowOptions, show_run  # noqa: PLC0415 (see above)

    options = ShowOptions(run_id=run_id, with_outputs=with_outputs, as_json=as_json, **chosen)
    if step is not None:
        from atom_client.cli.step import show_step  # noqa: PLC0415 (see above)

        if items is not None or options != ShowOptions(run_id=run_id, with_outputs=with_outputs, as_json=as_json):
            raise Misuse("--step shows one step with its outputs; leave out the options for lists of steps or items")
        show_step(_services(), run_id, step, as_json=as_json)
        return
    if items is None:
        show_run(_services(), options)
        return
    if options.states or options.failed or options.running or options.sort != "started":
        raise Misuse("--items lists failed items first, and then those in progress; leave the other options out")
    page, limit = options.page or 1, options.limit or PAGE_SIZE
    show_items(_services(), run_id, items, page=page, limit=limit, as_json=as_json, with_outputs=with_outputs)


@runs.command()
@run_argument
@click.option("--timeout", metavar="TIME", help="Stop watching after this long, such as 90s or 10m.")
@json_option
@place_options
def watch(timeout: str | None, **chosen: Any) -> None:
    """Show a run's progress until it has ended, however it was started.

    The view is the same as that of `run` and of `start --wait`. A run that has ended is shown with its result, and an
    open run in its last known state if no platform is up. Ctrl-C ends the view; the run continues.

    Exit code: the same as for `run`; also 1 if --timeout was reached first, or if no platform is up to finish the
    run.
    """
    from atom_client.cli.watch import WatchOptions, watch_run  # noqa: PLC0415 (imported only when needed)

    options = WatchOptions(timeout_s=timeout_of(timeout), **chosen)
    raise click.exceptions.Exit(watch_run(_services(), options))


@runs.command()
@run_argument
@click.option("--now", is_flag=True, help="End the steps under `finally` as well, or do not start them.")
@reason_option
@place_options
def cancel(run_id: str, *, now: bool, reason: str) -> None:
    """End a run and submit no more jobs for it.

    Jobs that are running are stopped, if their Task Runner can stop jobs. The command waits up to half a minute for
    them to stop, and names the jobs that may still be running. The run has ended when the command returns, so there is
    no --wait. However, if the workflow has steps under `finally`, they run first; --now ends the run without them. The
    run records who cancelled it.
    """
    from atom_client.cli.runs import cancel_named  # noqa: PLC0415 (imported only when needed)

    cancel_named(_services(), run_id, now=now, reason=reason)


@runs.command()
@run_argument
@click.option("--dry-run", is_flag=True, help="Report what is wrong, but change nothing.")
@json_option
@place_options
def doctor(run_id: str, *, dry_run: bool, as_json: bool) -> None:
    """Explain why a run is stuck, and fix what can be fixed.

    Recomputes every counter from the steps' states, and republishes released steps that no dispatcher has claimed.

    Exit code: 0 if nothing is wrong or everything was fixed, otherwise 1.
    """
    from atom_client.cli.repair import repair  # noqa: PLC0415 (imported only when needed)

    if not repair(_services(), run_id, dry_run=dry_run, as_json=as_json):
        raise click.exceptions.Exit(RUN_FAILED)


@runs.command()
@run_argument
@click.option(
    "--from",
    "first",
    metavar="STEP",
    multiple=True,
    help="Run this step and everything after it again, whatever their states; may be repeated.",
)
@click.option(
    "--only",
    metavar="STEP",
    multiple=True,
    help="Run this step again, and those after it only if they did not succeed; may be repeated.",
)
@click.option(
    "--failed", is_flag=True, help="With --from or --only: also rerun what `runs retry` would rerun without them."
)
@click.option(
    "--with",
    "source",
    type=FILE,
    metavar="FILE",
    help="Start a new run from this edited file, and keep the unchanged steps.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Start a new run with this value of a parameter, and keep the steps that do not read it; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Show what would run again, but change nothing.")
@click.option(
    "--yes",
    is_flag=True,
    help="With any of the options above: do not ask for confirmation. Without a terminal, retry never asks.",
)
@wait_options
@reason_option
@json_option
@place_options
def retry(timeout: str | None, *, source: str | None, params: tuple[str, ...], **chosen: Any) -> None:
    """Rerun the steps that failed, were cancelled or were skipped.

    Steps that succeeded are not run again. With --from and --only, the steps that you name run again instead, even in a
    run that SUCCEEDED; STEP may be an item of a step with `forEach`, such as 'train[3]'. What will run again is shown
    first. Steps under `finally` run again in any case. The run keeps the steps, conditions and parameters that it
    started with: the file is not read again. The run records who retried it.

    With --with or --param, the run stays as it is, and a new run is started instead, even if the run has SUCCEEDED. The
    new run keeps each step that succeeded and is unchanged, provided that this also holds for all steps before it.
    Before it starts, you are shown the steps that it keeps, and why each of the other steps is not kept. The run
    records who started the new one.

    A run is not retried while another open run is repairing it, or is repairing the same run that it repairs.

    Exit code: 0 if the run continues or a new one is requested; with --wait, the same as for `run`.
    """
    chosen["timeout_s"] = timeout_of(timeout)
    if source is not None or params:
        in_place = [name for name in ("first", "only", "failed") if chosen.pop(name)]
        if in_place:
            option = f"--{in_place[0]}".replace("--first", "--from")
            raise Misuse(
                f"{option} is for a run that is continued, but --with and --param start a new one; leave it out"
            )
        from atom_client.cli.reuse import ReuseOptions, repair_by_new_run  # noqa: PLC0415 (imported only when needed)

        reuse = ReuseOptions(source=source, params=params, **chosen)
        raise click.exceptions.Exit(repair_by_new_run(_services(), reuse))
    from atom_client.cli.retry import RetryOptions, retry_unsuccessful  # noqa: PLC0415 (imported only when needed)

    raise click.exceptions.Exit(retry_unsuccessful(_services(), RetryOptions(**chosen)))


@runs.command()
@run_argument
@click.argument("step_id", metavar="STEP", required=False)
@click.argument("state_text", metavar="[succeeded|skipped]", required=False)
@click.option(
    "--output",
    "outputs",
    metavar="NAME=VALUE",
    multiple=True,
    help="An output that the step declares; may be repeated. A value that is not text is written as JSON.",
)
@click.option(
    "--outputs",
    "outputs_file",
    type=FILE,
    metavar="FILE",
    help="A JSON object with the outputs, or - for stdin; --output overrides it.",
)
@click.option("--dry-run", is_flag=True, help="Show what the mark would do, but change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation. Without a terminal, mark never asks.")
@wait_options
@reason_option
@json_option
@place_options
def mark(step_id: str | None, state_text: str | None, timeout: str | None, **chosen: Any) -> None:
    """Mark a step as succeeded or skipped.

    A step that has not begun ends as marked, without a job, when its turn comes; the steps before it run first. A
    step that is RUNNING has its job stopped first. If the run has ended, it is continued, and unsuccessful steps
    after the marked one are decided again. STEP may be an item of a step with `forEach`, such as
    'train[3]'. What the mark would do is shown first.

    A step marked as succeeded needs all the outputs that it declares, of the declared types. A step
    marked as skipped has no outputs, and a step whose dependencies were all skipped is skipped, too, unless its
    trigger says otherwise. The run and the step record who marked the step, and why.

    Exit code: 0 if the step is marked; 1 if it cannot be, or if you answer no; with --wait, the same as for `run`.
    """
    if step_id is None or state_text is None:
        raise click.UsageError("give RUN, STEP and the state: `succeeded` or `skipped`")
    from atom_client.cli.mark import MarkOptions, mark_named  # noqa: PLC0415 (imported only when needed)

    options = MarkOptions(step_id=step_id, state_text=state_text, timeout_s=timeout_of(timeout), **chosen)
    raise click.exceptions.Exit(mark_named(_services(), options))


@click.command()
@run_argument
@click.argument("step_id", metavar="[STEP]", required=False)
@json_option
@place_options
def why(run_id: str, step_id: str | None, *, as_json: bool) -> None:
    """Explain why a run or a step is in its current state.

    For an open run, prints what it is waiting for. For a run that has ended, prints which steps failed, which were
    blocked by them, and which were skipped by choice, with the values that decided this. For a step, prints what each
    dependency counts as, the values that decided its condition, its attempts, the job that was sent, and its outputs.
    STEP may also be an item of a step with `forEach`, such as 'train[3]'. `runs why` is the same command.
    """
    from atom_client.cli.why import print_why_run, print_why_step  # noqa: PLC0415 (see above)

    if step_id is None:
        print_why_run(_services(), run_id, as_json=as_json)
    else:
        print_why_step(_services(), run_id, step_id, as_json=as_json)


runs.add_command(why)


def _services() -> Services:
    from atom_client.cli.platform import connect_services  # noqa: PLC0415 (imported only when needed)

    return connect_services(environment())
