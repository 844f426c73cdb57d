"""Check callers: bearer tokens are verified as in Cloud Run, by signature, audience, expiry and account."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import google.auth.exceptions
import google.auth.jwt

_TIMEOUT_S: Final = 5.0

_KINDS: Final = {
    "audience": "wrong audience",
    "expired": "expired",
    "signature": "wrong signature",
    "early": "too early",
}
"""The kinds of errors, by a word of google-auth's text."""

# google-auth is partly typed.
_decode: Final[Any] = google.auth.jwt.decode


@dataclass(slots=True, kw_only=True)
class Guard:
    """Checks a call's token. With `invokers`, only these accounts may call."""

    certs_url: str
    audience: str
    invokers: frozenset[str] = frozenset()
    _certs: Mapping[str, str] = field(default_factory=dict)

    def find_refusal(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return the status and reason with which a call is refused.

        Returns None for a call that is allowed.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return 403, "the call has no bearer token"
        try:
            claims = self._verify(token)
        except (ValueError, google.auth.exceptions.GoogleAuthError) as error:
            # The error's own text may quote the token.
            kind = next((kind for sign, kind in _KINDS.items() if sign in str(error)), "malformed")
            return 401, f"the token is not valid: {kind}"
        except urllib.error.URLError:
            return 503, "the certificates cannot be fetched"
        if self.invokers and claims.get("email") not in self.invokers:
            return 403, f"{claims.get('email')} may not call this service"
        return None

    def _verify(self, token: str) -> Mapping[str, Any]:
        if google.auth.jwt.decode_header(token).get("kid") not in self._certs:  # type: ignore[no-untyped-call]  # as above
            with urllib.request.urlopen(self.certs_url, timeout=_TIMEOUT_S) as response:  # noqa: S310 (the operator's own address)
                self._certs = json.load(response)
        claims: Mapping[str, Any] = _decode(token, certs=self._certs, audience=self.audience)
        return claims
