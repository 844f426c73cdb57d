"""Keep the items on a page up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atom_client.views.live_queries import listen_to_items
from atom_workflows.core.item_ids import parse_item_id
from atom_workflows.core.records import StepRecord
from atom_workflows.listening import Batch, Bookmark, Listener, Listening
from atom_workflows.step_documents import step_record


class LiveItems:
    """Some items of a step by index. Not thread-safe.

    `expander` is the node that created them.
    """

    def __init__(self, expander: StepRecord, indexes: Sequence[int]) -> None:
        self._expander = expander
        self._indexes = indexes
        self.items: dict[int, StepRecord] = {}

    @property
    def size(self) -> int:
        """The number of documents kept."""
        return len(self.items)

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> list[Listening]:
        """Listen to the items.

        `since` has a bookmark if there was a listener before.
        """
        return [listen_to_items(listener, self._expander, self._indexes, since=since[0] if since else None)]

    def apply(self, number: int, batch: Batch) -> Iterable[str]:  # noqa: ARG002 (there is one listener)
        """Apply a batch, and return the indexes of the changed items, and of those that were deleted."""
        news = {item.index: item for item in map(step_record, (*batch.added, *batch.changed)) if item.index is not None}
        self.items |= news
        removed = [one.index for one in map(parse_item_id, (path.rpartition("/")[2] for path in batch.removed)) if one]
        for index in removed:
            self.items.pop(index, None)
        return map(str, [*news, *removed])
