"""What a user asks of an existing run: cancel it, or retry it from what failed."""

from __future__ import annotations

from atom_workflows.coordinator import seed
from atom_workflows.coordinator.close import request_stop
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.retry import open_again
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import Stop, StopKind


def cancel_run(services: Services, run_id: str, *, reason: str = "cancelled by the user") -> None:
    """End the run CANCELLED; when this returns, no further step is claimed for it.

    Jobs that run already go on at the Task Runner, which has no call to stop them, and so does a submission that was
    under way; what becomes of them is dropped.
    Raises `RunNotFound`, or `RunStateError` if the run has ended.
    """
    outbox = Outbox(services)
    stop = Stop(kind=StopKind.CANCEL, reason=reason, requested_at=services.clock.now())
    request_stop(outbox, run_id, stop)
    outbox.flush()


def retry_run(services: Services, run_id: str) -> None:
    """Run again what failed, was cancelled or was skipped; what succeeded is kept.

    Raises `RunNotFound`, or `RunStateError` if the run has not ended badly.
    """
    outbox = Outbox(services)
    open_again(outbox, run_id)
    seed.resume(outbox, run_id)
    outbox.flush()
