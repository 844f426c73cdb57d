"""Deletes documents whose `expire_at` has passed as Firestore does: one by one, some time after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.core.records import RunRecord
from atom_workflows.documents import definition_path, outputs_collection, run_path, steps_path
from atom_workflows.ports import Document, Query
from simulation.calls import Calls
from simulation.findings import Rule
from simulation.flow import Flow

_DELETED: Final = 0.6
"""How likely a document that has expired is deleted between two ticks."""


class Expiry:
    """Deletes what has expired, and finds what must not have."""

    def __init__(self, *, flows: Sequence[Flow], memory: MemoryStore, calls: Calls, keep_s: float) -> None:
        self._flows = flows
        self._kept = timedelta(seconds=keep_s)
        self._memory = memory
        self._calls = calls

    def act(self) -> None:
        """Delete what has expired, now or the next time."""
        for flow in self._flows:
            now, run = flow.watch.now, flow.watch.run
            if run is None or now < run.created_at + self._kept:
                continue
            for document in self._documents(flow):
                expire_at = document.fields.get("expire_at")
                if _is_void(document):
                    # Nothing is lost with outputs that a retry has voided.
                    continue
                if expire_at is not None and expire_at <= now and self._calls.faults.chance.random() < _DELETED:
                    self._delete(flow, run, document)

    def check_end(self, flow: Flow) -> None:
        """Report documents of a finished run that would stay for ever."""
        left = [document.path for document in self._documents(flow) if document.fields.get("expire_at") is None]
        if left:
            flow.watch.report(Rule.RETAINED, f"the run is over, and these never expire: {left}")

    def _delete(self, flow: Flow, run: RunRecord, document: Document) -> None:
        self._memory.delete(document.path)
        self._calls.trace.note("expires", document.path)
        now = flow.watch.now
        if not run.state.is_terminal or run.expire_at is None or run.expire_at > now:
            state = f"the run is {run.state}, was retried {run.retries} times, and expires at {run.expire_at}"
            flow.watch.report(Rule.RETAINED, f"{document.path} was deleted at {now}, though {state}")

    def _documents(self, flow: Flow) -> Iterator[Document]:
        paths = [run_path(flow.run_id), definition_path(flow.run_id)]
        yield from (document for document in self._memory.get(paths) if document is not None)
        yield from self._memory.query(Query(collection=steps_path(flow.run_id)))
        yield from self._memory.query(Query(collection=outputs_collection(flow.run_id)))


def _is_void(document: Document) -> bool:
    return document.fields.get("values") == ""
