"""Start a run that keeps steps of an ended run.

The file or the parameters were edited in between. The ended run is never changed, except that it remembers the id of
the new run. What is kept is decided once (core/reuse.py), and stored with the new run's definition in the commit that
creates the run. That commit has a guard on the ended run, so the decision cannot be about an older version of it, and
no two runs repair it at once.

The new run is then seeded in stages, like a large run (seed.py): the kept steps are written as they ended, with their
outputs, and the counters of all other steps already include them. If the ended run is retried or deleted before all of
that has been copied, the new run fails with a message that says so.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from atom_workflows.coordinator.loading import AT_ONCE, iter_documents, load_run
from atom_workflows.coordinator.preparation import with_workflow
from atom_workflows.coordinator.run_graph import RunGraph
from atom_workflows.coordinator.services import Services
from atom_workflows.core.counts import Counts
from atom_workflows.core.kinds import LOOPS_SCHEMA, NodeKind, forwards_counts
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.reuse import (
    MOST_REPAIRS,
    Judgment,
    What,
    changed_values,
    facts_of,
    judge,
    kept_nodes,
    nothing_differs,
    require_no_other,
    require_reusable,
)
from atom_workflows.core.run_values import digest_of
from atom_workflows.core.states import StepState
from atom_workflows.core.user_changes import UserChange
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import changes_fields, definition_path, outputs_path, run_path, step_path, to_json
from atom_workflows.errors import DefinitionUnusable, RunNotFound, RunStateError
from atom_workflows.messages.fields import MAX_LABELS
from atom_workflows.messages.start import StartRequested
from atom_workflows.ports import Condition, Create, Update
from atom_workflows.step_documents import step_record

_IN_GRAPH: Final = tuple(
    kind.value
    for kind in (NodeKind.JOB, NodeKind.BARRIER, NodeKind.INTERNAL, NodeKind.EXPAND, NodeKind.GATHER, NodeKind.MAIN_END)
)
"""The kinds of nodes that are compared. They do not include the items of loops, of which there may be 20,000."""

_COPIED: Final = (
    "attempt",
    "attempts",
    "job_id",
    "job_state",
    "message",
    "reason",
    "logs_url",
    "because",
    "claimed_at",
    "submitted_at",
    "running_at",
    "started_at",
    "finished_at",
)
"""The fields that say how a kept step ended."""

_COPIED_OF_LOOPS: Final[Mapping[NodeKind, tuple[str, ...]]] = {
    NodeKind.GATHER: ("items", "total", "unsuccessful", "skipped", "unstarted"),
    NodeKind.EXPAND: ("items",),
}
"""The fields that count the items of a kept loop. The items themselves stay with the ended run."""

_GATHERED_AT_ONCE: Final = 10
"""The number of loops whose outputs are in memory at once: up to 900 KB for a loop, and up to 32 KB for a job."""


class Reuse(NamedTuple):
    """What a run keeps of another run, which has ended.

    `retries` and `finished_at` are those of the ended run when this was decided. `skipped` are the
    kept steps that were skipped by choice. `link` is the write by which the ended run remembers the new one.
    """

    run_id: str
    retries: int
    finished_at: datetime
    kept: frozenset[str]
    skipped: frozenset[str] = frozenset()
    link: Update | None = None

    def stored(self) -> bytes:
        """Return what is stored with the new run's definition."""
        fields = {
            "run_id": self.run_id,
            "retries": self.retries,
            "finished_at": self.finished_at.isoformat(),
            "kept": sorted(self.kept),
            "skipped": sorted(self.skipped),
        }
        return zlib.compress(to_json(fields).encode())


def _read_reuse(services: Services, run: RunRecord) -> Reuse:
    """Read what was decided when the run was started.

    Raises `DefinitionUnusable`.
    """
    document = services.store.get([definition_path(run.id)], fields=("reuse",))[0]
    try:
        stored = json.loads(zlib.decompress(document.fields["reuse"] if document is not None else b""))
        return Reuse(
            run_id=stored["run_id"],
            retries=stored["retries"],
            finished_at=datetime.fromisoformat(stored["finished_at"]),
            kept=frozenset(stored["kept"]),
            skipped=frozenset(stored["skipped"]),
        )
    except (zlib.error, LookupError, TypeError, ValueError) as error:
        message = f"the record of what it keeps of run {run.repairs} cannot be read: {type(error).__name__}: {error}"
        raise DefinitionUnusable(message) from None


# -- before the run exists -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusePlan:
    """A planned repair run, and what would become of each step."""

    run: RunRecord
    earlier: RunRecord
    judgment: Judgment
    reuse: Reuse


def plan_reuse(
    services: Services, run: RunRecord, event: StartRequested, workflow: Workflow, env: Mapping[str, str]
) -> ReusePlan:
    """Decide what a new run keeps of the run that it repairs.

    Nothing is written. `run` is what was known about the new run before its file was read, with the file's digest.

    Raises `InvalidParams`, `RunNotFound`, or `RunStateError` if the earlier run cannot be repaired, if nothing would
    be different, or if what would be kept is not what the user was shown.
    """
    stored = load_run(services, event.repairs)
    if stored is None:
        raise RunNotFound(event.repairs)
    earlier = stored.run
    require_reusable(earlier, now=services.clock.now())
    require_no_other(earlier, (one for one in relatives_of(services, earlier) if one.id != run.id))
    run = _inherit(services, run, earlier, event, workflow)
    # Defaults are computed as of the first of the runs that repair each other.
    first = _first_of(services, earlier)
    as_first = replace(run, id=first.id, created_at=first.created_at)
    bound = with_workflow(as_first, workflow, digest=run.digest, env=env)
    ready = with_workflow(replace(run, params=bound.params), workflow, digest=run.digest, env=env)
    # As the new file would have made the earlier run, so that neither ids nor times are differences.
    as_then = replace(run, id=earlier.id, created_at=earlier.created_at, params=bound.params)
    planned = bound if first is earlier else with_workflow(as_then, workflow, digest=run.digest, env=env)
    ready = replace(ready, defaulted=bound.defaulted, given_digest=digest_of(event.params), late_at=None)
    graph = RunGraph(planned, workflow, event.workflow_path)
    # The first versions did not store kinds, and knew no items.
    where: list[Condition] = [("kind", "in", list(_IN_GRAPH))] if earlier.schema >= LOOPS_SCHEMA else []
    documents = iter_documents(services, earlier.id, where=where)
    judgment = judge(
        {document.id: facts_of(step_record(document)) for document in documents},
        {record.id: facts_of(record) for record in map(graph.record, graph.paths)},
        workflow,
        changed_values(earlier, planned),
    )
    if nothing_differs(judgment, workflow, earlier, planned):
        raise RunStateError(
            f"no step of run {earlier.id} would run again: it SUCCEEDED, and nothing that matters to a step has changed"
        )
    if event.kept_digest and event.kept_digest != judgment.digest:
        raise RunStateError(
            f"the steps of run {earlier.id} that would be kept are no longer the ones that were shown, because that "
            "run, or the deployment's environment, has changed since then; request the new run again"
        )
    change = UserChange(at=services.clock.now(), actor=event.actor, what=f"retry as {run.id}", why=event.reason)
    reuse = Reuse(
        run_id=earlier.id,
        retries=earlier.retries,
        finished_at=earlier.finished_at or earlier.created_at,
        kept=frozenset(judgment.of(What.KEEP)),
        skipped=judgment.skipped,
        link=Update(
            path=run_path(earlier.id),
            fields={
                "repaired_by": [*(one for one in earlier.repaired_by if one != run.id), run.id][-MOST_REPAIRS:],
                **(changes_fields(earlier.changes, change) if event.actor else {}),
            },
            guard=stored.version,
        ),
    )
    return ReusePlan(run=ready, earlier=earlier, judgment=judgment, reuse=reuse)


def relatives_of(services: Services, run: RunRecord) -> Iterator[RunRecord]:
    """Yield the runs that `require_no_other` counts as a run's relatives."""
    stored = load_run(services, run.repairs) if run.repairs else None
    earlier = None if stored is None else stored.run
    if earlier is not None:
        yield earlier
    ids = (*(() if earlier is None else earlier.repaired_by), *run.repaired_by)
    found = (load_run(services, run_id) for run_id in dict.fromkeys(ids) if run_id != run.id)
    yield from (one.run for one in found if one is not None)


def _first_of(services: Services, earlier: RunRecord) -> RunRecord:
    """Follow a chain of repairs back to the run that began it.

    If a run of the chain was deleted, returns the oldest one after it.
    """
    first = earlier
    for _ in range(MOST_REPAIRS):
        stored = load_run(services, first.repairs) if first.repairs else None
        # A deleted run's id may have been used again since.
        if stored is None or stored.run.created_at > first.created_at:
            break
        first = stored.run
    return first


def _inherit(
    services: Services, run: RunRecord, earlier: RunRecord, event: StartRequested, workflow: Workflow
) -> RunRecord:
    """Return the new run with what it inherits from the earlier run.

    It inherits whatever its request does not change. It stands for the same scheduled time, or else for the time at
    which the earlier run was created. Raises `RunStateError` if it would have too many labels.
    """
    declared = {param.name for param in workflow.params}
    given = {
        name: value
        for name, value in earlier.params.items()
        if name not in earlier.defaulted and (not declared or name in declared)
    }
    labels = {**earlier.labels, **event.labels}
    if len(labels) > MAX_LABELS:
        raise RunStateError(
            f"the run would have {len(labels)} labels, including those of run {earlier.id}; it may have {MAX_LABELS}"
        )
    runner = earlier.task_runner_url
    keeps_runner = not event.task_runner_url and services.settings.may_use_task_runner(runner)
    return replace(
        run,
        params={**given, **event.params},
        labels=labels,
        trigger={**event.trigger, "kind": earlier.trigger.get("kind", "")},
        scheduled_at=event.scheduled_at or earlier.scheduled_at or earlier.created_at,
        task_runner_url=runner if keeps_runner else run.task_runner_url,
        window_start=None if event.scheduled_at else earlier.window_start,
    )


# -- the documents of the run ----------------------------------------------------------------------------------------


class ReuseGraph(RunGraph):
    """The graph of a run that keeps steps of an ended one.

    Raises `DefinitionUnusable` if the ended run has changed since the steps to keep were chosen.
    """

    def __init__(self, services: Services, run: RunRecord, workflow: Workflow, path: str, reuse: Reuse) -> None:
        super().__init__(run, workflow, path)
        self._services = services
        self._reuse = reuse
        self._by_id = {node.id: node for node in self._nodes.values()}
        self._kept = kept_nodes(self._by_id, reuse.kept)
        self._counts: dict[str, Counts] = {}

    def record(self, path: str) -> StepRecord:
        """Build one node, with the kept nodes before it already counted.

        A kept node is built as it ended.
        """
        record = super().record(path)
        counts = sum((self._count(need) for need in record.depends_on if need in self._kept), Counts())
        counted: dict[str, Any] = {
            "remaining": record.remaining - counts.ended,
            **counts.counters(record.schema),
        }
        if record.id not in self._kept:
            return replace(record, **counted)
        is_skipped = self._is_skipped(record.id)
        return replace(
            record,
            **counted,
            state=StepState.SKIPPED if is_skipped else StepState.SUCCEEDED,
            by_choice=is_skipped,
            kept_from="" if record.kind is NodeKind.INTERNAL else self._reuse.run_id,
        )

    def creates(self, paths: Iterable[str]) -> Iterator[Create]:
        """Build the documents at the given paths, and all kept outputs."""
        self._require_unchanged()
        # After an interruption, a step may have been written without its outputs.
        yield from self._create_outputs()
        for part in _parts(list(paths), AT_ONCE):
            yield from self._create_steps(part)
        # A retry of the ended run is counted before it resets any step.
        self._require_unchanged()

    def _count(self, node_id: str) -> Counts:
        """Return what a kept node adds to its dependents' counters."""
        if node_id not in self._counts:
            node = self._by_id[node_id]
            if forwards_counts(node.kind, self.run.schema):
                own = sum(map(self._count, node.depends_on), Counts())
                self._counts[node_id] = replace(own, ended=1)
            else:
                self._counts[node_id] = Counts(ended=1, total=1, skipped=int(self._is_skipped(node_id)))
        return self._counts[node_id]

    def _is_skipped(self, node_id: str) -> bool:
        return self._steps[node_id].id in self._reuse.skipped if node_id in self._steps else False

    def _create_steps(self, paths: list[str]) -> Iterator[Create]:
        copied = [path for path in paths if self._nodes[path].id in self._kept and self._nodes[path].id in self._steps]
        there = [step_path(self._reuse.run_id, self._nodes[path].id) for path in copied]
        fields = ("state", "kept_from", "mark", "retries", *_COPIED, *_COPIED_OF_LOOPS[NodeKind.GATHER])
        found = dict(zip(copied, self._services.store.get(there, fields=fields) if there else [], strict=True))
        for path in paths:
            create = self.create(path)
            if path not in found:
                yield create
                continue
            document = found[path]
            if document is None or document.fields.get("state") != create.fields["state"]:
                raise self._changed()
            ended = document.fields
            names = (*_COPIED, *_COPIED_OF_LOOPS.get(self._nodes[path].kind, ()))
            own: dict[str, Any] = {name: ended[name] for name in names if ended.get(name)}
            if (mark := ended.get("mark")) and mark["retries"] == ended.get("retries", 0):
                # Its end was a person's decision, also in the first round of this run.
                own["mark"] = {**mark, "retries": 0}
            if origin := ended.get("kept_from"):
                own["kept_from"] = origin
            yield replace(create, fields={**create.fields, **own})

    def _create_outputs(self) -> Iterator[Create]:
        """Build the documents of the outputs of all kept steps."""
        names = [name for name in sorted(self._reuse.kept - self._reuse.skipped) if self._declares_outputs(name)]
        loops = [name for name in names if name in self._gathered]
        others = [name for name in names if name not in self._gathered]
        for part in (*_parts(loops, _GATHERED_AT_ONCE), *_parts(others, AT_ONCE)):
            found = self._services.store.get([outputs_path(self._reuse.run_id, name) for name in part])
            for name, document in zip(part, found, strict=True):
                if document is None:
                    raise self._changed()
                fields = {**document.fields, "schema": self.run.schema, "expire_at": self.run.expire_at}
                yield Create(path=outputs_path(self.run.id, name), fields=fields)

    def _declares_outputs(self, step_id: str) -> bool:
        is_loop = self._by_id[step_id].kind is NodeKind.GATHER
        return bool(self._gathered.get(step_id) if is_loop else self._steps[step_id].outputs)

    def _require_unchanged(self) -> None:
        stored = load_run(self._services, self._reuse.run_id)
        now = None if stored is None else (stored.run.retries, stored.run.finished_at or stored.run.created_at)
        if now != (self._reuse.retries, self._reuse.finished_at):
            raise self._changed()

    def _changed(self) -> DefinitionUnusable:
        earlier = f"run {self._reuse.run_id}"
        return DefinitionUnusable(f"{earlier} was changed or deleted before the steps to keep were copied from it")


def _parts(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def reuse_graph(services: Services, run: RunRecord, workflow: Workflow, path: str) -> ReuseGraph:
    """Return the graph of a run that keeps steps.

    What it keeps was decided when the run was started. Raises `DefinitionUnusable`.
    """
    return ReuseGraph(services, run, workflow, path, _read_reuse(services, run))
