"""Read runs and steps, each with the version that guards decisions about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.documents import run_path, run_record, step_path, step_record, steps_path
from atom_workflows.ports import Condition, Document, Fields, Query, Version

PAGE: Final = 500
_PAGE_OF_FAILED: Final = 100

AT_ONCE: Final = 200
"""The maximum number of documents that one call reads by path, because a read has to end within ten seconds."""


class _FailedLoop(NamedTuple):
    """A step with `forEach`. `expansion` is that of its items, or 0 if their failures do not matter."""

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


_TASK: Final = frozenset({"task", "templates", "constants", "sent", "loop", "item"})
"""The fields that only a dispatcher needs. Each may take up 100 KB, and a run has up to 10,000 steps."""


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


def iter_failed(  # noqa: PLR0913 (all but the first three by name)
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
