"""Find out which user's process is at the other end of a connection on loopback (Linux only)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

SUPPORTED: Final = sys.platform == "linux"

_CONNECTIONS: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""The second file has the sockets that gRPC opens: they can speak both versions of IP."""

_LOOPBACK: Final = "0100007F"
"""127.0.0.1 as the files write it: in hexadecimal, with the last byte first, at the end of a mapped IPv6 address."""

_LOCAL, _REMOTE, _OWNER, _INODE = 1, 2, 7, 9
"""The columns of the files, as described in proc(5)."""

_NO_INODE: Final = "0"
"""Once a process has closed its connection, the kernel shows root as the owner until the connection has ended."""

_ROOT: Final = 0
_KNOWN_FOR_S: Final = 1.0
_MAX_KNOWN: Final = 1_000


def owner_of(port: int, *, connected_to: int) -> int | None:
    """Return the user id of the process whose connection has this port.

    `connected_to` is the port at our end. Returns None if there is no such connection, or if its process has closed it.
    """
    here, there = f"{_LOOPBACK}:{connected_to:04X}", f"{_LOOPBACK}:{port:04X}"
    for file in _CONNECTIONS:
        # A machine without IPv6 does not have the second file.
        lines = file.read_text(encoding="ascii").splitlines()[1:] if file.exists() else []
        for columns in map(str.split, lines):
            if columns[_LOCAL].endswith(there) and columns[_REMOTE].endswith(here):
                return None if columns[_INODE] == _NO_INODE else int(columns[_OWNER])
    return None


class SameUser:
    """Tells whether gRPC peers are processes of our own user, or of root.

    The kernel's list takes milliseconds to read, so a peer is remembered for a second. That is safe: for as long, the
    kernel lets no other process use the port of a connection that has ended.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known_until: dict[str, float] = {}

    def includes(self, peer: str, *, connected_to: int) -> bool:
        """Return True if a peer, such as `ipv4:127.0.0.1:40123`, is one of our own user's or root's."""
        now = self._now()
        if self._known_until.get(peer, 0.0) > now:
            return True
        port = peer.rpartition(":")[2]
        if not port.isdecimal() or owner_of(int(port), connected_to=connected_to) not in {os.getuid(), _ROOT}:
            return False
        if len(self._known_until) >= _MAX_KNOWN:
            self._known_until.clear()
        self._known_until[peer] = now + _KNOWN_FOR_S
        return True
