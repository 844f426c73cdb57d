"""Implement the Listener port on the protocol's own stream.

Google's client does not report why a stream has ended.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1 import types

from atom_workflows.adapters.firestore.messages import QUERY_ANSWER, FirestoreMessages
from atom_workflows.adapters.firestore.snapshots import CountsDiffer, Snapshots
from atom_workflows.adapters.grpc_calls import Call, ServiceCalls, message_class
from atom_workflows.errors import StoreError
from atom_workflows.listening import Batch, Bookmark
from atom_workflows.ports import Document, Query

STREAM_S: Final = 300.0
"""How long a stream stays open. Reopening it costs no reads, and a dead connection may look like a quiet one."""

_QUERY_S: Final = 30.0
_PAGE: Final = 2_000
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 15.0
_CLOSES_WITHIN_S: Final = 5.0
_TARGET: Final = 1
_ListenRequest: Final = message_class(types.ListenRequest)
_ListenResponse: Final = message_class(types.ListenResponse)

_REFUSALS: Final = (
    google_errors.BadRequest,  # an index may be missing
    google_errors.Unauthorized,
    google_errors.Forbidden,
    google_errors.NotFound,
    google_errors.MethodNotImplemented,
)
"""Errors that no retry can fix."""


ReadFirst: TypeAlias = Callable[[], tuple[list[Document], Any]]
"""Reads the first documents, and returns the time from which a listener can continue."""


class FirestoreListener:
    """Listens to documents of one Firestore database."""

    def __init__(self, *, project: str, database: str, stream_s: float = STREAM_S) -> None:
        self._client = firestore.Client(project=project, database=database)
        self._database = f"projects/{project}/databases/{database}"
        self._messages = FirestoreMessages(self._database)
        calls = partial(
            ServiceCalls,
            "google.firestore.v1.Firestore",
            self._client._firestore_api.transport,  # noqa: SLF001 (there is no public attribute)
            metadata=self._client._rpc_metadata,  # noqa: SLF001 (there is no public attribute)
        )
        self._call = calls(call_timeout_s=stream_s).both_ways("Listen", _ListenResponse)
        # Whoever listens tries again anyway.
        never = Retry(predicate=if_exception_type())
        self._call_query = calls(call_timeout_s=_QUERY_S).stream("RunQuery", QUERY_ANSWER, never)

    def listen(self, query: Query, *, since: Bookmark | None = None) -> FirestoreListening:
        """See `listening.Listener.listen`."""
        asked = self._messages.query(replace(query, fields=None))
        request = _ListenRequest(database=self._database)
        request.add_target.query.parent = asked.parent
        request.add_target.query.structured_query.CopyFrom(asked.structured_query)
        if query.fields is None:
            return self._begin(request, Snapshots(self._messages.document, since))
        # Firestore refuses to listen to some fields, so what it sends later is cut.
        cut = partial(self._messages.document, fields=frozenset(query.fields))
        return self._begin(request, Snapshots(cut, since), lambda: self._read_first(query))

    def listen_to(self, paths: Sequence[str], *, since: Bookmark | None = None) -> FirestoreListening:
        """See `listening.Listener.listen_to`."""
        if not paths:
            raise ValueError("there is no document to listen to")
        request = _ListenRequest(database=self._database)
        names = self._messages.batch_get(dict.fromkeys(paths), None).documents
        request.add_target.documents.documents.extend(names)
        return self._begin(request, Snapshots(self._messages.document, since))

    def _begin(self, request: Any, snapshots: Snapshots, read_first: ReadFirst | None = None) -> FirestoreListening:
        request.add_target.target_id = _TARGET
        return FirestoreListening(self._call, request, snapshots, read_first)

    def _read_first(self, query: Query) -> tuple[list[Document], Any]:
        """Return the documents' selected fields, and the time of the oldest read.

        Changes made between the pages are sent again to a listener that continues from that time.
        """
        is_paged = query.limit is None and not query.order_by
        page = replace(query, limit=_PAGE) if is_paged else query
        documents: list[Document] = []
        time = None
        while True:
            request = self._messages.query(page)
            answers = self._call_query(request, parent=request.parent)
            found = [self._messages.document(answer.document) for answer in answers if answer.HasField("document")]
            documents += found
            time = time or answers[0].read_time
            if not is_paged or len(found) < _PAGE:
                return documents, time
            page = replace(page, after=[found[-1].path])


class FirestoreListening:
    """A target with its own stream, which a thread reads and reopens.

    With `read_first`, the first documents are read before the stream is opened.
    """

    def __init__(self, call: Call, request: Any, snapshots: Snapshots, read_first: ReadFirst | None = None) -> None:
        self._open = call
        self._request = request
        self._snapshots = snapshots
        self._read_first = read_first
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._stream: Any = None
        self._is_live = False  # this stream has reached a moment
        self._awaits_moment = True  # the next one is news even if no document has changed
        self._has_news = False
        self._problem = ""
        self._failure: Exception | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._thread = threading.Thread(target=self._read_until_closed, name="listener", daemon=True)
        self._thread.start()

    @property
    def documents_read(self) -> int:
        """See `listening.Listening.documents_read`."""
        return self._snapshots.documents_read

    def take(self, within_s: float) -> Batch | None:
        """See `listening.Listening.take`."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news or self._failure or self._closing.is_set(), within_s)
            if self._closing.is_set():
                return None
            if self._failure is not None:
                raise self._failure
            if not self._has_news:
                return None
            self._has_news = False
            return self._snapshots.take(self._problem)

    def bookmark(self) -> Bookmark | None:
        """See `listening.Listening.bookmark`."""
        with self._changed:
            return self._snapshots.bookmark()

    def close(self) -> None:
        """See `listening.Listening.close`."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            if self._stream is not None:
                self._stream.cancel()
        self._thread.join(_CLOSES_WITHIN_S)

    def _read_until_closed(self) -> None:
        while not self._closing.is_set():
            self._is_live = False
            try:
                self._read_stream()
            except CountsDiffer:
                self._snapshots.begin_anew()
            except _REFUSALS as error:
                refusal = StoreError(f"Firestore refused to listen: {error}")
                refusal.__cause__ = error
                self._end(refusal)
                return
            except google_errors.GoogleAPICallError as error:
                # A stream that has reached its time limit is simply reopened.
                if not (self._is_live and isinstance(error, google_errors.DeadlineExceeded)):
                    self._report_loss(f"Firestore does not answer: {error}")
            except Exception as error:  # noqa: BLE001 (a bug; whoever waits for a batch would wait forever)
                self._end(error)
                return
            self._closing.wait(random.uniform(self._pause_s / 2, self._pause_s))  # noqa: S311 (only spreads retries)
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)

    def _read_stream(self) -> None:
        self._snapshots.begin_stream()
        request = _ListenRequest()
        request.CopyFrom(self._request)
        if self._snapshots.token:
            request.add_target.resume_token = self._snapshots.token
        elif self._read_first is not None:
            documents, time = self._read_first()
            self._snapshots.stage(documents)
            request.add_target.read_time.CopyFrom(time)
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        requests.put(request)
        with self._changed:
            if self._closing.is_set():
                return
            # The stream is open as long as there may be further requests.
            self._stream = self._open(iter(requests.get, None), database=request.database)
        try:
            for message in self._stream:
                with self._changed:
                    if self._snapshots.receive(message):
                        self._reach_moment()
        finally:
            self._stream.cancel()
            requests.put(None)

    def _reach_moment(self) -> None:
        """Wake the caller if documents have changed or are current again."""
        self._pause_s = _FIRST_PAUSE_S
        self._is_live = True
        if self._snapshots.has_changes or self._awaits_moment:
            self._awaits_moment, self._problem, self._has_news = False, "", True
            self._changed.notify_all()

    def _report_loss(self, problem: str) -> None:
        with self._changed:
            self._has_news = self._has_news or not self._problem
            self._problem, self._awaits_moment = problem, True
            self._changed.notify_all()

    def _end(self, failure: Exception) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()
