"""Decide which requests the console answers: only those of its own page, opened by its own user.

Any page in the user's browser can send requests to this machine, and other users of the machine can reach loopback,
too. So a request must name this machine as its host, come from the console's own page, and bring the token that only
the printed address holds.
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
    """A sentence that says why a request is refused, and the status of the answer."""

    sentence: str
    status: int


def refuse(  # noqa: PLR0911 (a kind of request each)
    method: str, path: str, headers: Mapping[str, str], *, token: str
) -> Refusal | None:
    """Return why a request is not answered, or None if it comes from the console's own page and user.

    The names in `headers` are in lower case. The page itself needs no token: it holds nothing, and asks for the rest.
    """
    if sentence := explain_foreign(headers):
        return Refusal(sentence=sentence, status=403)
    if method not in _METHODS:
        return Refusal(sentence=f"the console does not answer {method!r:.40}", status=405)
    if "upgrade" in headers:
        return Refusal(sentence="the console speaks no other protocol than HTTP", status=400)
    if not path.startswith("/api/"):
        return None
    if not has_token(headers, token):
        where = "open the address that `atom-workflows console` printed; it holds this console's token"
        return Refusal(sentence=where, status=401)
    # A form of another page cannot send this type without asking first.
    if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(sentence="send application/json", status=415)
    return None


def explain_foreign(headers: Mapping[str, str]) -> str:
    """Explain why a request does not come from the console's own page; return "" if it does.

    The names in `headers` are in lower case. A tunnel may change the port, but not the name of this machine.
    """
    host = headers.get("host", "")
    name, colon, port = host.rpartition(":")
    if not is_this_machine(name if colon and port.isdecimal() else host):
        return f"the request is addressed to {host!r:.80}; open the console as 127.0.0.1 or localhost"
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return f"the request comes from another web page ({origin!r:.80})"
    site = headers.get("sec-fetch-site")
    if site is not None and site not in _OWN_SITE:
        return f"the request comes from another web page ({site!r:.80})"
    return ""


def has_token(headers: Mapping[str, str], token: str) -> bool:
    """Return True if the request brings the console's token."""
    return hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode())
