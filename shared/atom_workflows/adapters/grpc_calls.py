"""Call Google's gRPC services through their clients' channels, with plain protocol messages.

The client provides the connection, the credentials and the emulator's address. Everything else that it adds to a call
(a retry, a deadline, headers and wrapper messages) costs as much as the call itself, so this module prepares these
parts once and uses no wrapper messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from google.api_core import grpc_helpers
from google.api_core.gapic_v1 import client_info, routing_header
from google.api_core.retry import Retry

Call: TypeAlias = Callable[..., Any]
"""Accepts the request and, as a keyword argument, the field used for routing. Raises google.api_core's errors."""

# google.api_core has no types for these.
_wrap_errors: Final[Any] = grpc_helpers.wrap_errors
_route: Final[Any] = routing_header.to_grpc_metadata
_ClientInfo: Final[Any] = client_info.ClientInfo


def message_class(wrapper: Any) -> Any:
    """Return the protocol message class wrapped by a client library's class."""
    return type(wrapper.pb(wrapper()))


class ServiceCalls:
    """Prepares calls to one service, such as `google.firestore.v1.Firestore`, on its client's channel."""

    def __init__(
        self, service: str, transport: Any, *, call_timeout_s: float, metadata: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._service = service
        self._channel = transport.grpc_channel
        # Read streams on the calling thread: by default, gRPC starts a thread for each stream, which costs more than
        # the call. This is a channel option, but the client has already created the channel.
        self._channel._single_threaded_unary_stream = True  # noqa: SLF001 (the option can be set only like this)
        self._call_timeout_s = call_timeout_s
        self._metadata = (_ClientInfo().to_grpc_metadata(), *metadata)

    def unary(self, method: str, answer: Any, retry: Retry) -> Call:
        """Prepare a method that returns one message of the class `answer`."""
        stub = self._channel.unary_unary(
            f"/{self._service}/{method}", request_serializer=_serialize, response_deserializer=answer.FromString
        )
        return self._bound(retry(_wrap_errors(stub)))

    def stream(self, method: str, answer: Any, retry: Retry) -> Call:
        """Prepare a method that returns a stream of messages.

        The method reads all of them before it returns.
        """
        stub = self._channel.unary_stream(
            f"/{self._service}/{method}", request_serializer=_serialize, response_deserializer=answer.FromString
        )
        read = _wrap_errors(stub)
        return self._bound(retry(lambda request, **bounds: list(read(request, **bounds))))

    def both_ways(self, method: str, answer: Any) -> Call:
        """Prepare a method that takes and returns streams of messages."""
        stub = self._channel.stream_stream(
            f"/{self._service}/{method}", request_serializer=_serialize, response_deserializer=answer.FromString
        )
        stub._prefetch_first_result_ = False
        return self._bound(_wrap_errors(stub))

    def _bound(self, call: Call) -> Call:
        def call_bounded(request: Any, **routed_by: str) -> Any:
            metadata = (*self._metadata, _route(routed_by))
            return call(request, timeout=self._call_timeout_s, metadata=metadata)

        return call_bounded


def _serialize(request: Any) -> bytes:
    return bytes(request.SerializeToString())
