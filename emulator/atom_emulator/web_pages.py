"""Telling the requests of web pages from others, as the local platform asks nobody who they are.

A page of another site may send a request, though it does not see the answer; browsers then name its `Origin`. A page of
a name that its owner lets point to this machine (DNS rebinding) sees the answer, too; its name is the request's `Host`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The names by which a server that listens on this machine alone is called."""


def reason_to_refuse(headers: Mapping[str, str], *, bound_to: str) -> str:
    """Return why a request is refused, empty if it is not.

    `headers` are named in lower case. A server that is `bound_to` another address may have any name.
    """
    if "origin" in headers:
        return f"the request comes from a web page ({headers['origin']!r:.80}), and none may call the local platform"
    if "host" not in headers:
        return ""  # Every browser sends it.
    host = headers["host"]
    name, colon, port = host.rpartition(":")
    called = (name if colon and port.isdecimal() else host).lower()
    if bound_to in LOOPBACK | {"::1"} and called not in LOOPBACK:
        return f"the request is addressed to {host!r:.80}; call the local platform by localhost or 127.0.0.1"
    return ""
