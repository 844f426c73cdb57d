"""The log of calls: one JSON object per line, in the order in which the calls came in."""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import BinaryIO

KEPT_CALLS: Final = 100_000


class CallLog:
    """Keeps the latest calls, and writes each one immediately to `file`, which should be unbuffered.

    A line is written before its call is answered, so a client that has an answer can find its line. If the file cannot
    be written, for example because the disk is full, logging to it stops, and no call fails.
    """

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._kept: deque[str] = deque(maxlen=KEPT_CALLS)
        self._seq = 0

    def add(self, **fields: Any) -> None:
        """Add a call.

        `seq` numbers the calls from 1 and never goes back.
        """
        self._seq += 1
        line = json.dumps({"seq": self._seq, **fields})
        self._kept.append(line)
        if self._file is None:
            return
        try:
            self._file.write(line.encode() + b"\n")
        except OSError as error:
            self._file = None
            logging.getLogger(__name__).warning("calls are no longer logged to a file: %s", error)

    def lines(self) -> str:
        """Return the kept calls as JSON lines."""
        return "".join(f"{line}\n" for line in self._kept)

    def clear(self) -> None:
        """Forget the kept calls. The file and the sequence continue."""
        self._kept.clear()
