"""One stream of a listener: it takes requests to add or remove targets, and sends documents and their changes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from atom_emulator.firestore import messages as pb
from atom_emulator.firestore.codec import encode_record, micros_of, set_stamp, split_name
from atom_emulator.firestore.counters import Counters
from atom_emulator.firestore.database import Database
from atom_emulator.firestore.errors import FirestoreError, InvalidArgument, ResourceExhausted, Unimplemented
from atom_emulator.firestore.listening import (
    Changes,
    DocumentsTarget,
    Listener,
    QueryTarget,
    ResumePoint,
    Target,
    decode_token,
)
from atom_emulator.firestore.request_codec import decode_query, path_in
from atom_emulator.firestore.statuses import status_of

IDLE_S: Final = 30.0
"""After this long without a change, a stream reports that nothing has changed, and sends a newer resume point."""

MOST_TARGETS: Final = 100
"""The maximum number of targets of one stream; each is checked against every commit."""

_MOST_REQUESTS: Final = 1_000
_NO_CHANGE, _ADD, _REMOVE, _CURRENT, _RESET = range(5)
"""The kinds of target changes, by their numbers in the protocol."""


class ListenStream:
    """Responds to the requests of one stream, in the protocol's messages.

    `responses` belongs to one thread; the other methods may be called from any.
    """

    def __init__(self, database: Callable[[str], Database], counters: Counters, *, idle_s: float = IDLE_S) -> None:
        self._find_database = database
        self._counters = counters
        self._idle_s = idle_s
        self._changed = threading.Condition()
        self._requests: deque[Any] = deque()
        self._is_woken = False
        self._has_ended = False
        self._error: FirestoreError | None = None
        self._listener = Listener(self._wake)
        self._name = ""
        self._new: list[int] = []
        self._once: set[int] = set()

    def request(self, message: Any) -> None:
        """Queue a request to add or remove a target."""
        with self._changed:
            self._requests.append(message)
            if len(self._requests) > _MOST_REQUESTS:
                self._requests.clear()
                self._end(ResourceExhausted(f"more than {_MOST_REQUESTS:,} requests are waiting on one stream"))
            self._changed.notify()

    def end(self, error: FirestoreError | None = None) -> None:
        """End the stream, with an error if there is one.

        Only the first call has an effect.
        """
        with self._changed:
            self._end(error)

    def _end(self, error: FirestoreError | None) -> None:
        if not self._has_ended:
            self._has_ended, self._error = True, error
            self._changed.notify()

    def _wake(self) -> None:
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def responses(self) -> Iterator[Any]:
        """Yield responses as they become due, until the stream ends.

        Raises the `FirestoreError` that ended the stream, if any.
        """
        try:
            while (requests := self._wait()) is not None:
                yield from self._answer(requests)
            if self._error is not None:
                raise self._error
        finally:
            if self._name:
                self._find_database(self._name).stop_listening(self._listener)

    def _wait(self) -> list[Any] | None:
        """Return the requests that have arrived, or None if the stream ends.

        Waits for a request or a change, but returns before long if neither comes.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._requests or self._is_woken or self._has_ended, self._idle_s)
            if self._has_ended:
                return None
            self._is_woken = False
            requests = list(self._requests)
            self._requests.clear()
            return requests

    def _answer(self, requests: list[Any]) -> Iterator[Any]:
        for request in requests:
            yield from self._apply(request)
        if self._listener.targets:
            yield from self._look()

    # -- targets ------------------------------------------------------------------------------------

    def _apply(self, request: Any) -> Iterator[Any]:
        split_name(f"{request.database}/documents")
        if self._name not in {"", request.database}:
            raise InvalidArgument(f"this stream listens to {self._name}; open another one for {request.database}")
        self._name = request.database
        match request.WhichOneof("target_change"):
            case "add_target":
                yield from self._add(request.add_target)
            case "remove_target":
                self._database.stop_listening(self._listener, request.remove_target)
                self._once.discard(request.remove_target)
                yield _target_change(_REMOVE, request.remove_target)
            case _:
                raise InvalidArgument("a request to listen must add or remove a target")

    def _add(self, target: Any) -> Iterator[Any]:
        targets = self._listener.targets
        number = target.target_id or max(targets, default=0) + 1
        if number < 0:
            raise InvalidArgument(f"{number} is not a valid target number; it must be positive")
        if number in targets:
            raise InvalidArgument(f"the stream already has a target {number}; remove it first")
        yield _target_change(_ADD, number)
        try:
            if len(targets) >= MOST_TARGETS:
                raise ResourceExhausted(f"a stream may have up to {MOST_TARGETS} targets; open another stream")
            self._database.listen(self._listener, number, self._decode(target), _resume_point(target))
        except FirestoreError as error:
            # The stream goes on with its other targets.
            refusal = _target_change(_REMOVE, number)
            refusal.target_change.cause.code = status_of(error).value[0]
            refusal.target_change.cause.message = str(error)
            yield refusal
            return
        self._new.append(number)
        if target.once:
            self._once.add(number)

    def _decode(self, target: Any) -> Target:
        match target.WhichOneof("target_type"):
            case "query" if target.query.HasField("structured_query"):
                database, parent = split_name(target.query.parent)
                path_in(f"{database}/documents", self._name)
                return QueryTarget(decode_query(parent, target.query.structured_query))
            case "documents":
                return DocumentsTarget(path_in(name, self._name) for name in target.documents.documents)
        raise Unimplemented("a target must be a structured query or documents")

    @property
    def _database(self) -> Database:
        return self._find_database(self._name)

    # -- changes ------------------------------------------------------------------------------------

    def _look(self) -> Iterator[Any]:
        looked, point = self._database.look(self._listener)
        new, self._new = self._new, []
        for number, changes in looked.items():
            if changes.shown or number in new:
                self._counters.count_reads(len(changes.shown))
            yield from self._report(number, changes, point)
            if number in new:
                yield _target_change(_CURRENT, number, point)
        yield _target_change(_NO_CHANGE, None, point)
        for number in sorted(self._once & looked.keys()):
            self._once.remove(number)
            self._database.stop_listening(self._listener, number)
            yield _target_change(_REMOVE, number)

    def _report(self, number: int, changes: Changes, point: ResumePoint) -> Iterator[Any]:
        root = f"{self._name}/documents"
        if changes.is_reset:
            yield _target_change(_RESET, number, point)
        for record in changes.shown:
            response = pb.ListenResponse()
            encode_record(record, root, response.document_change.document)
            response.document_change.target_ids.append(number)
            yield response
        for path in changes.left:
            response = pb.ListenResponse()
            response.document_remove.document = f"{root}/{path}"
            response.document_remove.removed_target_ids.append(number)
            set_stamp(response.document_remove.read_time, point.time)
            yield response
        for path in changes.deleted:
            response = pb.ListenResponse()
            response.document_delete.document = f"{root}/{path}"
            response.document_delete.removed_target_ids.append(number)
            set_stamp(response.document_delete.read_time, point.time)
            yield response


def _resume_point(target: Any) -> ResumePoint | int | None:
    match target.WhichOneof("resume_type"):
        case "resume_token" if target.resume_token:
            return decode_token(target.resume_token)
        case "read_time":
            return micros_of(target.read_time)
    return None


def _target_change(kind: int, number: int | None, point: ResumePoint | None = None) -> Any:
    """Return a change of one target, or of all if unnumbered."""
    response = pb.ListenResponse()
    response.target_change.target_change_type = kind
    if number is not None:
        response.target_change.target_ids.append(number)
    if point is not None:
        response.target_change.resume_token = point.encode()
        set_stamp(response.target_change.read_time, point.time)
    return response
