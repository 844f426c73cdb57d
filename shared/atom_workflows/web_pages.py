"""Requests that web pages make browsers send: functions and the local platform refuse them.

A page of another site may send a request, though it does not see the answer; browsers then name its `Origin`. A page of
a name that its owner lets point to this address (DNS rebinding) sees the answer, too; its name is the request's `Host`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def explain_refusal(headers: Mapping[str, str], hosts: Collection[str], *, advice: str) -> str:
    """Explain why a request is refused, or return "" if it is not.

    `headers` are named in lower case. `hosts` are the names that the server is called by, in lower case; without any,
    every name is good. `advice` says what to do about another name.
    """
    if "origin" in headers:
        return f"the request comes from a web page ({headers['origin']!r:.80}), and no page may call this server"
    host = headers.get("host")  # Every browser sends it.
    if not hosts or host is None:
        return ""
    name, colon, port = host.rpartition(":")
    called = (name if colon and port.isdecimal() else host).lower()
    return "" if called in hosts else f"the request is addressed to {host!r:.80}; {advice}"
