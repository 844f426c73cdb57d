"""The gRPC server in front of the service, on loopback only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeAlias

import grpc

from atom_emulator.firestore import messages as pb
from atom_emulator.firestore.counters import Counters
from atom_emulator.firestore.errors import FirestoreError, ResourceExhausted, Unavailable
from atom_emulator.firestore.history import History
from atom_emulator.firestore.listen_stream import ListenStream
from atom_emulator.firestore.service import Service
from atom_emulator.firestore.statuses import status_of
from atom_emulator.loopback_owner import is_same_user

MAX_REQUEST_BYTES: Final = 10 << 20

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)

# One worker: no method but Listen ever waits, and under the interpreter lock more threads would only add CPU time to
# each call. Each listener has a thread of its own, which waits until there is something to send.
_WORKERS: Final = 1
MOST_LISTENERS: Final = 500
_REFUSING: Final = 8
"""Spare threads for refusing further listeners."""

Method: TypeAlias = Callable[[Any], Any]


class FirestoreServer:
    """A running server, which listens on 127.0.0.1 at `port`.

    In addition to the service, it answers `/atom.emulator/Counters` with JSON bytes, and `/atom.emulator/Reset` sets
    the counters to zero. Both accept an empty request. With `same_user`, calls from other users' processes are refused.
    With `history`, the documents are kept there. Listeners beyond `most_listeners` streams are refused.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        same_user: bool = False,
        history: History | None = None,
        most_listeners: int = MOST_LISTENERS,
    ) -> None:
        self._same_user = same_user
        self._most_listeners = most_listeners
        self.counters = Counters()
        self.service = Service(self.counters, history=history)
        self._streams: set[ListenStream] = set()
        self._listening = ThreadPoolExecutor(most_listeners + _REFUSING, "listener")
        self._server = grpc.server(ThreadPoolExecutor(_WORKERS, "firestore"), options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("google.firestore.v1.Firestore", self._methods()),
                grpc.method_handlers_generic_handler("atom.emulator", self._side_door()),
            )
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def listeners(self) -> int:
        """The number of streams with an active listener."""
        return len(self._streams)

    def stop(self, grace: float = 0.2) -> None:
        """Stop listening, and return once everything is closed.

        Calls in progress have `grace` seconds to finish. Listeners are asked to connect again.
        """
        for stream in tuple(self._streams):
            stream.end(Unavailable("this Firestore is shutting down"))
        self._server.stop(grace).wait()
        self._listening.shutdown(wait=False)

    def _methods(self) -> dict[str, Any]:
        one = self.service
        return {
            "BatchGetDocuments": self._streaming(one.batch_get_documents, pb.BatchGetDocumentsRequest),
            "BatchWrite": self._unary(one.batch_write, pb.BatchWriteRequest),
            "BeginTransaction": self._unary(one.begin_transaction, pb.BeginTransactionRequest),
            "Commit": self._unary(one.commit, pb.CommitRequest),
            "CreateDocument": self._unary(one.create_document, pb.CreateDocumentRequest),
            "DeleteDocument": self._unary(one.delete_document, pb.DeleteDocumentRequest),
            "GetDocument": self._unary(one.get_document, pb.GetDocumentRequest),
            "ListCollectionIds": self._unary(one.list_collection_ids, pb.ListCollectionIdsRequest),
            "Listen": self._listen(),
            "ListDocuments": self._unary(one.list_documents, pb.ListDocumentsRequest),
            "Rollback": self._unary(one.rollback, pb.RollbackRequest),
            "RunAggregationQuery": self._streaming(one.run_aggregation_query, pb.RunAggregationQueryRequest),
            "RunQuery": self._streaming(one.run_query, pb.RunQueryRequest),
            "UpdateDocument": self._unary(one.update_document, pb.UpdateDocumentRequest),
        }

    def _unary(self, method: Method, request: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._wrap(method), request.FromString, _serialize)

    def _streaming(self, method: Method, request: Any) -> Any:
        call = self._wrap(method)

        def stream(message: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            return iter(call(message, context))

        return grpc.unary_stream_rpc_method_handler(stream, request.FromString, _serialize)

    def _listen(self) -> Any:
        def listen(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            self._admit("Listen", context)
            stream = self.service.listen()
            self._streams.add(stream)
            try:
                if len(self._streams) > self._most_listeners:
                    raise ResourceExhausted(f"this Firestore serves up to {self._most_listeners} listeners at a time")
                context.add_callback(stream.end)
                threading.Thread(target=_pass_on, args=(requests, stream), name="listen requests", daemon=True).start()
                yield from stream.responses()
            except FirestoreError as error:
                self.counters.count_refusal("Listen")
                context.abort(status_of(error), str(error))
            finally:
                self._streams.discard(stream)

        # gRPC runs a method in the pool that it finds here, instead of the server's.
        listen.experimental_thread_pool = self._listening  # type: ignore[attr-defined] # functions have no such attribute
        return grpc.stream_stream_rpc_method_handler(listen, pb.ListenRequest.FromString, _serialize)

    def _wrap(self, method: Method) -> Callable[[Any, grpc.ServicerContext], Any]:
        """Wrap a method to count its calls and report errors as statuses."""
        name = "".join(word.capitalize() for word in method.__name__.split("_"))

        def call(message: Any, context: grpc.ServicerContext) -> Any:
            self._admit(name, context)
            try:
                return method(message)
            except FirestoreError as error:
                self.counters.count_refusal(name)
                context.abort(status_of(error), str(error))

        return call

    def _admit(self, method: str, context: grpc.ServicerContext) -> None:
        """Count a call, or abort it if it is not allowed."""
        if self._same_user and not is_same_user(context.peer(), connected_to=self.port):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "this Firestore serves only the user who started it")
        self.counters.count_call(method)

    def _side_door(self) -> dict[str, Any]:
        def counters(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            return self.counters.as_json()

        def reset(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            self.counters.reset()
            return self.counters.as_json()

        return {
            "Counters": grpc.unary_unary_rpc_method_handler(counters),
            "Reset": grpc.unary_unary_rpc_method_handler(reset),
        }


def _pass_on(requests: Iterator[Any], stream: ListenStream) -> None:
    """Pass on a listener's requests, then end its stream."""
    with suppress(grpc.RpcError):  # the client has gone
        for request in requests:
            stream.request(request)
    stream.end()


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())
