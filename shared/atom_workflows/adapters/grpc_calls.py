"""Methods of Google's services, called on their own client's channel in the protocol's own messages.

The client has the connection, the credentials and the way to an emulator. What it puts around each call (a retry, a
deadline and headers that are made each time, and wrapped messages) costs as much as the call: here it is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from google.api_core import grpc_helpers
from google.api_core.gapic_v1 import client_info, routing_header
from google.api_core.retry import Retry

Call: TypeAlias = Callable[..., Any]
"""Takes the request, and by name the field of it by which the service routes it; raises google.api_core's errors."""

# These have no types.
_wrap_errors: Final[Any] = grpc_helpers.wrap_errors
_route: Final[Any] = routing_header.to_grpc_metadata
_ClientInfo: Final[Any] = client_info.ClientInfo


def message_class(wrapper: Any) -> Any:
    """Return the protocol's message class under the client package's own."""
    return type(wrapper.pb(wrapper()))


class ServiceCalls:
    """The calls of one service, such as `google.firestore.v1.Firestore`, by the channel of its client's transport."""

    def __init__(
        self, service: str, transport: Any, *, call_timeout_s: float, metadata: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._service = service
        self._channel = transport.grpc_channel
        # A stream is read by the thread that asks for it: otherwise each one starts a thread, which costs more than the
        # call. The option for it is the channel's, and that is made by the client.
        self._channel._single_threaded_unary_stream = True  # noqa: SLF001 - see above
        self._call_timeout_s = call_timeout_s
        self._metadata = (_ClientInfo().to_grpc_metadata(), *metadata)

    def unary(self, method: str, answer: Any, retry: Retry) -> Call:
        """Prepare a method that answers with one message of the class `answer`."""
        stub = self._channel.unary_unary(
            f"/{self._service}/{method}", request_serializer=_serialize, response_deserializer=answer.FromString
        )
        return self._bound(retry(_wrap_errors(stub)))

    def stream(self, method: str, answer: Any, retry: Retry) -> Call:
        """Prepare a method that answers with any number of messages.

        All of them are read before the call returns.
        """
        stub = self._channel.unary_stream(
            f"/{self._service}/{method}", request_serializer=_serialize, response_deserializer=answer.FromString
        )
        read = _wrap_errors(stub)
        return self._bound(retry(lambda request, **bounds: list(read(request, **bounds))))

    def _bound(self, call: Call) -> Call:
        def call_bounded(request: Any, **routed_by: str) -> Any:
            metadata = (*self._metadata, _route(routed_by))
            return call(request, timeout=self._call_timeout_s, metadata=metadata)

        return call_bounded


def _serialize(request: Any) -> bytes:
    return bytes(request.SerializeToString())
