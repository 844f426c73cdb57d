"""The Firestore service's methods, which turn request messages into response messages without any transport."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from atom_emulator.firestore import messages as pb
from atom_emulator.firestore.codec import decode_fields, encode, encode_record, set_stamp, split_name
from atom_emulator.firestore.counters import Counters
from atom_emulator.firestore.database import Committed, Database
from atom_emulator.firestore.errors import FirestoreError, InvalidArgument, NotFound, Unimplemented
from atom_emulator.firestore.execution import project
from atom_emulator.firestore.history import History
from atom_emulator.firestore.listen_stream import ListenStream
from atom_emulator.firestore.paths import FieldPath
from atom_emulator.firestore.queries import Query
from atom_emulator.firestore.request_codec import (
    decode_aggregation,
    decode_mask,
    decode_precondition,
    decode_query,
    decode_write,
    path_in,
)
from atom_emulator.firestore.statuses import status_of
from atom_emulator.firestore.writes import ABSENT, Outcome, Put, Record, Remove, Write

_PAGE: Final = 300
"""The page size of a listing whose request names none."""


class Service:
    """The databases of all projects; each is created, or read from the history, when it is first named.

    Each method accepts the request message and returns the response, or a list of responses if the service streams
    them. It raises a `FirestoreError` for a refused request. Safe to use from several threads.
    """

    def __init__(
        self,
        counters: Counters,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        history: History | None = None,
    ) -> None:
        self._counters = counters
        self._now = now
        self._history = history
        self._lock = threading.Lock()
        self._databases: dict[str, Database] = {}

    def database(self, name: str) -> Database:
        """Return the database `projects/P/databases/D`."""
        known = self._databases.get(name)
        if known is not None:
            return known
        split_name(name + "/documents")
        with self._lock:
            if name not in self._databases:
                kept = None if self._history is None else self._history.database(name)
                self._databases[name] = Database(self._now, kept)
            return self._databases[name]

    # -- writing ------------------------------------------------------------------------------------

    def commit(self, request: Any) -> Any:
        """Apply all the writes or none."""
        writes = [decode_write(write, request.database) for write in request.writes]
        done = self._commit(request.database, writes, request.transaction)
        response = pb.CommitResponse()
        for outcome in done.outcomes:
            _encode_outcome(outcome, response.write_results.add())
        set_stamp(response.commit_time, done.time)
        return response

    def batch_write(self, request: Any) -> Any:
        """Apply each write separately, and report a status for each."""
        response = pb.BatchWriteResponse()
        for write in request.writes:
            result, status = response.write_results.add(), response.status.add()
            try:
                done = self._commit(request.database, [decode_write(write, request.database)])
            except FirestoreError as error:
                status.code, status.message = status_of(error).value[0], str(error)
            else:
                _encode_outcome(done.outcomes[0], result)
        return response

    def create_document(self, request: Any) -> Any:
        """Create a document, with a generated id if none is given."""
        own = request.document_id or secrets.token_hex(10)
        name = f"{request.parent}/{request.collection_id}/{own}"
        database, path = split_name(name)
        return self._write_one(
            database, Put(path=path, fields=decode_fields(request.document.fields), precondition=ABSENT), request
        )

    def update_document(self, request: Any) -> Any:
        """Replace a document, or only its masked fields."""
        database, path = split_name(request.document.name)
        write = Put(
            path=path,
            fields=decode_fields(request.document.fields),
            mask=decode_mask(request.update_mask) if request.HasField("update_mask") else None,
            precondition=decode_precondition(request.current_document),
        )
        return self._write_one(database, write, request)

    def delete_document(self, request: Any) -> Any:
        """Delete a document."""
        database, path = split_name(request.name)
        precondition = decode_precondition(request.current_document)
        self._commit(database, [Remove(path=path, precondition=precondition)])
        return pb.Empty()

    def _commit(self, database: str, writes: Sequence[Write], transaction: bytes = b"") -> Committed:
        done = self.database(database).commit(writes, transaction or None)
        deleted = [write.path for write in writes if type(write) is Remove]
        written = [write.path for write in writes if type(write) is not Remove]
        self._counters.count_commit(written=written, deleted=deleted)
        return done

    def _write_one(self, database: str, write: Put, request: Any) -> Any:
        self._commit(database, [write])
        (record,), _ = self.database(database).get([write.path])
        if record is None:
            raise NotFound(f"Document was deleted right after the write: {write.path}")
        return _encode_document(record, database, _mask(request))

    # -- transactions -------------------------------------------------------------------------------

    def begin_transaction(self, request: Any) -> Any:
        """Open a transaction."""
        identity = self._begin(request.database, request.options)
        return pb.BeginTransactionResponse(transaction=identity)

    def rollback(self, request: Any) -> Any:
        """Close a transaction without writing."""
        self.database(request.database).rollback(request.transaction)
        return pb.Empty()

    def _begin(self, database: str, options: Any) -> bytes:
        if options.WhichOneof("mode") == "read_only" and options.read_only.HasField("read_time"):
            raise Unimplemented("reading at a given time is not emulated")
        return self.database(database).begin(read_only=options.WhichOneof("mode") == "read_only")

    def _choose_transaction(self, request: Any, database: str) -> tuple[bytes | None, bytes]:
        """Return the transaction to read in, and its id if new.

        The id is empty unless this request opened the transaction.
        """
        match request.WhichOneof("consistency_selector"):
            case "transaction":
                return request.transaction, b""
            case "new_transaction":
                opened = self._begin(database, request.new_transaction)
                return opened, opened
            case "read_time":
                raise Unimplemented("reading at a given time is not emulated")
        return None, b""

    # -- reading ------------------------------------------------------------------------------------

    def get_document(self, request: Any) -> Any:
        """Return one document."""
        database, path = split_name(request.name)
        transaction = request.transaction or None
        (record,), _ = self.database(database).get([path], transaction)
        self._counters.count_reads(1)
        if record is None:
            raise NotFound(f'Document "{request.name}" not found.')
        return _encode_document(record, database, _mask(request))

    def batch_get_documents(self, request: Any) -> list[Any]:
        """Return each document, or report it as missing, in order."""
        names = list(dict.fromkeys(request.documents))
        paths = [path_in(name, request.database) for name in names]
        transaction, opened = self._choose_transaction(request, request.database)
        records, time = self.database(request.database).get(paths, transaction)
        self._counters.count_reads(len(records))
        root, mask = request.database + "/documents", _mask(request)
        responses = [pb.BatchGetDocumentsResponse(transaction=opened)] if opened else []
        for name, record in zip(names, records, strict=True):
            response = pb.BatchGetDocumentsResponse()
            if record is None:
                response.missing = name
            else:
                encode_record(project(record, mask) if mask is not None else record, root, response.found)
            set_stamp(response.read_time, time)
            responses.append(response)
        return responses

    def run_query(self, request: Any) -> list[Any]:
        """Return the matching documents in order, or one response without any."""
        database, parent = split_name(request.parent)
        query = decode_query(parent, request.structured_query)
        transaction, opened = self._choose_transaction(request, database)
        records, time = self.database(database).query(query, transaction)
        self._counters.count_reads(len(records) + query.offset)
        root = database + "/documents"
        responses = [pb.RunQueryResponse(transaction=opened)] if opened else []
        for record in records:
            response = pb.RunQueryResponse()
            encode_record(record, root, response.document)
            set_stamp(response.read_time, time)
            responses.append(response)
        if not records:
            responses.append(pb.RunQueryResponse())
            set_stamp(responses[-1].read_time, time)
        return responses

    def run_aggregation_query(self, request: Any) -> list[Any]:
        """Return one response with every aggregate under its alias."""
        database, parent = split_name(request.parent)
        asked = request.structured_aggregation_query
        query = decode_query(parent, asked.structured_query)
        transaction, opened = self._choose_transaction(request, database)
        wanted = [decode_aggregation(one) for one in asked.aggregations]
        values, seen, time = self.database(database).aggregate(query, wanted, transaction)
        self._counters.count_aggregation(seen)
        response = pb.RunAggregationQueryResponse(transaction=opened)
        for number, (one, value) in enumerate(zip(asked.aggregations, values, strict=True), start=1):
            encode(value, response.result.aggregate_fields[one.alias or f"field_{number}"])
        set_stamp(response.read_time, time)
        return [response]

    def list_documents(self, request: Any) -> Any:
        """Return a page of a collection's documents, sorted by name.

        A page token is the number of documents before it.
        """
        if request.order_by:
            raise Unimplemented("a listing can only be ordered by name")
        database, parent = split_name(request.parent)
        transaction, _ = self._choose_transaction(request, database)
        query = Query(collection=request.collection_id or None, parent=parent)
        records, _ = self.database(database).query(query, transaction)
        rows: dict[str, Record | None] = {record.path: record for record in records}
        if request.show_missing and request.collection_id:
            collection = f"{parent}/{request.collection_id}".lstrip("/")
            rows |= dict.fromkeys(self.database(database).missing_documents(collection))
        page, token = _page(sorted(rows), request)
        self._counters.count_reads(len(page))
        response = pb.ListDocumentsResponse(next_page_token=token)
        root, mask = f"{database}/documents", _mask(request)
        for path in page:
            record, document = rows[path], response.documents.add()
            if record is None:
                document.name = f"{root}/{path}"
            else:
                encode_record(project(record, mask) if mask is not None else record, root, document)
        return response

    def list_collection_ids(self, request: Any) -> Any:
        """Return the collections directly below a document or the root."""
        database, parent = split_name(request.parent)
        page, token = _page(self.database(database).collection_ids(parent), request)
        self._counters.count_reads(1)
        return pb.ListCollectionIdsResponse(collection_ids=page, next_page_token=token)

    # -- listening ----------------------------------------------------------------------------------

    def listen(self) -> ListenStream:
        """Return a new stream of a listener; see `ListenStream`."""
        return ListenStream(self.database, self._counters)


def _encode_outcome(outcome: Outcome, into: Any) -> None:
    if outcome.updated is not None:
        set_stamp(into.update_time, outcome.updated)
    for value in outcome.transformed:
        encode(value, into.transform_results.add())


def _mask(request: Any) -> tuple[FieldPath, ...] | None:
    return decode_mask(request.mask) if request.HasField("mask") else None


def _encode_document(record: Record, database: str, mask: tuple[FieldPath, ...] | None) -> Any:
    document = pb.Document()
    encode_record(project(record, mask) if mask is not None else record, database + "/documents", document)
    return document


def _page(rows: list[str], request: Any) -> tuple[list[str], str]:
    """Return the requested rows and the next page's token.

    The token is empty after the last page.
    """
    try:
        start = int(request.page_token or 0)
    except ValueError:
        raise InvalidArgument(f"{request.page_token!r} is not a page token") from None
    stop = start + (request.page_size or _PAGE)
    return rows[start:stop], str(stop) if stop < len(rows) else ""
