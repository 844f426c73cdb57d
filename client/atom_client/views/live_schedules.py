"""Keep the files that have schedules, and the schedules, up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atom_client.views.live_queries import listen_to_schedule_names, listen_to_schedules
from atom_workflows.core.schedules import FileSchedules
from atom_workflows.listening import Batch, Bookmark, Listener, Listening
from atom_workflows.schedule_documents import read_tick


class LiveScheduleNames:
    """The ids of the files that have schedules. Not thread-safe."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    @property
    def size(self) -> int:
        """The number of documents kept."""
        return len(self.ids)

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> list[Listening]:
        """Listen to the names.

        `since` has a bookmark if there was a listener before.
        """
        return [listen_to_schedule_names(listener, since=since[0] if since else None)]

    def apply(self, number: int, batch: Batch) -> Iterable[str]:  # noqa: ARG002 (there is one listener)
        """Apply a batch, and return the ids that were added or removed."""
        added = {document.id for document in batch.added}
        removed = {path.rpartition("/")[2] for path in batch.removed}
        self.ids = (self.ids | added) - removed
        return added | removed


class LiveSchedules:
    """The schedules of some files, by their documents' paths. Not thread-safe."""

    def __init__(self, file_ids: Sequence[str]) -> None:
        self._file_ids = file_ids
        self._schedules: dict[str, FileSchedules] = {}

    @property
    def size(self) -> int:
        """The number of documents kept."""
        return len(self._schedules)

    @property
    def files(self) -> list[FileSchedules]:
        """The schedules of all files, by path."""
        return sorted(self._schedules.values(), key=lambda one: one.path)

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> list[Listening]:
        """Listen to the schedules.

        `since` has a bookmark if there was a listener before.
        """
        return [listen_to_schedules(listener, self._file_ids, since=since[0] if since else None)]

    def apply(self, number: int, batch: Batch) -> Iterable[str]:  # noqa: ARG002 (there is one listener)
        """Apply a batch, and return the paths of the changed documents."""
        news = {document.path: read_tick(document) for document in (*batch.added, *batch.changed)}
        self._schedules |= news
        for path in batch.removed:
            self._schedules.pop(path, None)
        return [*news, *batch.removed]
