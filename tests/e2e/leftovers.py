"""Messages that no function has acknowledged yet. The embedded Pub/Sub counts them; at Google's they are pulled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.api_core.exceptions import Cancelled, DeadlineExceeded

from atom_emulator.platform.topology import SUBSCRIBED
from e2e.site import Site
from support.deadline import eventually

REDELIVERED_S: Final = 1.5
"""Google's emulator delivers a refused message again after 1 s, whatever the policy says."""

TICK: Final = b'{"type": "tick"}'
CALL_S: Final = 60


def require_nothing_left(site: Site, *, given_up: int = 0) -> None:
    """Require that every message is acknowledged, and few are given up."""
    look = _at_google if site.platform.options.emulators == "google" else _at_the_embedded
    eventually(lambda: not look(site), within_s=60, what="every event's acknowledgement")
    letters: list[bytes] = []

    def gathered() -> bool:
        letters.extend(site.dead_letters())
        return len(letters) >= given_up

    eventually(gathered, within_s=60, what=f"{given_up} dead letters")
    assert len(letters) == given_up, letters


def _at_the_embedded(site: Site) -> int:
    channel: Any = grpc.insecure_channel(site.environment["PUBSUB_EMULATOR_HOST"])
    with channel:
        counters = json.loads(channel.unary_unary("/atom.emulator/Counters")(b"", timeout=60))
    return sum(counters["subscriptions"][_path(site, topic)]["backlog"] for topic in SUBSCRIBED)


def _at_google(site: Site) -> list[bytes]:
    """Return what a short stop of the pushes leaves unacknowledged."""
    with ThreadPoolExecutor(len(SUBSCRIBED)) as pool:
        return [data for found in pool.map(lambda topic: _intercepted(site, topic), SUBSCRIBED) for data in found]


def _intercepted(site: Site, topic: str) -> list[bytes]:
    path = _path(site, topic)
    with _without_pushes(site, path):
        deadline = time.monotonic() + REDELIVERED_S
        found: list[bytes] = []
        while not found and (left_s := deadline - time.monotonic()) > 0:
            found = [data for data in _peeked(site, path, left_s) if data != TICK]
    return found


@contextmanager
def _without_pushes(site: Site, path: str) -> Iterator[None]:
    endpoint = site.subscriber.get_subscription(subscription=path, timeout=CALL_S).push_config.push_endpoint
    site.subscriber.modify_push_config(subscription=path, push_config={}, timeout=CALL_S)
    try:
        yield
    finally:
        # Without its pushes the platform would fail every later test of this file.
        again = {"push_endpoint": endpoint}
        site.subscriber.modify_push_config(subscription=path, push_config=again, timeout=CALL_S)


def _peeked(site: Site, path: str, within_s: float) -> list[bytes]:
    """Return messages of a subscription without taking them.

    They are pushed again as soon as there are pushes.
    """
    request = {"subscription": path, "max_messages": 1_000}
    try:
        found = site.subscriber.pull(request=request, timeout=within_s, retry=None).received_messages
    except (Cancelled, DeadlineExceeded):
        # The emulator resets the stream of a call whose deadline passes before it has looked at it.
        return []
    if found:
        ids = [one.ack_id for one in found]
        site.subscriber.modify_ack_deadline(subscription=path, ack_ids=ids, ack_deadline_seconds=0, timeout=CALL_S)
    return [one.message.data for one in found]


def _path(site: Site, topic: str) -> str:
    return f"projects/{site.platform.options.project}/subscriptions/{topic}"
