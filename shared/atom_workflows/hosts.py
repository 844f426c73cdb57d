"""Host names that refer to this machine.

They are trusted in some places where other host names are not.
"""

from __future__ import annotations

from typing import Final

THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
"""The names without brackets, as in `urlsplit(url).hostname`."""


def is_this_machine(host: str) -> bool:
    """Return True if the host, with or without brackets, is this machine."""
    return host.lower().removeprefix("[").removesuffix("]") in THIS_MACHINE
