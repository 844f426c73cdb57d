"""Turn the messages of a stream into batches of changes. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from google.api_core import exceptions as google_errors
from google.cloud.firestore_v1 import types

from atom_workflows.listening import Batch, Bookmark
from atom_workflows.ports import Document

# Firestore reports documents one by one, in no particular order, and then that all of its reports up to now belong to
# one moment. Until then they are only staged. At that moment they are compared with what the caller has taken:
# Firestore may resend documents that the caller knows, for example after a reset; those are not news.

# google.api_core has no types for it.
_error_of: Final[Any] = google_errors.from_grpc_status
_Kind: Final = types.TargetChange.TargetChangeType


class CountsDiffer(Exception):
    """Firestore's document count differs from ours, so some removals were not reported."""


class Snapshots:
    """The state of one target. Not thread-safe."""

    def __init__(self, to_document: Callable[[Any], Document], since: Bookmark | None = None) -> None:
        self._to_document = to_document
        self.documents_read = 0
        self.token = since.token if since else b""
        self.read_time: datetime | None = None
        self._is_current = False
        self._staged: dict[str, Document | None] = {}
        self._versions: dict[str, int] = dict(since.versions) if since else {}  # at the last moment
        self._taken: dict[str, int] = dict(self._versions)
        self._taken_token = self.token
        self._pending: dict[str, Document | None] = {}

    def begin_stream(self) -> None:
        """Discard what the last stream reported after its last complete moment."""
        self._is_current = False
        self._staged.clear()
        if not self.token:
            self._reset()

    def stage(self, documents: Iterable[Document]) -> None:
        """Add documents read by a query; the next stream completes the moment."""
        found = {document.path: document for document in documents}
        self.documents_read += len(found)
        self._staged |= found

    def begin_anew(self) -> None:
        """Have the next stream send all documents."""
        self.token = b""

    def receive(self, message: Any) -> bool:
        """Add a message from the stream.

        Returns True if a moment is complete. Raises `CountsDiffer`, or the google.api_core error that ended the
        target.
        """
        match message.WhichOneof("response_type"):
            case "target_change":
                return self._change_target(message.target_change)
            case "document_change":
                change = message.document_change
                if change.target_ids:
                    self.documents_read += 1
                document = self._to_document(change.document)
                self._staged[document.path] = document if change.target_ids else None
            case "document_delete":
                self._remove(message.document_delete.document)
            case "document_remove":
                self._remove(message.document_remove.document)
            case "filter" if message.filter.count != self._count():
                raise CountsDiffer
        return False

    def _change_target(self, change: Any) -> bool:
        if change.target_change_type == _Kind.REMOVE:
            raise _error_of(change.cause.code, change.cause.message)
        if change.target_change_type == _Kind.RESET:
            self._reset()
        elif change.target_change_type == _Kind.CURRENT:
            self._is_current = True
        elif change.target_change_type == _Kind.NO_CHANGE and self._is_current:
            # Only at a moment does a report about all targets have a time.
            if change.target_ids or not change.HasField("read_time"):
                return False
            # Not every report has a token. An older one still works; it only makes Firestore resend known documents.
            self.token = change.resume_token or self.token
            self.read_time = change.read_time.ToDatetime(tzinfo=UTC)
            self._settle()
            return True
        return False

    def _reset(self) -> None:
        self._is_current = False
        self._staged = dict.fromkeys(self._versions)

    def _remove(self, name: str) -> None:
        self._staged[name.split("/documents/", 1)[1]] = None

    def _count(self) -> int:
        present = {path for path, document in self._staged.items() if document is not None}
        return len(present | (self._versions.keys() - self._staged.keys()))

    def _settle(self) -> None:
        for path, document in self._staged.items():
            version = None if document is None else _number(document)
            if version is None:
                self._versions.pop(path, None)
            else:
                self._versions[path] = version
            if version == self._taken.get(path):
                self._pending.pop(path, None)
            else:
                self._pending[path] = document
        self._staged.clear()

    @property
    def has_changes(self) -> bool:
        """True if there are changes to take."""
        return bool(self._pending)

    def take(self, problem: str = "") -> Batch:
        """Return what has changed since the last call."""
        documents = [document for document in self._pending.values() if document is not None]
        batch = Batch(
            added=[one for one in documents if one.path not in self._taken],
            changed=[one for one in documents if one.path in self._taken],
            removed=[path for path, document in self._pending.items() if document is None],
            read_time=self.read_time,
            problem=problem,
        )
        for path in batch.removed:
            del self._taken[path]
        self._taken |= {one.path: _number(one) for one in documents}
        self._pending.clear()
        self._taken_token = self.token
        return batch

    def bookmark(self) -> Bookmark | None:
        """Return where to resume after the changes taken so far."""
        token = self._taken_token if self._pending else self.token
        return Bookmark(token, dict(self._taken)) if token else None


def _number(document: Document) -> int:
    """Return a version as a number.

    The version's own message would keep the whole document in memory.
    """
    stamp: Any = document.version
    return int(stamp.ToNanoseconds())
