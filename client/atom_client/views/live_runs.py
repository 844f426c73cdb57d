"""Watched documents: the newest or open runs, and a step or item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from atom_client.views.live_queries import listen_to_runs
from atom_client.views.run_list import OPEN_STATES, RunFilter
from atom_workflows.listening import Batch, Bookmark, Listener, Listening
from atom_workflows.ports import Document

MOST_LISTENED = 100
"""The maximum number of a list's newest or open runs to watch.

Pages with other runs are read when opened.
"""


class LiveRuns:
    """Run documents by id, including the wanted ones. Not thread-safe."""

    def __init__(self, wanted: RunFilter) -> None:
        self._wanted = wanted
        self.runs: dict[str, Document] = {}
        # The ids of the runs that were deleted, as far as that is known: of open runs, others may have ended.
        self.deleted: set[str] = set()

    @property
    def size(self) -> int:
        """The number of documents kept."""
        return len(self.runs)

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> list[Listening]:
        """Listen to the runs.

        `since` has a bookmark if there was a listener before.
        """
        return [listen_to_runs(listener, self._wanted, most=MOST_LISTENED, since=since[0] if since else None)]

    def apply(self, number: int, batch: Batch) -> Iterable[str]:  # noqa: ARG002 (there is one listener)
        """Apply a batch, and return the ids of the changed runs.

        Runs pushed out by newer ones, or no longer open, are no longer listened to.
        """
        removed = {path.rpartition("/")[2]: self.runs.pop(path.rpartition("/")[2], None) for path in batch.removed}
        news = {document.id: document for document in (*batch.added, *batch.changed)}
        self.runs |= news
        # Newer runs push out the oldest.
        oldest = min(map(_age, self.runs.values())) if self.is_full else None
        self.deleted |= {name for name, run in removed.items() if run and (oldest is None or _age(run) > oldest)}
        self.deleted -= news.keys()
        return [*news, *removed]

    @property
    def is_full(self) -> bool:
        """True if there may be more such runs.

        If a run leaves, one of them takes its place.
        """
        return len(self.runs) >= MOST_LISTENED

    @property
    def note(self) -> str:
        """A note that not all open runs are followed, or ""."""
        if not self._wanted.states or not self.is_full:
            return ""
        return f"Only {MOST_LISTENED} of the open runs are followed; changes to the others appear at the next refresh."

    def open_ids(self) -> set[str]:
        """Return the ids of the runs that have not ended."""
        return {one.id for one in self.runs.values() if one.fields.get("state") in OPEN_STATES}

    def newest(self) -> list[Document]:
        """Return the runs, newest first."""
        return sorted(self.runs.values(), key=_age, reverse=True)


def _age(run: Document) -> tuple[datetime, str]:
    """Return a key that sorts runs as Firestore does: oldest first, then by path."""
    return run.fields["created_at"], run.path


class LiveDocuments:
    """Some documents and their states, watched only for changes.

    Not thread-safe.
    """

    size = 1

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self.states: dict[str, object] = {}

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> list[Listening]:
        """Listen to the documents."""
        return [listener.listen_to(self._paths, since=since[0] if since else None)]

    def apply(self, number: int, batch: Batch) -> Iterable[str]:  # noqa: ARG002 (there is one listener)
        """Return the paths of the documents that have changed."""
        self.states |= {one.path: one.fields.get("state") for one in (*batch.added, *batch.changed)}
        for path in batch.removed:
            self.states.pop(path, None)
        return [*(one.path for one in (*batch.added, *batch.changed)), *batch.removed]
