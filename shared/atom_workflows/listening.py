"""The port of whoever shows documents live: a listener is told what has changed, instead of asking again and again.

No deployed function listens. A listener pays a read for each document that it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from atom_workflows.ports import Document, Query


class Batch(NamedTuple):
    """What has changed since the batch before.

    Applied in order, batches yield the documents as they all were at `read_time`. No commit is there in part.
    """

    added: Sequence[Document] = ()
    changed: Sequence[Document] = ()
    removed: Sequence[str] = ()
    """The paths of documents that were deleted, or match no longer."""

    read_time: datetime | None = None
    """None before the first answer."""

    problem: str = ""
    """Why the documents may be out of date: a sentence. Empty while the connection stands."""

    @property
    def is_current(self) -> bool:
        """True unless the connection is lost; it is being made again then."""
        return not self.problem


class Bookmark(NamedTuple):
    """A place to resume from: it knows the documents of all batches that were taken, but not their fields."""

    token: bytes
    versions: Mapping[str, int]


class Listening(Protocol):
    """A query or some documents, listened to until it is closed. Safe to use from several threads."""

    @property
    def documents_read(self) -> int:
        """How many documents were sent so far, each of which is billed as a read."""
        ...

    def take(self, within_s: float) -> Batch | None:
        """Return all changes since the last call as one batch.

        Waits up to `within_s` seconds for something to change, and returns None if nothing does. The first batch has
        all documents, unless it goes on from a bookmark, and comes even if there are none. Documents that change faster
        than they are taken are returned in their newest version only, so a slow caller costs no memory. A lost
        connection is reported once, by the `problem` of a batch, and made again, which is reported as well.

        Raises:
            StoreError: the query may not or cannot be listened to; an index or a permission may be missing. Every
                further call raises it again.

        """
        ...

    def bookmark(self) -> Bookmark | None:
        """Return from where to resume after the batches that were taken.

        It is None before the first. Whoever keeps these documents and resumes within 30 minutes is sent only what has
        changed. After that, or on another server, all is sent again, and only real differences are returned.
        """
        ...

    def close(self) -> None:
        """Stop listening.

        May be repeated. `take` then returns None.
        """
        ...


class Listener(Protocol):
    """Listens to a store's documents. Safe to use from several threads."""

    def listen(self, query: Query, *, since: Bookmark | None = None) -> Listening:
        """Listen to the documents that match a query.

        `since` is a bookmark of the same query. Batches have no order; sort the documents if that matters.

        If the query selects fields, the documents of all batches have only these. The first ones are read without the
        others, so large fields are sent only with a document that changes. A document may be reported as changed
        although none of these fields has.
        """
        ...

    def listen_to(self, paths: Sequence[str], *, since: Bookmark | None = None) -> Listening:
        """Listen to documents by path, whether they exist or not.

        Raises:
            ValueError: there is no path.

        """
        ...
