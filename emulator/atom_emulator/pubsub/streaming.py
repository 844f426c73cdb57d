"""StreamingPull: deliveries in one direction, acknowledgements and flow control in the other, over one stream."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from atom_emulator.pubsub.refusals import Code, RefusalError, invalid
from atom_emulator.pubsub.wire import encode_received, message_type

if TYPE_CHECKING:
    from atom_emulator.pubsub.driver import Driver
    from atom_emulator.pubsub.messages import Delivery
    from atom_emulator.pubsub.rpc import Context

MAX_BATCH: Final = 200
"""The maximum number of messages in one response."""

_MIN_STREAM_DEADLINE_S: Final = 10
_MAX_STREAM_DEADLINE_S: Final = 600
_Response: Final = message_type("StreamingPullResponse")


class StreamingPull:
    """The StreamingPull method, which serves every client's stream."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def serve(self, requests: Any, context: Context) -> None:
        """Serve one stream until the client ends it."""
        first = await anext(aiter(requests), None)
        if first is None:
            return
        stream = _Stream(self._driver, first)
        sending = asyncio.ensure_future(stream.send(context))
        receiving = asyncio.ensure_future(stream.receive(requests))
        try:
            done, _ = await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _end(sending)
            await _end(receiving)


class _Stream:
    """One open stream. It sends nothing while `limit` of the subscription's messages are leased."""

    def __init__(self, driver: Driver, first: Any) -> None:
        seconds = first.stream_ack_deadline_seconds
        if not _MIN_STREAM_DEADLINE_S <= seconds <= _MAX_STREAM_DEADLINE_S:
            raise invalid(f"stream_ack_deadline_seconds is {seconds}; it must be 10 to 600")
        self._driver = driver
        self._name = first.subscription
        if driver.broker.subscription(self._name).settings.push_endpoint:
            raise RefusalError(Code.FAILED_PRECONDITION, "messages of a push subscription cannot be pulled")
        self._deadline_s = float(seconds)
        self._limit = first.max_outstanding_messages if first.max_outstanding_messages > 0 else None

    async def send(self, context: Context) -> None:
        """Send the messages that become ready."""
        with self._driver.watch(self._name) as ready:
            ready.set()
            while True:
                await ready.wait()
                ready.clear()
                while deliveries := self._lease():
                    settings = self._driver.broker.subscription(self._name).settings
                    response = _Response(received_messages=encode_received(settings, deliveries))
                    response.subscription_properties.message_ordering_enabled = settings.ordered
                    await context.write(response)

    async def receive(self, requests: Any) -> None:
        """Handle the client's requests."""
        broker = self._driver.broker
        async for request in requests:
            if request.stream_ack_deadline_seconds:
                self._deadline_s = float(request.stream_ack_deadline_seconds)
            if request.ack_ids:
                broker.ack(self._name, request.ack_ids)
            changes = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=False)
            for ack_id, seconds in changes:
                broker.modify_ack_deadline(self._name, (ack_id,), float(seconds), self._driver.now())
            self._driver.deliver_ready()

    def _lease(self) -> list[Delivery]:
        broker = self._driver.broker
        now = self._driver.now()
        room = MAX_BATCH
        if self._limit is not None:
            room = min(room, self._limit - broker.subscription(self._name).backlog.leased)
        deliveries = broker.lease(self._name, now, limit=room)
        for delivery in deliveries:
            broker.modify_ack_deadline(self._name, (delivery.ack_id,), self._deadline_s, now)
        self._driver.deliver_ready()
        return deliveries


async def _end(task: asyncio.Future[None]) -> None:
    task.cancel()
    # The stream has ended, so errors of its other half no longer matter.
    with suppress(asyncio.CancelledError, RefusalError, grpc.aio.BaseError):
        await task
