"""The end of a program whose reader has gone, as in `make plan | head`.

It takes the standard library alone, as programs use it that run where nothing is installed.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Final, NoReturn

BROKEN_PIPE: Final = 128 + 13
"""What a shell reports of a program that SIGPIPE has ended."""


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Run a program and exit with its code.

    There is no traceback if no one reads its output to the end.
    """
    try:
        try:
            code = main()
        finally:
            # What is still to be written would otherwise fail when Python ends, where nothing can catch it.
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        discard_output()
        sys.exit(BROKEN_PIPE)
    sys.exit(code)


def discard_output() -> None:
    """Send what is still to be written to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_reader_gone() -> bool:
    """Tell stdout's broken pipe from that of any other connection."""
    if not hasattr(select, "poll"):
        return True  # Windows cannot say; a program that prints is the likelier cause.
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))
