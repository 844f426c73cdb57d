"""A relay in front of a Firestore, for the streams of listeners: it can cut them, and hold up new ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Self

import grpc

_MOST_STREAMS: Final = 20
_PASSED_ON: Final = ("authorization", "google-cloud-resource-prefix")


class Relay(grpc.GenericRpcHandler):
    """Passes streams on to a server. Clients find it at `address`."""

    def __init__(self, server: grpc.Channel) -> None:
        self.address = ""
        self.opened = 0
        self._server = server
        self._is_up = True
        self._lock = threading.Lock()
        self._calls: set[Any] = set()

    @classmethod
    @contextmanager
    def to(cls, address: str) -> Iterator[Self]:
        """Run a relay to the server at an address."""
        with grpc.insecure_channel(address) as channel:
            relay = cls(channel)
            server = grpc.server(ThreadPoolExecutor(_MOST_STREAMS), handlers=[relay])
            relay.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            server.start()
            yield relay
            server.stop(0).wait()

    def cut(self) -> None:
        """End every stream as a broken connection does, and refuse new ones until `mend`."""
        with self._lock:
            self._is_up = False
            for call in tuple(self._calls):
                call.cancel()

    def mend(self) -> None:
        """Let new streams pass."""
        self._is_up = True

    def service(self, handler_call_details: Any) -> Any:
        """Pass this stream on."""
        method = handler_call_details.method

        def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            headers = tuple(one for one in context.invocation_metadata() if one[0] in _PASSED_ON)
            stub: Any = self._server.stream_stream(method)
            with self._lock:
                self.opened += 1
                call: Any = stub(requests, metadata=headers) if self._is_up else None
                self._calls.add(call)
                self._calls.discard(None)
            if call is not None:
                context.add_callback(call.cancel)
                try:
                    yield from call
                except grpc.RpcError:
                    pass
                finally:
                    self._calls.discard(call)
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

        return grpc.stream_stream_rpc_method_handler(stream)
