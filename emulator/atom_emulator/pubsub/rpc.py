"""Turn plain functions into gRPC methods that count their calls and report refusals as statuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio

from atom_emulator.pubsub.refusals import RefusalError, invalid, unimplemented
from atom_emulator.pubsub.wire import message_type

if TYPE_CHECKING:
    from collections import Counter

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Function: TypeAlias = Callable[[Any], Any]
Coroutine: TypeAlias = Callable[[Any, Context], Awaitable[Any]]

_DEFAULT_PAGE: Final = 100


class Methods:
    """The methods of one service, by the names under which clients call them."""

    def __init__(self, service: str, calls: Counter[str]) -> None:
        self._service = service
        self._calls = calls
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    @property
    def generic_handler(self) -> Any:
        """The handler that a gRPC server accepts."""
        return grpc.method_handlers_generic_handler(self._service, self._handlers)

    def function(self, name: str, request: str, function: Function) -> None:
        """Serve a method with a function that answers without waiting."""

        async def call(message: Any, _context: Context) -> Any:
            return function(message)

        self.coroutine(name, request, call)

    def coroutine(self, name: str, request: str, coroutine: Coroutine) -> None:
        """Serve a method with a coroutine that may wait."""
        label = f"{self._service.rpartition('.')[2]}/{name}"

        async def call(message: Any, context: Context) -> Any:
            self._calls[label] += 1
            try:
                return await coroutine(message, context)
            except RefusalError as error:
                await refuse(context, error)

        self._handlers[name] = grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=message_type(request).FromString, response_serializer=_serialize
        )

    def stream(self, name: str, request: str, behavior: Callable[[Any, Context], Awaitable[None]]) -> None:
        """Serve a method that streams in both directions."""
        label = f"{self._service.rpartition('.')[2]}/{name}"

        async def call(messages: Any, context: Context) -> None:
            self._calls[label] += 1
            try:
                await behavior(messages, context)
            except RefusalError as error:
                await refuse(context, error)

        self._handlers[name] = grpc.stream_stream_rpc_method_handler(
            call,
            request_deserializer=message_type(request).FromString,
            response_serializer=_serialize,
        )

    def refuse_unimplemented(self, names: Iterable[str]) -> None:
        """Answer UNIMPLEMENTED to other methods of the real service, naming the method."""
        for name in names:
            self._handlers[name] = grpc.unary_unary_rpc_method_handler(_make_refusal(name))


def _make_refusal(name: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def call(_message: bytes, context: Context) -> bytes:
        await refuse(context, unimplemented(name))

    return call


async def refuse(context: Context, error: RefusalError) -> NoReturn:
    """End the call with the refusal's status."""
    await context.abort(grpc.StatusCode[error.code], error.reason)
    raise AssertionError from error  # abort always raises; the type checker cannot know


def page(names: Sequence[str], request: Any) -> tuple[list[str], str]:
    """Return the names on a List request's page, and the next page token."""
    size = request.page_size or _DEFAULT_PAGE
    if size < 0:
        raise invalid("page_size is negative")
    rest = sorted(name for name in names if name > request.page_token)
    return rest[:size], rest[size - 1] if len(rest) > size else ""


def merge_masked(stored: Any, update: Any, mask: Any, *, fixed: Mapping[str, str]) -> Any:
    """Return a copy of a resource with the masked fields updated.

    `fixed` maps each field that cannot be changed to the reason.
    """
    if not mask.paths:
        raise invalid("update_mask names no field")
    result = type(stored)()
    result.CopyFrom(stored)
    for path in mask.paths:
        name = path.partition(".")[0]
        if name in fixed:
            raise invalid(f"update_mask: {path} {fixed[name]}")
        if name not in stored.DESCRIPTOR.fields_by_name:
            raise invalid(f"update_mask: there is no field {path}")
    mask.MergeMessage(update, result, replace_message_field=True, replace_repeated_field=True)
    return result


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())
