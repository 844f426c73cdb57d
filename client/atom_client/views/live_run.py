"""A watched run: its newest state, built from its listeners' reports.

Outlines of its nodes are kept, without jobs, so that thousands of steps fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from atom_client.views.live_queries import listen_to_run, listen_to_steps
from atom_client.views.loops import as_seen, is_shown
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.listening import Batch, Bookmark, Listener, Listening
from atom_workflows.run_documents import run_record
from atom_workflows.step_documents import step_record

THE_RUN: Final = ""
"""The key of the run's own document; those of its nodes are their ids."""

_RUN, _STEPS = range(2)


class LiveRun:
    """A run and the outlines of its nodes by id.

    Not thread-safe. The objects it holds are replaced, never changed.
    """

    def __init__(self, run: RunRecord) -> None:
        self.run = run
        self.is_deleted = False
        self.nodes: dict[str, StepRecord] = {}

    @property
    def size(self) -> int:
        """The number of documents kept."""
        return 1 + len(self.nodes)

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> list[Listening]:
        """Listen to the run and to its nodes.

        `since` has a bookmark for each if there was a listener before.
        """
        run_mark, steps_mark = since or (None, None)
        return [
            listen_to_run(listener, self.run.id, since=run_mark),
            listen_to_steps(listener, self.run, since=steps_mark),
        ]

    def apply(self, number: int, batch: Batch) -> Iterable[str]:
        """Apply a listener's batch, and return the keys of changed documents.

        Raises `NewerVersion` if a newer version wrote one of the documents.
        """
        if number == _RUN:
            for document in (*batch.added, *batch.changed):
                self.run = run_record(document)
            if batch.added or batch.changed or batch.removed:
                self.is_deleted = bool(batch.removed)
                return [THE_RUN]
            return []
        for path in batch.removed:
            self.nodes.pop(path.rpartition("/")[2], None)
        return self._apply_nodes(step_record(one) for one in (*batch.added, *batch.changed))

    def _apply_nodes(self, nodes: Iterable[StepRecord]) -> set[str]:
        changed = set()
        for node in nodes:
            # A field that an outline lacks may have changed.
            if self.nodes.get(node.id) != node:
                self.nodes[node.id] = node
                # A step with `forEach` is shown as its expander is.
                changed |= {node.id, node.each} if node.kind is NodeKind.EXPAND else {node.id}
        return changed

    @property
    def has_ended(self) -> bool:
        """True if the run and its steps will not change by themselves."""
        return self.run.state.is_terminal and all(node.state.is_terminal for node in self.nodes.values())


def steps_among(nodes: Mapping[str, StepRecord], keys: Iterable[str]) -> list[StepRecord]:
    """Return the user's steps among these nodes, as users see them."""
    found = (nodes[key] for key in keys if key in nodes)
    return [as_seen(node, nodes) for node in found if is_shown(node)]
