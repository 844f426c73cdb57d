"""Cancel or retry a run, or mark a step of it, for a caller of the start function.

The start function only checks the command and publishes it, and changes no document; a dispatcher carries it out. The
command may be delivered twice, late, or after other commands. It names the number of retries that the run had when it
was accepted, and each retry increments that number in the commit that reopens the run. So a command takes effect at
most once, and not at all on a run that has been retried in the meantime.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from atom_workflows import log
from atom_workflows.coordinator.close import Closing, request_stop
from atom_workflows.coordinator.commands import CANCELLED_BY_USER, describe_retry
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import iter_steps, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.reopening import Select, reopen_run, require_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.endings import require_retries, require_stoppable
from atom_workflows.core.expansion import current_nodes
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.rerun import require_retriable
from atom_workflows.core.selection import select
from atom_workflows.core.states import RunState
from atom_workflows.core.user_changes import UserChange
from atom_workflows.errors import MalformedEvent, MarkError, RunContended, RunNotFound, RunStateError, SelectionError
from atom_workflows.messages.fields import read_json_body, require_object
from atom_workflows.messages.internal import (
    CANCEL,
    MARK,
    RunCommand,
    TickOrigin,
    command_message,
    seed_message,
    tick_message,
)

if TYPE_CHECKING:
    from atom_workflows.coordinator.marks import Wish

_REOPENED: Final = frozenset({RunState.SEEDING, RunState.QUEUED})


def read_run(services: Services, run_id: str) -> RunRecord:
    """Return a run.

    Raises `RunNotFound`.
    """
    stored = load_run(services, run_id)
    if stored is None:
        raise RunNotFound(run_id)
    return stored.run


def accept_command(services: Services, command: RunCommand, *, retries: int | None = None) -> None:
    """Publish a command unless it would clearly do nothing.

    The command gets the run's current number of retries. If `retries` is given, it must be equal to that number.

    Raises `RunNotFound`, `SelectionError`, `MarkError`, or `RunStateError` if the run's state does not allow the
    command.
    """
    run = read_run(services, command.run_id)
    require_retries(run, retries)
    if command.command == CANCEL:
        require_stoppable(run, kind=StopKind.CANCEL, now=command.now)
    elif command.command == MARK:
        command = _check_mark(services, run, command)
    else:
        chooses = _selection(command)
        require_retriable(run, now=services.clock.now(), is_selective=chooses is not None)
        require_alone(services, run)
        if chooses is not None and run.started_at is not None:
            chooses(current_nodes({one.step.id: one.step for one in iter_steps(services, run.id)}))
    services.bus.publish([command_message(command._replace(retries=run.retries))])
    message = f"run {run.id}: the {command.command} request was accepted"
    log.info("run.command", message, run_id=run.id, actor=command.actor)


def _check_mark(services: Services, run: RunRecord, command: RunCommand) -> RunCommand:
    """Return the command with the time at which it is accepted, and with True if it reopens the run.

    Raises `SelectionError`, `MarkError` or `RunStateError` if the mark is not possible.
    """
    # Imported here because people mark few steps.
    from atom_workflows.coordinator.marks import Accepted, judge_wish, require_reopenable  # noqa: PLC0415 - see above
    from atom_workflows.core.marks import Effect  # noqa: PLC0415 - see above

    named, effect, _ = judge_wish(services, run, _wish(command))
    if effect is Effect.REOPENS:
        require_reopenable(services, run, named)
    accepted = Accepted.of(run, named, effect, now=services.clock.now())
    return command._replace(at=accepted.at, reopens=accepted.reopens)


def handle_command(services: Services, command: RunCommand) -> None:
    """Carry out a command that the start function has accepted.

    Raises `RunNotFound`, or `RunContended` if the run keeps changing, so that the event is redelivered. A command that
    comes too late is logged.
    """
    outbox = Outbox(services)
    try:
        if command.command == CANCEL:
            _cancel(outbox, command)
        elif command.command == MARK:
            _mark(outbox, command)
        else:
            _retry(outbox, command)
    except RunContended:
        raise
    except (RunStateError, SelectionError, MarkError) as error:
        # The caller was told that the command was accepted, and finds out from the run that something else happened.
        log.warning("run.command.refused", str(error), run_id=command.run_id, actor=command.actor)
    outbox.flush()


def _cancel(outbox: Outbox, command: RunCommand) -> None:
    what = "cancel --now" if command.now else "cancel"
    change = UserChange(at=outbox.services.clock.now(), actor=command.actor, what=what, why=command.reason)
    reason = command.reason or CANCELLED_BY_USER
    stop = Stop(kind=StopKind.CANCEL, reason=reason, requested_at=change.at, now=command.now)
    budget = Budget.of_invocation(outbox.services.clock, outbox.services.settings.inline_budget)
    try:
        closing = request_stop(outbox, command.run_id, stop, budget, change, retries=command.retries)
    except RunStateError:
        # An earlier delivery may have died after it ended the main part, so publish what it released once more.
        run = read_run(outbox.services, command.run_id)
        if run.retries == command.retries and run.main_state is not None and not run.state.is_terminal:
            outbox.add([seed_message(command.run_id)])
        raise
    if closing is Closing.WAITS:
        # The checker has the jobs stopped.
        outbox.add([tick_message(TickOrigin.DISPATCHER)])
    elif closing is Closing.UNFINISHED:
        outbox.add([seed_message(command.run_id)])


def _retry(outbox: Outbox, command: RunCommand) -> None:
    what = describe_retry(command.first, command.only, failed=command.failed)
    change = UserChange(at=outbox.services.clock.now(), actor=command.actor, what=what, why=command.reason)
    try:
        reopen_run(outbox, command.run_id, change, _selection(command), retries=command.retries)
    except RunStateError:
        if not _was_reopened(outbox.services, command):
            raise
    # The start function resets and publishes the steps: a dispatcher's memory is not meant for whole graphs.
    outbox.add([seed_message(command.run_id)])


def _was_reopened(services: Services, command: RunCommand) -> bool:
    """Return True if an earlier delivery of the command may have reopened the run."""
    run = read_run(services, command.run_id)
    return run.retries == command.retries + 1 and run.state in _REOPENED


def _mark(outbox: Outbox, command: RunCommand) -> None:
    # Imported here because people mark few steps.
    from atom_workflows.coordinator.marks import Accepted, mark_step  # noqa: PLC0415 - see above
    from atom_workflows.core.marks import Effect  # noqa: PLC0415 - see above

    wish = _wish(command)
    change = UserChange(
        at=command.at or outbox.services.clock.now(), actor=command.actor, what=wish.command, why=command.reason
    )
    try:
        accepted = Accepted(retries=command.retries, reopens=command.reopens, at=change.at)
        effect = mark_step(outbox, command.run_id, wish, change, accepted=accepted)
    except RunStateError:
        if not _was_reopened(outbox.services, command):
            raise
        effect = Effect.REOPENS
    if effect is Effect.REOPENS:
        outbox.add([seed_message(command.run_id)])
    elif effect is Effect.STOPS_JOB:
        # The checker has the job stopped.
        outbox.add([tick_message(TickOrigin.DISPATCHER)])


def _wish(command: RunCommand) -> Wish:
    """Return what a command marks.

    Raises `MalformedEvent`.
    """
    # Imported here because people mark few steps.
    from atom_workflows.coordinator.marks import Wish  # noqa: PLC0415 - see above
    from atom_workflows.core.marks import STATES  # noqa: PLC0415 - see above

    if command.state not in STATES:
        raise MalformedEvent(f"a step can be marked as {' or '.join(STATES)}, not {command.state!r:.40}")
    outputs = require_object(read_json_body(command.outputs)) if command.outputs else {}
    return Wish(step=command.step, state=STATES[command.state], outputs=outputs)


def _selection(command: RunCommand) -> Select | None:
    """Return the function that chooses what a retry runs again.

    Returns None if the command names no steps.
    """
    if not command.first and not command.only:
        return None
    return partial(select, first=command.first, only=command.only, failed=command.failed)
