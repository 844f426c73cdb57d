"""A network that fails at random: TCP connections are refused, cut, delayed or held up.

It does not interpret what it carries, so it works for the embedded servers and Google's emulators.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, cast

from chaos.tally import Fault, Tally

LONGEST_DELAY_S: Final = 0.3
ARRIVES: Final = 0.5
STALL_S: Final = (2.5, 5.0)
"""Longer than the hasty functions' timeouts for a call of Firestore, Pub/Sub or a job's status."""

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that ends a connection with a reset instead of a farewell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How likely it is that a connection is refused, and that one piece of what it carries is cut, held up or late."""

    refused: float
    cut: float
    stalled: float
    delayed: float


@dataclass(slots=True, kw_only=True)
class Weather:
    """Decides what goes wrong at one place, and counts it. All is calm until it is `stormy`."""

    where: str
    odds: Odds
    dice: random.Random
    tally: Tally
    stormy: bool = False

    def strikes(self, fault: Fault) -> bool:
        """Return True if the fault strikes now, and count it."""
        odds = {
            Fault.REFUSED: self.odds.refused,
            Fault.CUT: self.odds.cut,
            Fault.STALLED: self.odds.stalled,
            Fault.DELAYED: self.odds.delayed,
        }
        struck = self.stormy and self.dice.random() < odds[fault]
        if struck:
            self.tally.add(fault, self.where)
        return struck

    def delay(self) -> float:
        """Return the seconds by which a piece is late."""
        if self.strikes(Fault.STALLED):
            return self.dice.uniform(*STALL_S)
        return self.dice.uniform(0, LONGEST_DELAY_S) if self.strikes(Fault.DELAYED) else 0.0

    def still_arrives(self) -> bool:
        """Return True if a cut connection's last piece still arrives."""
        return self.dice.random() < ARRIVES


class Listener(Protocol):
    """Receives what a connection carries; `link` identifies the connection."""

    def asked(self, link: int, data: bytes) -> None:
        """Note what the client sent."""

    def answered(self, link: int, data: bytes) -> None:
        """Note what was sent on to the client, whose connection stands."""

    def closed(self, link: int) -> None:
        """Note that the connection is gone."""


class Network:
    """The thread that carries everything; leaving the `with` block cuts every connection."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def proxy(
        self, name: str, target: Callable[[], str], weather: Weather, *, listener: Listener | None = None
    ) -> Proxy:
        """Start a proxy that listens.

        `target` returns host:port for each connection.
        """
        proxy = Proxy(name, target, weather, listener)
        self._run(proxy.listen())
        self._proxies.append(proxy)
        return proxy

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _close(self) -> None:
        for proxy in self._proxies:
            proxy.close()
        await asyncio.sleep(0)  # What was just closed says so once more.


class Proxy:
    """One server's network."""

    def __init__(
        self, name: str, target: Callable[[], str], weather: Weather, listener: Listener | None = None
    ) -> None:
        self.name = name
        self.weather = weather
        self.listener = listener
        self.address = ""
        self._target = target
        self._links: set[Link] = set()
        self._made = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Take a port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self._new_link()), "127.0.0.1", 0, backlog=1024)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Stop listening and cut what is there."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.abort()

    def forget(self, link: Link) -> None:
        """Drop a link that is gone."""
        self._links.discard(link)
        if self.listener is not None:
            self.listener.closed(link.number)

    def target(self) -> tuple[str, int]:
        """Return the server's host and port."""
        host, _, port = self._target().rpartition(":")
        return host, int(port)

    def _new_link(self) -> Link:
        self._made += 1
        link = Link(self, self._made)
        self._links.add(link)
        return link


class Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.number = number
        self._proxy = proxy
        self._ends: list[_End] = []
        self._connecting: asyncio.Task[None] | None = None
        self._is_over = False
        self._early: list[bytes] = []

    def opened(self, end: _End) -> None:
        """Note that one of the two connections stands.

        First the client's, then the server's.
        """
        self._ends.append(end)
        if self._is_over:
            end.close(reset=True)
        elif len(self._ends) > 1:
            early, self._early = self._early, []
            for data in early:
                self.received(self._ends[0], data)
        elif self._proxy.weather.strikes(Fault.REFUSED):
            self.abort()
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _End(self), *self._proxy.target())
        except OSError:
            self.abort()  # The server is not there: the client sees just that.

    def received(self, end: _End, data: bytes) -> None:
        """Send a piece on to the other end, or not."""
        if len(self._ends) == 1:
            self._early.append(data)
            return
        if self._is_over:
            return
        from_client = end is self._ends[0]
        listener = self._proxy.listener
        if from_client and listener is not None:
            listener.asked(self.number, data)
        end.received += data
        weather = self._proxy.weather
        if weather.strikes(Fault.CUT):
            # What came before and is still held up would leave a gap, which TCP never does.
            if from_client and end.held is None and weather.still_arrives():
                self._send(end)
            self._over(reset=not from_client or bool(end.received))
        elif end.held is None:
            late_s = weather.delay()
            end.held = asyncio.get_running_loop().call_later(late_s, self._send, end) if late_s else None
            if end.held is None:
                self._send(end)

    def _send(self, end: _End) -> None:
        """Send on all that one end has received, in order."""
        data, end.received, end.held = bytes(end.received), bytearray(), None
        from_client = end is self._ends[0]
        self._ends[1 if from_client else 0].transport.write(data)
        if not from_client and self._proxy.listener is not None:
            self._proxy.listener.answered(self.number, data)

    def abort(self) -> None:
        """Reset both connections and drop what was under way."""
        self._over(reset=True)

    def end(self) -> None:
        """Close both connections after what was sent on."""
        self._over(reset=False)

    def _over(self, *, reset: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        for end in self._ends:
            end.close(reset=reset)
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        self._proxy.forget(self)


class _End(asyncio.Protocol):
    """One of a link's two connections, and what it has received but not sent on; `held` ends a delay."""

    transport: asyncio.Transport

    def __init__(self, link: Link) -> None:
        self.received = bytearray()
        self.held: asyncio.TimerHandle | None = None
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._link.opened(self)

    def data_received(self, data: bytes) -> None:
        self._link.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        # Who hung up takes what was still on its way with him.
        self._link.end()

    def close(self, *, reset: bool) -> None:
        """Close the connection, and drop what is held up."""
        if self.held is not None:
            self.held.cancel()
        if not reset:
            self.transport.close()
            return
        taken = self.transport.get_extra_info("socket")
        if taken is not None and taken.fileno() >= 0:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
