"""Parse only one large input at a time, to save memory.

Several at once would need more memory than an instance has.

Parsing keeps the processor busy and waits for nothing else, so taking turns costs no time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SMALL_BYTES: Final = 65_536
"""Inputs up to this size need not wait: those that an instance handles at one time add up to only a few megabytes."""

_reading: Final = threading.Lock()


@contextmanager
def turn_to_read(size: int) -> Iterator[None]:
    """Wait for a turn to parse an input of `size` bytes.

    Only one `with` block has the turn at a time, so the block must not call a port. Small inputs do not wait.
    """
    if size <= SMALL_BYTES:
        yield
        return
    with _reading:
        yield
