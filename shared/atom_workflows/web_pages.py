"""Refuse requests that browsers send on behalf of web pages.

This protects the functions and the local platform. A page from another site can send a request, although it cannot read
the response; the browser then adds the page's `Origin`. If the owner of a page points the page's host name at this
server's address (DNS rebinding), the page can also read the response; the request's `Host` is then that host name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def explain_refusal(headers: Mapping[str, str], hosts: Collection[str], *, advice: str) -> str:
    """Explain why a request is refused; return "" if it is not.

    The names in `headers` are in lower case. `hosts` holds the host names that requests may use, in lower case; if it
    is empty, any name is accepted. `advice` says what to do if the request uses a different name.
    """
    if "origin" in headers:
        return f"the request comes from a web page ({headers['origin']!r:.80}), but web pages must not call this server"
    host = headers.get("host")  # Every browser sends this header.
    if not hosts or host is None:
        return ""
    name, colon, port = host.rpartition(":")
    called = (name if colon and port.isdecimal() else host).lower()
    return "" if called in hosts else f"the request is addressed to {host!r:.80}; {advice}"
