"""The Store port on a connection that is lost amid an answer: the whole result, or an outage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
import pytest

from atom_emulator.firestore import messages
from atom_workflows.adapters.firestore.store import FirestoreStore
from atom_workflows.errors import StoreUnavailable
from atom_workflows.ports import Create, Query
from contract.backends import firestore_at

STREAMING: Final = ("RunQuery", "RunAggregationQuery", "BatchGetDocuments")
PATHS: Final = [f"runs/r/steps/{name}" for name in "abcdefg"]

Read: TypeAlias = Callable[[FirestoreStore], object]


def _paths(query: Query) -> Read:
    return lambda store: [document.path for document in store.query(query)]


READS: Final[dict[str, tuple[Read, object]]] = {
    "plain": (_paths(Query(collection="runs/r/steps")), PATHS),
    "equality": (_paths(Query(collection="runs/r/steps", where=[("odd", "==", 1)])), PATHS[1::2]),
    "in": (_paths(Query(collection="runs/r/steps", where=[("odd", "in", [0, 1])], limit=6)), PATHS[:6]),
    "range": (_paths(Query(collection="runs/r/steps", where=[("n", ">", 0)])), PATHS[1:]),
    "ordered": (_paths(Query(collection="runs/r/steps", order_by=[("n", "descending")], limit=5)), PATHS[:1:-1]),
    "page": (_paths(Query(collection="runs/r/steps", after=(PATHS[0],), limit=4)), PATHS[1:5]),
    "group": (
        _paths(
            Query(
                collection="steps",
                group=True,
                where=[("odd", "==", 0), ("n", "<=", 5)],
                order_by=[("n", "ascending")],
                limit=2,
            )
        ),
        PATHS[0:3:2],
    ),
    "nothing": (_paths(Query(collection="runs/r/steps", where=[("odd", "==", 2)])), []),
    "count": (lambda store: store.count(Query(collection="runs/r/steps")), len(PATHS)),
    "get": (lambda store: [one.path for one in store.get(PATHS) if one is not None], PATHS),
}
"""Reads, each with what it finds."""


@dataclass(slots=True)
class Cutting(grpc.GenericRpcHandler):
    """Passes calls on to a server, and ends streamed answers in the middle.

    `asked` counts the calls for such an answer, `last` is the last request.
    """

    server: grpc.Channel
    asked: int = 0
    last: bytes = b""
    _cuts: int = 0
    _after: int = 0

    def cut(self, count: int, *, after: int) -> None:
        """Cut so many of the next answers, each after so many messages."""
        self._cuts, self._after, self.asked = count, after, 0

    def service(self, handler_call_details: Any) -> Any:
        """Pass this call on, whatever it is."""
        method = handler_call_details.method
        if method.rpartition("/")[2] not in STREAMING:
            call: Any = self.server.unary_unary(method)
            return grpc.unary_unary_rpc_method_handler(lambda request, _context: call(request))
        return grpc.unary_stream_rpc_method_handler(lambda request, context: self._stream(method, request, context))

    def _stream(self, method: str, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self.asked += 1
        self.last = request
        call: Any = self.server.unary_stream(method)
        answers: list[bytes] = list(call(request))
        if not self._cuts:
            yield from answers
            return
        self._cuts -= 1
        yield from answers[: self._after]
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """The adapter behind the handler that cuts, with all the time it needs and with hardly any."""

    handler: Cutting
    patient: FirestoreStore
    hasty: FirestoreStore


ORDERS: Final = {
    "plain": ["+__name__"],
    "equality": ["+__name__"],
    "range": ["+n", "+__name__"],
    "ordered": ["-n", "-__name__"],
    "page": ["+__name__"],
    "group": ["+n", "+__name__"],
}
"""Queries of those reads, each with the order that it is asked for in."""


@pytest.fixture(scope="module")
def through(firestore_address: str) -> Iterator[Through]:
    """Yield the way to the embedded server, which holds some documents."""
    channel = grpc.insecure_channel(firestore_address)
    handler = Cutting(channel)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patient = firestore_at(address, patch)
        hasty = firestore_at(address, patch, total_timeout_s=0.01)
    for store in (patient, hasty):
        store.commit([Create(path=path, fields={"n": n, "odd": n % 2}) for n, path in enumerate(PATHS)])
    yield Through(handler=handler, patient=patient, hasty=hasty)
    server.stop(0).wait()
    channel.close()


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("read", READS)
def test_an_answer_that_is_cut_is_asked_for_again(through: Through, read: str, after: int) -> None:
    """A result is complete though an answer broke off."""
    call, expected = READS[read]
    through.handler.cut(1, after=after)
    assert call(through.patient) == expected
    assert through.handler.asked == 2


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("read", READS)
def test_an_answer_that_is_always_cut_is_an_outage(through: Through, read: str, after: int) -> None:
    """An answer that always breaks off raises StoreUnavailable in the end."""
    through.handler.cut(1_000, after=after)
    with pytest.raises(StoreUnavailable, match="Socket closed"):
        READS[read][0](through.hasty)


@pytest.mark.parametrize("read", ORDERS)
def test_every_query_says_its_whole_order(through: Through, read: str) -> None:
    """Every query names the order that the service would add."""
    through.handler.cut(0, after=0)
    READS[read][0](through.patient)
    asked = messages.RunQueryRequest.FromString(through.handler.last).structured_query
    signs = {asked.ASCENDING: "+", asked.DESCENDING: "-"}
    assert [f"{signs[order.direction]}{order.field.field_path}" for order in asked.order_by] == ORDERS[read]
