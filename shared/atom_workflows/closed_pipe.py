"""End a program quietly when the reader of its output goes away.

An example is `make plan | head`. This module uses only the standard library, for programs that run where nothing else
is installed.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Final, NoReturn

BROKEN_PIPE: Final = 128 + 13
"""The exit code that a shell reports for a program ended by SIGPIPE."""


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Run a program and exit with its exit code.

    If the reader of stdout goes away early, exit with `BROKEN_PIPE` instead of a traceback.
    """
    try:
        try:
            code = main()
        finally:
            # Otherwise, Python would write the rest of the output while exiting, where no code can catch a failure.
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        discard_output()
        sys.exit(BROKEN_PIPE)
    sys.exit(code)


def discard_output() -> None:
    """Discard the output that has not been written yet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_reader_gone() -> bool:
    """Return True if the broken pipe is stdout rather than another connection."""
    if not hasattr(select, "poll"):
        return True  # On Windows this is unknown. In a program that prints, stdout is more likely.
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))
