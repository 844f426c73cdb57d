"""Refuse requests from web pages: the local platform asks for no credential, so any page could use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atom_workflows import web_pages

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The names of a server that listens on this machine only."""


def explain_refusal(headers: Mapping[str, str], *, bound_to: str) -> str:
    """Explain why a request is refused, if it is.

    The names in `headers` are in lower case. A server that is `bound_to` another address may be called by any name.
    """
    hosts = LOOPBACK if bound_to in LOOPBACK | {"::1"} else frozenset()
    return web_pages.explain_refusal(headers, hosts, advice="call the local platform by localhost or 127.0.0.1")
