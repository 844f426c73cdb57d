"""Reading runs and steps, each with the version that guards what is decided of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.documents import run_path, run_record, step_path, step_record, steps_path
from atom_workflows.ports import Document, Query, Version

PAGE: Final = 500

AT_ONCE: Final = 200
"""Documents that one call reads by their paths: a read has ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A step as it was read, and the version that guards what is decided of it."""

    step: StepRecord
    version: Version

    @classmethod
    def of(cls, document: Document) -> Held:
        """The step in this document."""
        return cls(step=step_record(document), version=document.version)

    @classmethod
    def without_task(cls, document: Document) -> Held:
        """Return the step without its task, the largest thing that it holds."""
        fields = {name: value for name, value in document.fields.items() if name != "task"}
        return cls.of(replace(document, fields=fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun:
    """A run as it was read, and the version that guards what is decided of it."""

    run: RunRecord
    version: Version


def load_run(services: Services, run_id: str) -> HeldRun | None:
    """The run, None if there is none."""
    document = services.store.get([run_path(run_id)])[0]
    return None if document is None else HeldRun(run=run_record(document), version=document.version)


def load_steps(services: Services, run_id: str, step_ids: Iterable[str]) -> list[Held]:
    """Those of the steps that exist, in the order asked for."""
    paths = [step_path(run_id, step_id) for step_id in step_ids]
    pages = [services.store.get(paths[start : start + AT_ONCE]) for start in range(0, len(paths), AT_ONCE)]
    return [Held.of(document) for page in pages for document in page if document is not None]


def load_run_and_end(services: Services, run_id: str) -> tuple[HeldRun | None, Held | None]:
    """The run and its end, in one call; None for what does not exist."""
    run, end = services.store.get([run_path(run_id), step_path(run_id, END_ID)])
    held = None if run is None else HeldRun(run=run_record(run), version=run.version)
    return held, None if end is None else Held.of(end)


def all_steps(services: Services, run_id: str) -> Iterator[Held]:
    """Yield every node of the run, without its task."""
    return map(Held.without_task, all_documents(services, run_id))


def all_documents(services: Services, run_id: str) -> Iterator[Document]:
    """Yield every node of the run as it is stored.

    They are read a page at a time, in the order of their paths.
    """
    after: tuple[str] | None = None
    while True:
        page = services.store.query(Query(collection=steps_path(run_id), after=after, limit=PAGE))
        yield from page
        if len(page) < PAGE:
            return
        after = (page[-1].path,)
