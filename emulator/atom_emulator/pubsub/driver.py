"""Run the broker in real time: an event loop owns it, and wakes for calls and for due times."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from atom_emulator.pubsub.broker import Broker, Subscription
from atom_emulator.pubsub.push import DEFAULT_IN_FLIGHT, Pusher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atom_emulator.pubsub.kept_messages import KeptMessages

WRITE_EVERY_S: Final = 0.5
"""How often acknowledgements are written to the messages file if none is published meanwhile."""

_log = logging.getLogger("atom_emulator.pubsub")


class Driver:
    """Hands ready messages to pushers and waiting pulls, and advances the broker exactly when something is due.

    Not thread-safe: everything runs in the loop that made it. `deliver_ready` must follow every call to the broker.
    """

    def __init__(self, *, in_flight: int = DEFAULT_IN_FLIGHT, kept: KeptMessages | None = None) -> None:
        self.broker = Broker(kept)
        self._in_flight = in_flight
        self._loop = asyncio.get_running_loop()
        # The wall clock may be set back, but the loop's clock cannot, so messages are timed by the loop's clock.
        self._epoch = time.time() - self._loop.time()
        self._pushers: dict[str, Pusher] = {}
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer = None if kept is None else self._loop.call_later(WRITE_EVERY_S, self._write, kept)

    def now(self) -> float:
        """Return the seconds since the epoch, which never go back."""
        return self._epoch + self._loop.time()

    def deliver_ready(self) -> None:
        """Deliver the ready messages, and set the next alarm."""
        for subscription in self.broker.take_deliverable():
            pusher = self._pushers.get(subscription.name)
            if pusher is not None:
                pusher.pump()
            for waiter in self._waiters.get(subscription.name, ()):
                waiter.set()
        self._set_alarm()

    def update_pusher(self, subscription: Subscription) -> None:
        """Start, stop or replace the pusher of a changed subscription."""
        pusher = self._pushers.get(subscription.name)
        if pusher is not None and pusher.url == subscription.settings.push_endpoint:
            return
        self.forget(subscription.name)
        if subscription.settings.push_endpoint:
            self._pushers[subscription.name] = pusher = Pusher(
                self.broker, subscription, now=self.now, on_done=self.deliver_ready, in_flight=self._in_flight
            )
            pusher.pump()

    def forget(self, name: str) -> None:
        """Stop all activity for a deleted subscription."""
        pusher = self._pushers.pop(name, None)
        if pusher is not None:
            pusher.close()
        for waiter in self._waiters.get(name, ()):
            waiter.set()

    @contextmanager
    def watch(self, name: str) -> Iterator[asyncio.Event]:
        """Return an event that is set when a subscription may have messages.

        The event is also set when the subscription is deleted.
        """
        waiter = asyncio.Event()
        self._waiters.setdefault(name, set()).add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[name].discard(waiter)
            if not self._waiters[name]:
                del self._waiters[name]

    def reset(self) -> None:
        """Forget every topic, subscription and message."""
        names = [*self.broker.subscriptions]
        self.broker.clear()
        for name in names:
            self.forget(name)
        self._set_alarm()

    def close(self) -> None:
        """Stop, and drop the pushes in flight."""
        for pusher in self._pushers.values():
            pusher.close()
        for timer in filter(None, (self._timer, self._write_timer)):
            timer.cancel()

    def _write(self, kept: KeptMessages) -> None:
        kept.write()
        self._write_timer = self._loop.call_later(WRITE_EVERY_S, self._write, kept)

    def _set_alarm(self) -> None:
        due = self.broker.next_due()
        if due is None:
            return
        at = due - self._epoch
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self.broker.advance(self.now())
        self.deliver_ready()
