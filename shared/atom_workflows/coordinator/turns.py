"""One large input at a time: what several would take together while they are read is more than an instance has.

Reading keeps the processor busy and waits for nobody, so those that wait their turn lose no time by it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SMALL_BYTES: Final = 65_536
"""What is no larger need not wait: as many as an instance takes together are no more than a few megabytes."""

_reading: Final = threading.Lock()


@contextmanager
def turn_to_read(size: int) -> Iterator[None]:
    """Let one block at a time read as many as `size` bytes.

    No port may be called in the block.
    """
    if size <= SMALL_BYTES:
        yield
        return
    with _reading:
        yield
