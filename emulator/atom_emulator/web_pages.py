"""Refuse requests from web pages.

The local platform requires no credentials, so any page could use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atom_workflows import web_pages
from atom_workflows.hosts import THIS_MACHINE, is_this_machine

LOCAL_HOSTS: Final = frozenset(f"[{name}]" if ":" in name else name for name in THIS_MACHINE)
"""The names of a server that listens only on this machine, as they appear in the `Host` header."""


def explain_refusal(headers: Mapping[str, str], *, bound_to: str) -> str:
    """Explain why a request is refused, or return an empty text.

    The names in `headers` are in lower case. A server that is `bound_to` another address may be called by any name.
    """
    hosts = LOCAL_HOSTS if is_this_machine(bound_to) else frozenset()
    return web_pages.explain_refusal(headers, hosts, advice="call the local platform as localhost or 127.0.0.1")
