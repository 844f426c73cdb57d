"""The service `atom.emulator`, in addition to the real ones: it returns counts and resets the server.

Both methods are unary, accept any bytes and return JSON bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import grpc

if TYPE_CHECKING:
    from collections import Counter

    from atom_emulator.pubsub.driver import Driver

SERVICE: Final = "atom.emulator"


class SideDoor:
    """`Counters` counts since the start or the last `Reset`, which forgets everything."""

    def __init__(self, driver: Driver, calls: Counter[str]) -> None:
        self._driver = driver
        self._calls = calls

    @property
    def generic_handler(self) -> Any:
        """The handler that a gRPC server accepts."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Counters": grpc.unary_unary_rpc_method_handler(self._counters),
            "Reset": grpc.unary_unary_rpc_method_handler(self._reset),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def counters(self) -> dict[str, Any]:
        """Return calls per method, and messages per topic and subscription.

        `backlog` is the number of unacknowledged messages.
        """
        broker = self._driver.broker
        return {
            "calls": dict(self._calls),
            "topics": {name: {"published": topic.published} for name, topic in broker.topics.items()},
            "subscriptions": {
                name: {**asdict(subscription.backlog.tally), "backlog": len(subscription.backlog)}
                for name, subscription in broker.subscriptions.items()
            },
        }

    async def _counters(self, _request: bytes, _context: Any) -> bytes:
        return json.dumps(self.counters()).encode()

    async def _reset(self, _request: bytes, _context: Any) -> bytes:
        self._calls.clear()
        self._driver.reset()
        return b"{}"
