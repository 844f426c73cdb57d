"""The embedded Pub/Sub as a server: every service on one port of the loopback interface."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio

from atom_emulator.pubsub.driver import Driver
from atom_emulator.pubsub.kept_messages import KeptMessages
from atom_emulator.pubsub.own_user import OwnUser
from atom_emulator.pubsub.publisher import Publisher
from atom_emulator.pubsub.push import DEFAULT_IN_FLIGHT
from atom_emulator.pubsub.side_door import SideDoor
from atom_emulator.pubsub.subscriber import Subscriber
from atom_emulator.pubsub.wire import SHORTEST_ACK_DEADLINE_S

HOST: Final = "127.0.0.1"
STOP_GRACE_S: Final = 0.2

_OPTIONS: Final = (
    # A request carries up to 10 MB of messages; gRPC's own limit is 4 MB.
    ("grpc.max_receive_message_length", 12 * 1024 * 1024),
    # Two servers must never share a port by accident.
    ("grpc.so_reuseport", 0),
    # Client libraries send keep-alive pings while a streaming pull is quiet; these must not count as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The options of the server. Port 0 lets the system choose.

    `shortest_ack_deadline_s` is 10 s, as in the real service, unless a test cannot wait that long. With `same_user`,
    calls from other users' processes are refused. Unacknowledged messages outlive the server in the file `messages`.
    """

    port: int = 0
    in_flight: int = DEFAULT_IN_FLIGHT
    shortest_ack_deadline_s: float = SHORTEST_ACK_DEADLINE_S
    same_user: bool = False
    messages: Path | None = None


class PubsubServer:
    """The server. It must be created, started and stopped within one event loop.

    Raises `SqliteFileError` if its file cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._kept = None if settings.messages is None else KeptMessages(settings.messages)
        self._driver = Driver(in_flight=settings.in_flight, kept=self._kept)
        calls: Counter[str] = Counter()
        publisher = Publisher(self._driver)
        subscriber = Subscriber(self._driver, shortest_ack_deadline_s=settings.shortest_ack_deadline_s)
        self._own_user = OwnUser() if settings.same_user else None
        self._server = grpc.aio.server(
            options=_OPTIONS, interceptors=[] if self._own_user is None else [self._own_user]
        )
        self._server.add_generic_rpc_handlers(
            (
                publisher.methods(calls).generic_handler,
                subscriber.methods(calls).generic_handler,
                SideDoor(self._driver, calls).generic_handler,
            )
        )

    async def start(self) -> int:
        """Listen, and return the port.

        Raises `OSError` if it cannot be opened.
        """
        address = f"{HOST}:{self._settings.port}"
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        if self._own_user is not None:
            self._own_user.port = port
        await self._server.start()
        return int(port)

    async def stop(self) -> None:
        """Stop within the grace period.

        Calls and pushes in progress are dropped.
        """
        self._driver.close()
        await self._server.stop(STOP_GRACE_S)
        if self._kept is not None:
            self._kept.close()
