"""Cancel a run, retry its unsuccessful steps, or mark a step, at a user's request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from atom_workflows.coordinator import seed
from atom_workflows.coordinator.close import Closing, close_run, request_stop
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.reopening import reopen_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.core.selection import select
from atom_workflows.core.user_changes import UserChange
from atom_workflows.errors import BusUnavailable
from atom_workflows.messages.internal import TickOrigin, tick_message

if TYPE_CHECKING:
    from atom_workflows.coordinator.marks import Accepted, Wish
    from atom_workflows.core.marks import Effect

LOOK_AGAIN_S: Final = 2.0
"""The pause between two checks of a run whose jobs are being stopped."""

MOST_LOOKS: Final = 60
"""The number of checks after which the run, which should have ended much earlier, is left to the checker."""


CANCELLED_BY_USER: Final = "cancelled by the user"
"""The reason recorded for a run and its steps if the person who cancelled the run gave none."""


def cancel_run(  # noqa: PLR0913 (each may be left out)
    services: Services,
    run_id: str,
    *,
    actor: str,
    reason: str = "",
    now: bool = False,
    retries: int | None = None,
    has_ended: Callable[[], bool] = lambda: False,
) -> None:
    """End the run as CANCELLED.

    After this, no more steps of the run are claimed. The checker requests that the running jobs be stopped, and this
    function waits until they have ended; after half a minute, the run ends even if some are still running. The results
    of these jobs are discarded. The run records who cancelled it, and why. If `retries` is given, only a run that has
    been retried exactly that many times is cancelled. `has_ended` says if the run need not be read again because the
    checker has ended it, as the platform of a single run ends with it.

    Raises `RunNotFound`, or `RunStateError` if the run has ended.
    """
    outbox = Outbox(services)
    at, what = services.clock.now(), "cancel --now" if now else "cancel"
    stop = Stop(kind=StopKind.CANCEL, reason=reason or CANCELLED_BY_USER, requested_at=at, now=now)
    change = UserChange(at=at, actor=actor, what=what, why=reason)
    closing = request_stop(outbox, run_id, stop, change=change, retries=retries)
    if closing is Closing.WAITS:
        # Users may lack the permission for this topic; the scheduler's next tick comes within a minute.
        with suppress(BusUnavailable):
            services.bus.publish([tick_message(TickOrigin.DISPATCHER)])
    for _ in range(MOST_LOOKS):
        if closing is not Closing.WAITS:
            break
        outbox.flush()
        services.clock.sleep(LOOK_AGAIN_S)
        if has_ended():
            return
        closing = close_run(outbox, run_id)
    outbox.flush()


def describe_retry(first: Sequence[str], only: Sequence[str], *, failed: bool) -> str:
    """Return the retry command as typed, without the run's id."""
    options = [*(f"--from {name}" for name in first), *(f"--only {name}" for name in only), *["--failed"] * failed]
    return " ".join(["retry", *options]) if first or only else "retry"


def retry_run(  # noqa: PLR0913 (each may be left out)
    services: Services,
    run_id: str,
    *,
    actor: str,
    reason: str = "",
    first: Sequence[str] = (),
    only: Sequence[str] = (),
    failed: bool = False,
    retries: int | None = None,
) -> None:
    """Rerun the steps that did not succeed, and all steps after them.

    Other steps keep their results (see rerun.py). If steps or items are named in `first` and `only`, those run again
    instead, as selection.py says, or in addition if `failed` is True. The run records who retried it, and why. If
    `retries` is given, only a run that has been retried exactly that many times is retried.

    Raises `RunNotFound`, `SelectionError`, or `RunStateError` if the run has not ended, has never begun, has SUCCEEDED
    and no step is named, or will soon be deleted.
    """
    outbox = Outbox(services)
    what = describe_retry(first, only, failed=failed)
    chooses = partial(select, first=first, only=only, failed=failed) if first or only else None
    change = UserChange(at=services.clock.now(), actor=actor, what=what, why=reason)
    reopen_run(outbox, run_id, change, chooses, retries=retries)
    seed.resume(outbox, run_id)
    outbox.flush()


def mark_step(  # noqa: PLR0913 (some may be left out)
    services: Services, run_id: str, wish: Wish, *, actor: str, reason: str = "", accepted: Accepted | None = None
) -> Effect:
    """Mark a step, and return what that did first.

    A job of the step is stopped by the checker, for which this function does not wait. The run records who marked the
    step, and why. If a person was shown what the mark does, and `accepted` that, nothing is done once the run has
    ended, or someone else has retried it or marked the step.

    Raises `RunNotFound`, `MarkError`, or `RunStateError` if the run's state does not allow the mark.
    """
    # Imported here because the other commands need none of this.
    from atom_workflows.coordinator import marks  # noqa: PLC0415 - see above
    from atom_workflows.core.marks import Effect  # noqa: PLC0415 - see above

    outbox = Outbox(services)
    at = services.clock.now() if accepted is None else accepted.at
    change = UserChange(at=at, actor=actor, what=wish.command, why=reason)
    effect = marks.mark_step(outbox, run_id, wish, change, accepted=accepted)
    if effect is Effect.REOPENS:
        seed.resume(outbox, run_id)
    outbox.flush()
    if effect is Effect.STOPS_JOB:
        # Users may lack the permission for this topic; the scheduler's next tick comes within a minute.
        with suppress(BusUnavailable):
            services.bus.publish([tick_message(TickOrigin.DISPATCHER)])
    return effect
