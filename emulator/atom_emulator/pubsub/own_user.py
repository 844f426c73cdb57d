"""Refuse the calls of other users' processes, for a platform on which jobs really run (Linux only)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from atom_emulator.loopback_owner import is_same_user

REASON: Final = "this Pub/Sub serves only the user who started it"


class OwnUser(grpc.aio.ServerInterceptor):
    """Answers PERMISSION_DENIED to a call from another user's process. `port` is the server's, once it listens."""

    def __init__(self) -> None:
        self.port = 0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Return the handler of a call, which first checks the caller."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        is_stream = handler.request_streaming
        wrap = grpc.stream_stream_rpc_method_handler if is_stream else grpc.unary_unary_rpc_method_handler
        behavior = handler.stream_stream if is_stream else handler.unary_unary

        async def call(message: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            if not is_same_user(context.peer(), connected_to=self.port):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, REASON)
            return await behavior(message, context)

        return wrap(call, handler.request_deserializer, handler.response_serializer)
