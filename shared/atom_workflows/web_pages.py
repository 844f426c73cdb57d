"""Refuse requests that web pages cause browsers to send to functions and to the local platform.

A page of another site can send a request, though not read the answer; the browser then adds the page's `Origin`. If the
owner of a page points its host name at this address (DNS rebinding), the page can read the answer, too; the request's
`Host` is then that name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def explain_refusal(headers: Mapping[str, str], hosts: Collection[str], *, advice: str) -> str:
    """Explain why a request is refused, or return "" if accepted.

    The names in `headers` are in lower case. `hosts` are the names that the server may be called by, in lower case; if
    there are none, any name will do. `advice` says what to do if the request has a different name.
    """
    if "origin" in headers:
        return f"the request comes from a web page ({headers['origin']!r:.80}), and no page may call this server"
    host = headers.get("host")  # Every browser sends this header.
    if not hosts or host is None:
        return ""
    name, colon, port = host.rpartition(":")
    called = (name if colon and port.isdecimal() else host).lower()
    return "" if called in hosts else f"the request is addressed to {host!r:.80}; {advice}"
