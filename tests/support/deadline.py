"""Waiting in tests: look again and again until something is there, and fail when time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen], *, within_s: float, what: str, every_s: float = 0.02) -> Seen:
    """Return the first true value of `look`.

    Fails with the last value if none comes in time.
    """
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s; last seen: {seen!r:.500}"
        time.sleep(every_s)
    return seen
