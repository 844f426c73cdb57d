"""The Store port, implemented with plain protocol messages on google-cloud-firestore's channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore

from atom_workflows.adapters.firestore.messages import (
    BATCH_GET_ANSWER,
    COMMIT_ANSWER,
    COUNT_ALIAS,
    COUNT_ANSWER,
    DOCUMENT,
    QUERY_ANSWER,
    FirestoreMessages,
    decode_results,
)
from atom_workflows.adapters.grpc_calls import ServiceCalls
from atom_workflows.errors import AlreadyExists, Conflict, NotStorable, StoreError, StoreUnavailable
from atom_workflows.ports import Document, Query, Write, WriteResult

CALL_TIMEOUT_S: Final = 10.0
"""The time limit for one attempt at a call."""

TOTAL_TIMEOUT_S: Final = 30.0
"""No new attempt begins after this long; `timeout=` by itself would not limit the client's own retries."""


class FirestoreStore:
    """Documents in one Firestore database; the client is thread-safe.

    An argument that Firestore rejects as invalid raises `StoreError`.
    """

    def __init__(
        self,
        *,
        project: str,
        database: str,
        call_timeout_s: float = CALL_TIMEOUT_S,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> None:
        self._client = firestore.Client(project=project, database=database)
        self._database = f"projects/{project}/databases/{database}"
        self._messages = FirestoreMessages(self._database)
        passing = (google_errors.ServiceUnavailable, google_errors.ResourceExhausted)
        retry = _retry(total_timeout_s, *passing)
        calls = ServiceCalls(
            "google.firestore.v1.Firestore",
            # The client's transport (with the emulator's address) and its headers are both private attributes.
            self._client._firestore_api.transport,  # noqa: SLF001 (there is no public attribute)
            call_timeout_s=call_timeout_s,
            metadata=self._client._rpc_metadata,  # noqa: SLF001 (there is no public attribute)
        )
        self._call_get = calls.unary("GetDocument", DOCUMENT, retry)
        # If the response breaks off, the call is repeated from the start, so nothing is missing or duplicated.
        self._call_batch_get = calls.stream("BatchGetDocuments", BATCH_GET_ANSWER, retry)
        self._call_query = calls.stream("RunQuery", QUERY_ANSWER, retry)
        self._call_count = calls.stream("RunAggregationQuery", COUNT_ANSWER, retry)
        # An aborted commit wrote nothing: it lost a race for a lock, not for a step. A retry checks its guards again.
        commit_retry = _retry(total_timeout_s, *passing, google_errors.Aborted)
        self._call_commit = calls.unary("Commit", COMMIT_ANSWER, commit_retry)

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        if not paths:
            return []
        if len(paths) == 1:
            # A streaming call costs twice as much as a unary one.
            wanted = self._messages.get(paths[0], fields)
            with _translate_read_errors():
                try:
                    answer = self._call_get(wanted, name=wanted.name)
                except google_errors.NotFound:
                    return [None]
            return [self._messages.document(answer)]
        request = self._messages.batch_get(dict.fromkeys(paths), fields)
        with _translate_read_errors():
            answers = self._call_batch_get(request, database=self._database)
        documents = [self._messages.document(answer.found) for answer in answers if answer.HasField("found")]
        found = {document.path: document for document in documents}
        return [found.get(path) for path in paths]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        if len({write.path for write in writes}) != len(writes):
            raise NotStorable("a commit names a document twice")
        try:
            request = self._messages.commit(writes)
        except ValueError as error:
            raise NotStorable(f"a document has a value that Firestore cannot store: {error}") from error
        with _translate_errors():
            answer = self._call_commit(request, database=self._database)
        return decode_results(writes, answer)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        request = self._messages.query(query)
        with _translate_read_errors():
            answers = self._call_query(request, parent=request.parent)
        return [self._messages.document(answer.document) for answer in answers if answer.HasField("document")]

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        request = self._messages.count(query)
        with _translate_read_errors():
            answers = self._call_count(request, parent=request.parent)
        return sum(answer.result.aggregate_fields[COUNT_ALIAS].integer_value for answer in answers)


def _retry(total_timeout_s: float, *errors: type[Exception]) -> Retry:
    return Retry(predicate=if_exception_type(*errors), initial=0.1, maximum=2.0, timeout=total_timeout_s)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate the client's errors into those of the port."""
    try:
        yield
    except google_errors.Conflict as error:
        # AlreadyExists and Aborted both correspond to HTTP 409, but Aborted does not mean that a guard failed.
        if isinstance(error, google_errors.Aborted):
            raise StoreUnavailable(f"Firestore was too busy: {error}") from error
        raise AlreadyExists(str(error)) from error
    except (google_errors.FailedPrecondition, google_errors.NotFound) as error:
        raise Conflict(str(error)) from error
    except google_errors.InvalidArgument as error:
        raise NotStorable(str(error)) from error
    except (google_errors.GoogleAPICallError, google_errors.RetryError) as error:
        raise StoreUnavailable(f"Firestore did not answer: {error}") from error


@contextmanager
def _translate_read_errors() -> Iterator[None]:
    """Translate the client's errors during a read into those of the port.

    A read writes nothing, so it cannot lose a race.
    """
    try:
        with _translate_errors():
            yield
    except (Conflict, NotStorable) as error:
        # For example, an index or the database is missing. Firestore's own message says what to do.
        raise StoreError(str(error)) from error
