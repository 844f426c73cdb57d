"""Cancel a run, or retry its unsuccessful steps, at a user's request."""

from __future__ import annotations

from atom_workflows.coordinator import seed
from atom_workflows.coordinator.close import request_stop
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.retry import reopen_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import Stop, StopKind


def cancel_run(services: Services, run_id: str, *, reason: str = "cancelled by the user", now: bool = False) -> None:
    """End the run as CANCELLED.

    After this, no more steps of the run are claimed. Running jobs continue in the Task Runner, which offers no way to
    stop them, and so does a submission that is in progress; their results are discarded.

    Raises `RunNotFound`, or `RunStateError` if the run has ended.
    """
    outbox = Outbox(services)
    stop = Stop(kind=StopKind.CANCEL, reason=reason, requested_at=services.clock.now(), now=now)
    request_stop(outbox, run_id, stop)
    outbox.flush()


def retry_run(services: Services, run_id: str) -> None:
    """Rerun the steps that did not succeed, and all steps after them.

    Other steps keep their results (see rerun.py). Raises `RunNotFound`, or `RunStateError` if the run is neither FAILED
    nor CANCELLED or will soon be deleted.
    """
    outbox = Outbox(services)
    reopen_run(outbox, run_id)
    seed.resume(outbox, run_id)
    outbox.flush()
