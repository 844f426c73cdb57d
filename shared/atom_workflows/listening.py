"""The port for showing documents live.

A listener receives changes instead of polling for them. No deployed function listens. Each document sent to a listener
is billed as a read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from atom_workflows.ports import Document, Query


class Batch(NamedTuple):
    """What has changed since the previous batch.

    Applied in order, batches yield all documents as they were at `read_time`. A commit is included in full or not at
    all.
    """

    added: Sequence[Document] = ()
    changed: Sequence[Document] = ()
    removed: Sequence[str] = ()
    """The paths of documents that were deleted or no longer match."""

    read_time: datetime | None = None
    """None until the first answer arrives."""

    problem: str = ""
    """A sentence that says why the documents may be out of date. Empty while the connection is up."""

    @property
    def is_current(self) -> bool:
        """True unless the connection is lost and being restored."""
        return not self.problem


class Bookmark(NamedTuple):
    """A position from which to resume listening.

    It contains the documents of all batches taken so far, without their fields.
    """

    token: bytes
    versions: Mapping[str, int]


class Listening(Protocol):
    """A subscription to a query or to some documents.

    It lasts until it is closed. Safe to use from several threads.
    """

    @property
    def documents_read(self) -> int:
        """The number of documents sent so far, each billed as a read."""
        ...

    def take(self, within_s: float) -> Batch | None:
        """Return all changes since the last call as one batch.

        Waits up to `within_s` seconds for a change, and returns None if there is none. The first batch contains
        all documents, unless it resumes from a bookmark, and arrives even if there are none. If documents change faster
        than they are taken, only their newest versions are returned, so a slow caller costs no memory. A lost
        connection is reported once, by the `problem` of a batch, and then restored, which is reported as well.

        Raises:
            StoreError: the query cannot be listened to; an index or a permission may be missing. Every
                later call raises it again.

        """
        ...

    def bookmark(self) -> Bookmark | None:
        """Return a bookmark from which to resume.

        It comes after all batches taken so far, and is None before the first one. A caller that keeps these documents
        and resumes within 30 minutes is sent only what has changed. After that time, or on another server, everything
        is sent again, but only actual changes are returned.
        """
        ...

    def close(self) -> None:
        """Stop listening.

        May be called more than once. Afterwards, `take` returns None.
        """
        ...


class Listener(Protocol):
    """Listens to a store's documents. Safe to use from several threads."""

    def listen(self, query: Query, *, since: Bookmark | None = None) -> Listening:
        """Listen to the documents that match a query.

        `since` is a bookmark of the same query. Batches have no order; sort the documents if that matters.

        If the query selects fields, the documents in all batches have only these fields. The initial documents are read
        without the other fields, so large fields are sent only when a document changes. A document may be reported as
        changed although none of the selected fields has changed.
        """
        ...

    def listen_to(self, paths: Sequence[str], *, since: Bookmark | None = None) -> Listening:
        """Listen to documents by path, whether they exist or not.

        Raises:
            ValueError: no path is given.

        """
        ...
