"""Which answers to submissions reached who asked: seen by the network that stands before the Task Runner."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from typing import Final

HEARD_WITHIN_S: Final = 2.5
"""An answer that comes later may find that nobody waits any more: the hasty functions wait for 3 s."""

_KEY: Final = re.compile(rb"Idempotency-Key: (\S+)\r\n", re.IGNORECASE)
_STATUS: Final = b"HTTP/1.1 "
_OK: Final = b"HTTP/1.1 200"


class SubmissionWatch:
    """Reads over the shoulder of every connection; `unheard_between` is for other threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[int, tuple[str, float]] = {}
        self._unheard: defaultdict[str, list[float]] = defaultdict(list)

    def asked(self, link: int, data: bytes) -> None:
        """A request goes to the Task Runner; one at a time on each connection."""
        key = _KEY.search(data)
        if key is not None:
            self._asked[link] = (key[1].decode(), time.time())

    def answered(self, link: int, data: bytes) -> None:
        """An answer goes back."""
        key, at = self._asked.get(link, ("", 0.0))
        if not key or not data.startswith(_STATUS):
            return
        del self._asked[link]
        if time.time() - at > HEARD_WITHIN_S or not data.startswith(_OK):
            self._note(key)

    def closed(self, link: int) -> None:
        """Whoever waited for an answer on that connection gets none."""
        key, _ = self._asked.pop(link, ("", 0.0))
        if key:
            self._note(key)

    def unheard_between(self, key: str, since: float, until: float) -> bool:
        """Whether an answer for that key was lost, late or an error in that time."""
        with self._lock:
            return any(since <= at <= until for at in self._unheard[key])

    def _note(self, key: str) -> None:
        with self._lock:
            self._unheard[key].append(time.time())
