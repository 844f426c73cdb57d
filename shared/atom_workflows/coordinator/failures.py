"""Read the failures of a run's steps.

They are needed for the run's errors, and for the expressions of steps under `finally`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from heapq import nsmallest
from itertools import islice
from typing import Any, Final, NamedTuple

from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import expander_id, parse_item_id, shown_id
from atom_workflows.core.kinds import Phase
from atom_workflows.core.outcomes import OWN_FAILURES, clip
from atom_workflows.core.records import RunRecord, StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import step_path, steps_path
from atom_workflows.ports import Document, Fields, Query

MAX_ERRORS: Final = 100
"""The maximum number of failed steps whose messages are copied to the run's document."""

MAX_ERROR_TEXT: Final = 500

MAX_FAILURES: Final = 100
MAX_FAILURE_BYTES: Final = 20 * 1024
MAX_FAILURE_TEXT: Final = 500
"""Limits on the failures that the run's document holds for expressions to read."""

_PAGE_OF_FAILED: Final = 100
_PAGE_OF_ITEMS: Final = 500
_PAGE_OF_FAILURES: Final = 500
"""The number of failed steps read at a time; each message can be up to 2,000 characters long."""

FAILED_ITEMS: Final = [StepState.FAILED.value, StepState.CANCELLED.value, StepState.SKIPPED.value]
"""The states of items that did not succeed; those that were skipped by choice are not failures."""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _FailedLoop(NamedTuple):
    """A step with `forEach`. `expansion` is its items' expansion number, or 0 if their failures do not matter."""

    expansion: int
    step: Fields


def _load_loop(services: Services, run_id: str, step_id: str) -> _FailedLoop:
    paths = [step_path(run_id, expander_id(step_id)), step_path(run_id, step_id)]
    expander, step = services.store.get(paths, fields=("state", "last_kind", "expansion", "problem", "tolerated"))
    fields = {} if step is None else step.fields
    matters = fields.get("state") != StepState.SUCCEEDED.value and not fields.get("tolerated")
    ended = {} if expander is None else expander.fields
    is_expanded = ended.get("state") == StepState.SUCCEEDED.value and not ended.get("problem")
    return _FailedLoop(expansion=ended["expansion"] if matters and is_expanded else 0, step=fields)


def _iter_failed(  # noqa: PLR0913 (all but the first three by name)
    services: Services,
    run_id: str,
    states: Sequence[str],
    *,
    fields: Sequence[str],
    page: int = _PAGE_OF_FAILED,
    items_of: Callable[[Fields], bool] = lambda _: True,
) -> Iterator[Document]:
    """Yield the user's steps in the given states, except tolerated failures.

    The steps are read a page at a time, since a thousand tolerated failures may come before one that matters. Items are
    yielded if their step did not succeed, its failure is not tolerated, and `items_of` returns True for its fields.
    """
    after: tuple[str] | None = None
    loops: dict[str, _FailedLoop] = {}
    while True:
        query = Query(
            collection=steps_path(run_id),
            where=[("state", "in", states)],
            after=after,
            limit=page,
            fields=("state", "tolerated", "each", "expansion", "index", *fields),
        )
        found = services.store.query(query)
        for one in found:
            if is_internal(one.id) or one.fields.get("tolerated"):
                continue
            if "index" in one.fields:
                each = one.fields["each"]
                loops[each] = loops[each] if each in loops else _load_loop(services, run_id, each)
                if loops[each].expansion != one.fields["expansion"] or not items_of(loops[each].step):
                    continue
            yield one
        if len(found) < page:
            return
        after = (found[-1].path,)


def load_errors(services: Services, run: RunRecord) -> tuple[dict[str, Any], ...]:
    """Return an unsuccessful run's errors.

    The reason for a stop comes first, then the messages of failed steps.
    """
    # A cancellation is not an error, though its reason is among the main part's errors.
    was_cancelled = run.main_state is RunState.CANCELLED
    errors: list[dict[str, Any]] = [] if was_cancelled else [dict(error) for error in run.main_errors]
    if run.stop is not None and run.stop.kind is not StopKind.CANCEL:
        errors.append({"step": None, "message": run.stop.reason})
    # A stop itself cancels steps, so CANCELLED is an error only in a part of the run that was not stopped.
    states = [StepState.FAILED.value]
    if not was_cancelled and (run.stop is None or run.main_state is not None):
        states.append(StepState.CANCELLED.value)
    # A step that failed names the first of its items that did; the items of a step that was stopped name themselves.
    ended = _iter_failed(
        services,
        run.id,
        states,
        fields=("message", "phase"),
        items_of=lambda step: step.get("state") != StepState.FAILED.value or not step.get("last_kind"),
    )
    if run.stop is not None:
        # Steps under `finally` may have been cancelled by this stop.
        stopped = (StepState.CANCELLED.value, Phase.FINALLY.value)
        ended = (one for one in ended if (one.fields["state"], one.fields.get("phase")) != stopped)
    errors += [
        {"step": shown_id(document.id), "message": clip(document.fields.get("message", ""), MAX_ERROR_TEXT)}
        for document in islice(ended, MAX_ERRORS)
    ]
    return tuple(errors)


def load_failures(services: Services, run: RunRecord) -> tuple[list[dict[str, Any]], int]:
    """Return the oldest failures of the main steps, and the total number.

    Every failed step is read, since an index on the time when steps end would add a cost to every write of a step.
    """
    states = [StepState.FAILED.value, StepState.CANCELLED.value]
    fields = ("message", "last_kind", "last_reason", "finished_at")
    failed = _iter_failed(services, run.id, states, fields=fields, page=_PAGE_OF_FAILURES)
    found: list[tuple[datetime, str, dict[str, Any]]] = []
    for one in failed:
        item, step = parse_item_id(one.id), one.fields
        failure = {
            "step": one.id if item is None else item.each,
            **({} if item is None else {"index": item.index}),
            # A step that was ended by the stop has no failure of its own.
            "kind": step.get("last_kind") or "stopped",
            "reason": step.get("last_reason", ""),
            "message": str(step.get("message", ""))[:MAX_FAILURE_TEXT],
        }
        found.append((step.get("finished_at") or _LONG_AGO, one.id, failure))
    failures: list[dict[str, Any]] = []
    size = 0
    for _, _, failure in nsmallest(MAX_FAILURES, found):
        size += len(json.dumps(failure, ensure_ascii=False).encode())
        if size > MAX_FAILURE_BYTES:
            break
        failures.append(failure)
    return failures, len(found)


def find_failed_items(services: Services, step: StepRecord, expansion: int) -> tuple[str, int, int]:
    """Return the first failed item's message, and unstarted and stopped item counts."""
    first: Document | None = None
    unstarted = stopped = 0
    after: tuple[str] | None = None
    while True:
        query = Query(
            collection=steps_path(step.run_id),
            where=[("each", "==", step.id), ("expansion", "==", expansion), ("state", "in", FAILED_ITEMS)],
            after=after,
            limit=_PAGE_OF_ITEMS,
            fields=("state", "index", "message", "by_choice", "last_kind"),
        )
        found = services.store.query(query)
        items = [one for one in found if "index" in one.fields and not one.fields.get("by_choice")]
        ended = [one for one in items if one.fields["state"] != StepState.SKIPPED.value]
        unstarted += len(items) - len(ended)
        stopped += sum(one.fields.get("last_kind") not in OWN_FAILURES for one in ended)
        first = min(
            (one for one in (first, *ended) if one is not None), key=lambda one: one.fields["index"], default=None
        )
        if len(found) < _PAGE_OF_ITEMS:
            message = "" if first is None else f"{shown_id(first.id)}: {first.fields.get('message', '')}"
            return message, unstarted, stopped
        after = (found[-1].path,)
