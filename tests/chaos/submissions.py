"""Records which answers to submissions reached the dispatcher, as seen by the network before the Task Runner."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from typing import Final

HEARD_WITHIN_S: Final = 2.5
"""An answer that comes later may find that no one waits any more: the hasty functions wait for 3 s."""

_KEY: Final = re.compile(rb"Idempotency-Key: (\S+)\r\n", re.IGNORECASE)
_STATUS: Final = b"HTTP/1.1 "
_OK: Final = b"HTTP/1.1 200"


class SubmissionWatch:
    """Reads what every connection carries; `unheard_between` is for other threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[int, tuple[str, float]] = {}
        self._unheard: defaultdict[str, list[float]] = defaultdict(list)

    def asked(self, link: int, data: bytes) -> None:
        """Note a request to the Task Runner.

        There is one at a time on each connection.
        """
        key = _KEY.search(data)
        if key is not None:
            self._asked[link] = (key[1].decode(), time.time())

    def answered(self, link: int, data: bytes) -> None:
        """Note an answer that goes back."""
        key, at = self._asked.get(link, ("", 0.0))
        if not key or not data.startswith(_STATUS):
            return
        del self._asked[link]
        if time.time() - at > HEARD_WITHIN_S or not data.startswith(_OK):
            self._note(key)

    def closed(self, link: int) -> None:
        """Note that an answer on that connection got lost."""
        key, _ = self._asked.pop(link, ("", 0.0))
        if key:
            self._note(key)

    def unheard_between(self, key: str, since: float, until: float) -> bool:
        """Return True if the key's answer got lost in that time.

        Also if it was late, or an error.
        """
        with self._lock:
            return any(since <= at <= until for at in self._unheard[key])

    def _note(self, key: str) -> None:
        with self._lock:
            self._unheard[key].append(time.time())
