"""The run that an earlier request with the same key has started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from atom_client.errors import Misuse
from atom_client.planning.requests import RunRequest
from atom_client.text import name_of
from atom_client.views.queries import read_run
from atom_workflows.coordinator.start import difference
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.errors import StoreError
from atom_workflows.messages.start import StartRequested
from atom_workflows.ports import Store

_DIFFERENCES: Final = {
    "params": ("with different params", "--param"),
    "labels": ("with different labels", "--label"),
    "tr_url": ("with a different Task Runner", "--tr-url"),
    "scheduled_at": ("as of a different time", "--at"),
    "no_queue": ("with a different choice about waiting in its group", "--no-queue"),
}
"""The ways an earlier run may differ, with the option for each.

Any difference from the new request that is not listed here is in the workflow file.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierStart:
    """The result of earlier starts with the same key.

    `is_started` is None if the run cannot be read. An INVALID run does not count as started: the next start replaces
    it.
    """

    is_started: bool | None = False
    invalid: RunRecord | None = None


def find_earlier_start(
    store: Store, request: RunRequest, event: StartRequested, *, names_options: bool = True
) -> EarlierStart:
    """Look up the run that was already started with the request's key.

    Rejects a key that belongs to a different run, in a message that may name the command line's options.
    """
    try:
        run = read_run(store, request.run_id)
    except StoreError:
        return EarlierStart(is_started=None)  # A user who may start runs may lack permission to read them.
    if run is None:
        return EarlierStart()
    if run.state is RunState.INVALID:
        return EarlierStart(invalid=run)
    if what := difference(run, event):
        file = f"of a different {name_of(request.workflow_path)}, or of this file before it was changed"
        difference_text, option = _DIFFERENCES.get(what, (file, ""))
        named = f" ({option})" if option and names_options else ""
        key = f"{'--key' if names_options else 'the key'} {name_of(request.run_key)}"
        raise Misuse(f"{key} was already used for run {run.id} {difference_text}{named}; give each run its own key")
    return EarlierStart(is_started=True)


def started_before_line(run_id: str) -> str:
    """Describe the run that the same request has already started."""
    return f"Run {run_id} was already started with this key, so no new run is started."
