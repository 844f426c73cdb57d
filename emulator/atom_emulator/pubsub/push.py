"""Push delivery: each message is a POST, and the status code of the answer acknowledges it.

One `Pusher` per push subscription, each with its own connections and its own limit, so that a slow endpoint does not
delay the others. Everything happens in callbacks of the event loop: no task or thread per message.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from atom_emulator.pubsub.http_connection import HttpConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from atom_emulator.pubsub.broker import Broker, Subscription
    from atom_emulator.pubsub.messages import Delivery

DEFAULT_IN_FLIGHT: Final = 16
ACKNOWLEDGING: Final = frozenset({102, 200, 201, 202, 204})
"""The status codes by which an endpoint acknowledges a message; every other answer causes a redelivery."""

_log = logging.getLogger("atom_emulator.pubsub.push")
_QUIET_S: Final = 1.0  # log at most one line a second about a subscription's failures


class Endpoint:
    """The endpoint of a subscription: makes connections and keeps the idle ones."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._idle: list[HttpConnection] = []
        self._closed = False
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
            "User-Agent: atom-emulator\r\nAccept: application/json\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    def build_request(self, body: bytes) -> bytes:
        """Build the complete request that carries this body."""
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    def take_idle(self) -> HttpConnection | None:
        """Take the usable idle connection that was used last, if any."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    async def connect(self) -> HttpConnection:
        """Open a new connection.

        Raises `OSError`.
        """
        loop = asyncio.get_running_loop()

        def make() -> HttpConnection:
            return HttpConnection(self._forget_lost)

        _, connection = await loop.create_connection(make, self._host, self._port, ssl=self._tls)
        return connection

    def give_back(self, connection: HttpConnection) -> None:
        """Keep a connection for the next request, if it can serve one."""
        if connection.reusable and not self._closed:
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close the idle connections, and keep none from now on."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    def _forget_lost(self, connection: HttpConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)


class Pusher:
    """Delivers one subscription's messages to its endpoint, up to `in_flight` at a time.

    `on_done` is called after each delivery has been acknowledged or given back.
    """

    def __init__(
        self,
        broker: Broker,
        subscription: Subscription,
        *,
        now: Callable[[], float],
        on_done: Callable[[], None],
        in_flight: int = DEFAULT_IN_FLIGHT,
    ) -> None:
        self.url = subscription.settings.push_endpoint
        self.endpoint = Endpoint(self.url)
        self._broker = broker
        self._subscription = subscription
        self._now = now
        self._on_done = on_done
        self._limit = in_flight
        self._attempts: set[PushAttempt] = set()
        self._closed = False
        self._quiet_until = 0.0
        self._suppressed = 0

    def pump(self) -> None:
        """Send the messages that are ready, up to the limit."""
        while not self._closed and len(self._attempts) < self._limit:
            deliveries = self._broker.lease(self._subscription.name, self._now())
            if not deliveries:
                return
            delivery = deliveries[0]
            request = self.endpoint.build_request(encode_push(self._subscription, delivery))
            attempt = PushAttempt(self, delivery, request)
            self._attempts.add(attempt)
            attempt.start(max(0.0, delivery.deadline - self._now()))

    def close(self) -> None:
        """Send nothing more and drop what is in flight.

        The leases expire by themselves.
        """
        self._closed = True
        for attempt in self._attempts:
            attempt.abandon()
        self._attempts.clear()
        self.endpoint.close()

    def finish(self, attempt: PushAttempt, status: int | None, problem: str) -> None:
        """Finish a delivery, with an answer or without one.

        `status` is None without an answer.
        """
        self._attempts.discard(attempt)
        name = self._subscription.name
        delivery = attempt.delivery
        if status in ACKNOWLEDGING:
            self._broker.ack(name, (delivery.ack_id,))
            _log.debug("%s: message %s acknowledged with %s", name, delivery.message.id, status)
        else:
            self._broker.nack(name, (delivery.ack_id,), self._now())
            self._log_failure(delivery, f"HTTP {status}" if status else problem)
        self.pump()
        self._on_done()

    def _log_failure(self, delivery: Delivery, problem: str) -> None:
        now = self._now()
        if now < self._quiet_until:
            self._suppressed += 1
            return
        more = f" (and {self._suppressed} more failures before it)" if self._suppressed else ""
        _log.warning(
            "%s: push of message %s to %s failed, delivery %d: %s%s",
            *(self._subscription.name, delivery.message.id, self.url, delivery.attempt, problem, more),
        )
        self._quiet_until = now + _QUIET_S
        self._suppressed = 0


class PushAttempt:
    """One delivery in progress, over an idle connection if there is one, else over a new one.

    If an idle connection turns out to have been closed by the other side before any answer, which happens to
    every keep-alive client, the request is sent once more over a new connection.
    """

    __slots__ = ("_connecting", "_connection", "_pusher", "_request", "_timer", "delivery")

    def __init__(self, pusher: Pusher, delivery: Delivery, request: bytes) -> None:
        self.delivery = delivery
        self._pusher = pusher
        self._request = request
        self._timer: asyncio.TimerHandle | None = None
        self._connection: HttpConnection | None = None
        self._connecting: asyncio.Task[None] | None = None

    def start(self, timeout_s: float) -> None:
        """Send the request.

        The attempt ends with an answer or a failure within `timeout_s`.
        """
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out)
        self._connection = self._pusher.endpoint.take_idle()
        if self._connection is None:
            self._connect()
        else:
            self._connection.post(self._request, self._handle_answer)

    def abandon(self) -> None:
        """Drop the request in any state, without calling back."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort()

    def _connect(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._send_on_new_connection())

    async def _send_on_new_connection(self) -> None:
        try:
            self._connection = await self._pusher.endpoint.connect()
        except OSError as error:
            self._connecting = None
            self._finish(None, f"cannot connect: {error}")
        else:
            self._connecting = None
            self._connection.post(self._request, self._handle_answer)

    def _handle_answer(self, connection: HttpConnection, status: int | None) -> None:
        if status is None and connection.used and not connection.has_received:
            self._connect()
            return
        if status is not None:
            self._pusher.endpoint.give_back(connection)
        self._finish(status, "the connection was closed without an answer")

    def _time_out(self) -> None:
        self.abandon()
        self._finish(None, "no answer within the acknowledgement deadline")

    def _finish(self, status: int | None, problem: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pusher.finish(self, status, problem)


def encode_push(subscription: Subscription, delivery: Delivery) -> bytes:
    """Wrap a message for a push, as JSON."""
    message = delivery.message
    published = format_time(message.publish_time)
    wrapped: dict[str, Any] = {
        "attributes": message.attributes,
        "data": base64.b64encode(message.data).decode("ascii"),
        "messageId": message.id,
        "message_id": message.id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.ordering_key:
        wrapped["orderingKey"] = message.ordering_key
    body: dict[str, Any] = {"message": wrapped, "subscription": subscription.name}
    if subscription.settings.dead_letters is not None:
        body["deliveryAttempt"] = delivery.attempt
    return json.dumps(body, separators=(",", ":")).encode()


def format_time(seconds: float) -> str:
    """Format a time as protobuf's JSON does, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
