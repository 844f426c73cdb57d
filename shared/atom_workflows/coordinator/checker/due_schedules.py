"""Start the runs of due schedules, without one file delaying the others."""

from __future__ import annotations

from atom_workflows import log
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, StoreUnavailable


def fire_due_schedules(services: Services, tick: StoredStep) -> int:
    """Start the due runs of a file's schedules.

    Returns the number of runs that were requested.

    Raises `StoreUnavailable` or `BusUnavailable`; any other failure concerns only this file, and is logged.
    """
    # Imported here, as most ticks find no schedule that is due.
    from atom_workflows.coordinator.schedules import fire_due  # noqa: PLC0415 - see above

    file_id = tick.step.run_id
    try:
        return fire_due(services, file_id)
    except (StoreUnavailable, BusUnavailable):
        raise
    except (AtomWorkflowsError, LookupError, OverflowError, TypeError, ValueError) as error:
        # Except for `AtomWorkflowsError`, these are all caused by documents that another program has modified.
        reason = f"{type(error).__name__}: {error}"
        log.error("schedules.failed", f"due runs of {file_id} could not be started: {reason}", schedules=file_id)
        return 0
