"""Find out which user's process is at the other end of a connection on loopback (Linux only)."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

SUPPORTED: Final = sys.platform == "linux"

_ROOT: Final = 0
_HOST: Final = "127.0.0.1"

_NO_INODE: Final = 0
"""Once a process has closed its connection, the kernel shows root as the owner until the connection has ended."""

# sock_diag(7): a request is a header and an `inet_diag_req_v2`, the answer a header and an `inet_diag_msg`.
_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ERROR: Final = 2
_ALL: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")
_ADDRESS: Final = socket.inet_aton(_HOST) + bytes(12)
_OWNER_AT: Final = _HEADER.size + 64
_WITHIN_S: Final = 1.0
_ANSWER_BYTES: Final = 4096

_CONNECTIONS: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""The second file has the sockets that gRPC opens: they can speak both versions of IP."""

_LOOPBACK: Final = "0100007F"
"""127.0.0.1 as the files write it: in hexadecimal, with the last byte first, at the end of a mapped IPv6 address."""

_LOCAL, _REMOTE, _OWNER, _INODE = 1, 2, 7, 9
"""The columns of the files, as described in proc(5)."""


def is_same_user(peer: str, *, connected_to: int) -> bool:
    """Return True if a gRPC peer, such as `ipv4:127.0.0.1:40123`, is our own user's process or root's.

    `connected_to` is the port at our end. Nothing is remembered, since another user's process may be given the port of
    a connection that has ended.
    """
    port = peer.rpartition(":")[2]
    return port.isdecimal() and owner_of(int(port), connected_to=connected_to) in {os.getuid(), _ROOT}


def owner_of(port: int, *, connected_to: int) -> int | None:
    """Return the user id of the process whose connection has this port.

    `connected_to` is the port at our end. Returns None if there is no such connection, or if its process has closed it.
    """
    # Some kernels have no sock_diag; the list of all connections, which takes milliseconds to read, they have.
    found = _ask_kernel(port, connected_to) or _search_lists(port, connected_to)
    if found is None:
        return None
    owner, inode = found
    return None if inode == _NO_INODE else owner


def _ask_kernel(port: int, connected_to: int) -> tuple[int, int] | None:
    """Return the owner and the inode of a connection, or None if the kernel does not know it or cannot say."""
    ends = struct.pack(">HH", port, connected_to) + _ADDRESS + _ADDRESS + struct.pack("=III", 0, _ALL, _ALL)
    wanted = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ALL) + ends
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(_WITHIN_S)
            kernel.send(_HEADER.pack(_HEADER.size + len(wanted), _BY_FAMILY, _REQUEST, 1, 0) + wanted)
            answer = kernel.recv(_ANSWER_BYTES)
    except OSError:
        return None
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        return None
    owner, inode = struct.unpack_from("=II", answer, _OWNER_AT)
    return owner, inode


def _search_lists(port: int, connected_to: int) -> tuple[int, int] | None:
    """Look up the owner and the inode in the lists of all connections."""
    here, there = f"{_LOOPBACK}:{connected_to:04X}", f"{_LOOPBACK}:{port:04X}"
    for file in _CONNECTIONS:
        # A machine without IPv6 does not have the second file.
        lines = file.read_text(encoding="ascii").splitlines()[1:] if file.exists() else []
        for columns in map(str.split, lines):
            if columns[_LOCAL].endswith(there) and columns[_REMOTE].endswith(here):
                return int(columns[_OWNER]), int(columns[_INODE])
    return None
