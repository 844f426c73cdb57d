"""Admit only requests from the console's own page, opened by its user.

Any page in the user's browser can send requests to this machine, and so can its other users.
So a request must name this machine as its host, come from the console's own page, and carry the token that only
the printed address contains.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from atom_workflows.hosts import is_this_machine

TOKEN_HEADER: Final = "x-atom-token"  # noqa: S105 (a header's name)
_METHODS: Final = frozenset({"GET", "POST"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})

RESPONSE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Runs must not be left in the browser's cache on disk.
    "Cache-Control": "no-store",
}


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is refused, and the status of the response."""

    sentence: str
    status: int


def refuse(  # noqa: PLR0911 (a kind of request each)
    method: str, path: str, headers: Mapping[str, str], *, token: str
) -> Refusal | None:
    """Return why a request is refused, or None if it is accepted.

    The names in `headers` are in lower case. The page itself needs no token, since it contains no data.
    """
    # A link in a chat or a mail may open the page: it holds no data, and no other page can read or frame it.
    is_link = method == "GET" and path == "/" and _opens_page(headers)
    if sentence := explain_foreign(headers, is_link=is_link):
        return Refusal(sentence=sentence, status=403)
    if method not in _METHODS:
        return Refusal(sentence=f"the console does not accept {method!r:.40} requests", status=405)
    if "upgrade" in headers:
        return Refusal(sentence="the console speaks only HTTP", status=400)
    if not path.startswith("/api/"):
        return None
    if not has_token(headers, token):
        sentence = "open the address that `atom-workflows console` printed; it contains this console's token"
        return Refusal(sentence=sentence, status=401)
    # A form of another page cannot send this type without asking first.
    if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(sentence="send application/json", status=415)
    return None


def _opens_page(headers: Mapping[str, str]) -> bool:
    """Return True if a request opens a page of its own.

    A request for a frame or for part of another page does not.
    """
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def explain_foreign(headers: Mapping[str, str], *, is_link: bool = False) -> str:
    """Explain why a request does not come from the console's own page.

    Returns "" if it does.

    The names in `headers` are lowercase. A tunnel may change the port, but not the name of this machine. A link
    to the page itself may be on any page.
    """
    host = headers.get("host", "")
    name, colon, port = host.rpartition(":")
    if not is_this_machine(name if colon and port.isdecimal() else host):
        return f"the request is addressed to {host!r:.80}; open the console at 127.0.0.1 or localhost"
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return f"the request comes from another web page ({origin!r:.80})"
    site = headers.get("sec-fetch-site")
    if is_from_elsewhere(site) and not is_link:
        return f"the request comes from another web page ({site!r:.80})"
    return ""


def is_from_elsewhere(site: str | None) -> bool:
    """Return True if another web page caused a request, given its `Sec-Fetch-Site`."""
    return site is not None and site not in _OWN_SITE


def has_token(headers: Mapping[str, str], token: str) -> bool:
    """Return True if the request carries the console's token."""
    return hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode())
