"""The Store port on google-cloud-firestore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from atom_workflows.errors import AlreadyExists, Conflict, StoreError, StoreUnavailable
from atom_workflows.ports import Create, Delete, Document, Query, Update, Write, WriteResult

CALL_TIMEOUT_S: Final = 10.0
"""One attempt at a call."""

TOTAL_TIMEOUT_S: Final = 30.0
"""All attempts together: a `timeout=` alone does not bound the client's own retries."""

_DIRECTIONS: Final = {
    "ascending": firestore.Query.ASCENDING,
    "descending": firestore.Query.DESCENDING,
}


class FirestoreStore:
    """Documents in one Firestore database; the client is safe to share between threads.

    What Firestore itself calls an invalid argument raises `StoreError`.
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
        retry = Retry(
            predicate=if_exception_type(google_errors.ServiceUnavailable, google_errors.ResourceExhausted),
            initial=0.1,
            maximum=2.0,
            timeout=total_timeout_s,
        )
        self._bounds: Mapping[str, Any] = {"retry": retry, "timeout": call_timeout_s}

    def get(self, paths: Sequence[str]) -> list[Document | None]:
        """See `ports.Store.get`."""
        if not paths:
            return []
        references = [self._client.document(path) for path in dict.fromkeys(paths)]
        with _translated():
            snapshots = list(self._client.get_all(references, **self._bounds))
        found = {snapshot.reference.path: self._document(snapshot) for snapshot in snapshots if snapshot.exists}
        return [found.get(path) for path in paths]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        if len({write.path for write in writes}) != len(writes):
            raise StoreError("a commit names a document twice")
        batch = self._client.batch()
        for write in writes:
            self._add(batch, write)
        with _translated():
            results = batch.commit(**self._bounds)
        return [_result(write, result) for write, result in zip(writes, results, strict=True)]

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        with _translated():
            return [self._document(snapshot) for snapshot in self._query(query).stream(**self._bounds)]

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        with _translated():
            counted: Any = self._query(query).count().get(**self._bounds)
        return int(counted[0][0].value)

    def _add(self, batch: firestore.WriteBatch, write: Write) -> None:
        reference = self._client.document(write.path)
        if isinstance(write, Create):
            batch.create(reference, dict(write.fields))
        elif isinstance(write, Delete):
            batch.delete(reference)
        else:
            guard = write.guard
            option = None if guard is None else self._client.write_option(last_update_time=guard)
            increments = {name: firestore.Increment(by) for name, by in write.increments.items()}
            batch.update(reference, {**write.fields, **increments}, option=option)

    def _query(self, query: Query) -> Any:
        source: Any = self._client.collection_group if query.group else self._client.collection
        built = source(query.collection)
        for name, operator, value in query.where:
            built = built.where(filter=FieldFilter(name, operator, value))
        for name, direction in query.order_by:
            built = built.order_by(name, direction=_DIRECTIONS[direction])
        if query.after is not None:
            built = self._behind(built, query)
        return built if query.limit is None else built.limit(query.limit)

    def _behind(self, built: Any, query: Query) -> Any:
        last_direction = query.order_by[-1][1] if query.order_by else "ascending"
        built = built.order_by("__name__", direction=_DIRECTIONS[last_direction])
        *values, path = query.after or ()
        cursor = dict(zip((name for name, _ in query.order_by), values, strict=True))
        return built.start_after({**cursor, "__name__": self._client.document(path)})

    def _document(self, snapshot: Any) -> Document:
        return Document(path=snapshot.reference.path, fields=snapshot.to_dict() or {}, version=snapshot.update_time)


def _result(write: Write, result: Any) -> WriteResult:
    """Increments are answered in the order of their field names."""
    names = sorted(write.increments) if isinstance(write, Update) else []
    values = [transform.integer_value for transform in result.transform_results]
    return WriteResult(version=result.update_time, increments=dict(zip(names, values, strict=True)))


@contextmanager
def _translated() -> Iterator[None]:
    """The client's errors as the port's."""
    try:
        yield
    except google_errors.Conflict as error:
        # AlreadyExists and Aborted both answer 409.
        if isinstance(error, google_errors.Aborted):
            raise Conflict(str(error)) from error
        raise AlreadyExists(str(error)) from error
    except (google_errors.FailedPrecondition, google_errors.NotFound) as error:
        raise Conflict(str(error)) from error
    except google_errors.InvalidArgument as error:
        raise StoreError(str(error)) from error
    except (google_errors.GoogleAPICallError, google_errors.RetryError) as error:
        raise StoreUnavailable(f"Firestore did not answer: {error}") from error
