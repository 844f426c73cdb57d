"""Make the standard streams safe to print to.

Neither unusual characters nor a missing stream then makes a command fail.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Final

READABLE: Final = "atom_workflows.readable"
"""The name of the error handler that substitutes ASCII for characters that an encoding lacks."""

_SIGNS: Final = {"…": "...", "━": "=", "─": "-", "→": "->"}
_STANDARD: Final = (0, 1, 2)


def prepare_streams() -> None:
    """Make sure that stdout and stderr exist and accept any text.

    Must be called before anything is opened.
    """
    for fd in _STANDARD:
        try:
            os.fstat(fd)
        except OSError:
            # The shell has closed this stream. Unless devnull takes its place, a file or a socket would get its number.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(_STANDARD[0], encoding="utf-8", closefd=False)  # noqa: SIM115 (the process's own stream stays open)
    sys.stdout = _tolerant(sys.stdout, 1)
    sys.stderr = _tolerant(sys.stderr, 2)


def encoding_of(stream: object) -> str:
    """Return the encoding in which a stream writes.

    A stream that has no encoding accepts any text.
    """
    return "ascii" if isinstance(stream, _Ascii) else getattr(stream, "encoding", None) or "utf-8"


def encodable(text: str, encoding: str) -> str:
    """Return the text as a stream with this encoding would print it.

    To find the width of printed text, measure the result, not the original.
    """
    return text.encode(encoding, READABLE).decode(encoding)


def fill_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle an encoding error as `codecs.register_error` requires."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking), error.end


codecs.register_error(READABLE, fill_in)


class _Ascii(io.TextIOWrapper):
    """An ASCII stream that reports a different encoding.

    Click mistakes ASCII for a misconfiguration.
    """

    @property
    def encoding(self) -> str:  # type: ignore[override]  # it is never set
        return "latin-1"


def _tolerant(stream: object, fd: int) -> io.TextIOWrapper:
    """Return the stream, or one on `fd`, with our error handler."""
    if not isinstance(stream, io.TextIOWrapper):
        stream = open(fd, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (the process's own stream stays open)
    if codecs.lookup(stream.encoding).name == "ascii":
        buffering = stream.line_buffering
        stream = _Ascii(stream.detach(), encoding="ascii", line_buffering=buffering)
    stream.reconfigure(errors=READABLE)
    return stream
