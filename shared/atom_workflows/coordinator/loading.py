"""Read runs and steps, with the versions that guard decisions about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.documents import run_path, step_path, steps_path
from atom_workflows.ports import Condition, Document, Query, Version
from atom_workflows.run_documents import run_record
from atom_workflows.step_documents import step_record

PAGE: Final = 500

AT_ONCE: Final = 200
"""The maximum number of documents that one call reads by path, because a read has to end within ten seconds."""


_TASK: Final = frozenset({"task", "templates", "constants", "sent", "loop", "item"})
"""The fields that only a dispatcher needs. Each may be as large as 100 KB, and a run has up to 10,000 steps."""


class StoredStep(NamedTuple):
    """A step as it was read, and the version that guards decisions about it."""

    step: StepRecord
    version: Version

    @classmethod
    def of(cls, document: Document) -> StoredStep:
        """Read the step from its document."""
        return cls(step=step_record(document), version=document.version)

    @classmethod
    def without_task(cls, document: Document) -> StoredStep:
        """Read the step without its task and its expressions' values.

        These are the largest parts of its document.
        """
        fields = {name: value for name, value in document.fields.items() if name not in _TASK}
        return cls.of(document._replace(fields=fields))


class StoredRun(NamedTuple):
    """A run as it was read, and the version that guards decisions about it."""

    run: RunRecord
    version: Version


def load_run(services: Services, run_id: str) -> StoredRun | None:
    """Return the run, or None if it does not exist."""
    document = services.store.get([run_path(run_id)])[0]
    return None if document is None else StoredRun(run=run_record(document), version=document.version)


def load_steps(services: Services, run_id: str, step_ids: Iterable[str]) -> list[StoredStep]:
    """Return the steps that exist, in the order of `step_ids`."""
    paths = [step_path(run_id, step_id) for step_id in step_ids]
    pages = [services.store.get(paths[start : start + AT_ONCE]) for start in range(0, len(paths), AT_ONCE)]
    return [StoredStep.of(document) for page in pages for document in page if document is not None]


def load_run_and_end(services: Services, run_id: str) -> tuple[StoredRun | None, StoredStep | None]:
    """Return the run and its end node, read in one call.

    Either is None if it does not exist.
    """
    run, end = services.store.get([run_path(run_id), step_path(run_id, END_ID)])
    stored = None if run is None else StoredRun(run=run_record(run), version=run.version)
    return stored, None if end is None else StoredStep.of(end)


def iter_steps(services: Services, run_id: str) -> Iterator[StoredStep]:
    """Yield every node of the run, without its task."""
    return map(StoredStep.without_task, iter_documents(services, run_id))


def iter_expanders(services: Services, run_id: str) -> Iterator[StoredStep]:
    """Yield the nodes of the run that create items, without their tasks."""
    documents = iter_documents(services, run_id, where=[("kind", "==", NodeKind.EXPAND.value)])
    return map(StoredStep.without_task, documents)


def iter_documents(services: Services, run_id: str, *, where: Sequence[Condition] = ()) -> Iterator[Document]:
    """Yield the documents of the run's nodes that meet the conditions.

    The documents are read a page at a time, in the order of their paths.
    """
    after: tuple[str] | None = None
    while True:
        page = services.store.query(Query(collection=steps_path(run_id), where=where, after=after, limit=PAGE))
        yield from page
        if len(page) < PAGE:
            return
        after = (page[-1].path,)
