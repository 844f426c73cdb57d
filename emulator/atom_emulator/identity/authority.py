"""Service accounts, their keys and access tokens, and the ID tokens made for them."""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from atom_emulator.identity.jwt import InvalidToken, read_unverified, sign, verify
from atom_emulator.identity.keys import Key

ISSUER: Final = "https://accounts.google.com"
RUNTIME_ACCOUNT: Final = "functions@atom-local.iam.gserviceaccount.com"
KEY_ACCOUNT: Final = "deployer@atom-local.iam.gserviceaccount.com"
IMPERSONATED_ACCOUNT: Final = "invoker@atom-local.iam.gserviceaccount.com"
_CLOCK_TOLERANCE_S: Final = 10


class Fault(StrEnum):
    """The deliberate faults of an ID token."""

    EXPIRED = "expired"
    WRONG_AUDIENCE = "wrong-audience"
    FOREIGN_KEY = "foreign-key"


class Denied(Exception):
    """An identity service refused the request, with the status, code and text of its answer."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


@dataclass(slots=True)
class Authority:
    """The identity services without HTTP. Each ID token uses up one of the `faults`."""

    lifetime_s: int = 3600
    now: Callable[[], float] = time.time
    faults: deque[str | int] = field(default_factory=deque)
    made: Counter[str] = field(default_factory=Counter)
    key: Key = field(default_factory=Key)
    _foreign: Key = field(default_factory=Key)
    _account_keys: dict[str, Key] = field(default_factory=dict)
    _access: dict[str, str] = field(default_factory=dict)

    def certificates(self) -> dict[str, str]:
        """Return the certificates that verify the ID tokens, by key id."""
        return {self.key.id: self.key.make_certificate()}

    def make_id_token(self, account: str, audience: str, *, how: str) -> str:
        """Make an ID token.

        The token is counted by its audience and by how it was requested.
        """
        self.made[how] += 1
        self.made[f"{how} {audience}"] += 1
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, int):
            raise Denied(fault, "faulty", "refused at the test's request")
        issued_at = int(self.now()) - (2 * self.lifetime_s if fault == Fault.EXPIRED else 0)
        claims = {
            "iss": ISSUER,
            "aud": "https://elsewhere.test" if fault == Fault.WRONG_AUDIENCE else audience,
            "sub": str(sum(account.encode())),
            "email": account,
            "email_verified": True,
            "iat": issued_at,
            "exp": issued_at + self.lifetime_s,
            # Two tokens made in the same second differ, as Google's do.
            "jti": secrets.token_hex(8),
        }
        key = self._foreign if fault == Fault.FOREIGN_KEY else self.key
        return sign(claims, key.private, self.key.id)

    def make_access_token(self, account: str) -> str:
        """Make an access token for the account."""
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self._access[token] = account
        return token

    def replace_key(self, account: str = KEY_ACCOUNT) -> Key:
        """Make a new key for the account and disable the previous one."""
        self._account_keys[account] = Key()
        return self._account_keys[account]

    def grant(self, assertion: str) -> dict[str, Any]:
        """Exchange a signed assertion for a token.

        The result is an ID token if the assertion names an audience, else an access token.
        """
        claims = self._verify_assertion(assertion)
        audience = claims.get("target_audience")
        if isinstance(audience, str):
            return {"id_token": self.make_id_token(claims["iss"], audience, how="key")}
        return {"access_token": self.make_access_token(claims["iss"]), "expires_in": 3599, "token_type": "Bearer"}

    def impersonate(self, access_token: str, account: str, wish: Mapping[str, Any]) -> str:
        """Make an ID token for an account that the caller impersonates.

        Only the account with a key may impersonate, and only one other account.
        """
        caller = self._access.get(access_token)
        if caller is None:
            raise Denied(401, "UNAUTHENTICATED", "the access token is unknown")
        if (caller, account) != (KEY_ACCOUNT, IMPERSONATED_ACCOUNT):
            raise Denied(403, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getOpenIdToken' denied")
        return self.make_id_token(account, str(wish.get("audience")), how="impersonation")

    def _verify_assertion(self, assertion: str) -> dict[str, Any]:
        try:
            account = read_unverified(assertion).get("iss")
            claims = verify(assertion, self._account_keys[str(account)].private.public_key())
        except (InvalidToken, LookupError):
            raise Denied(400, "invalid_grant", "Invalid JWT Signature.") from None
        now = self.now()
        if not claims.get("iat", now) - _CLOCK_TOLERANCE_S <= now < claims.get("exp", 0) + _CLOCK_TOLERANCE_S:
            raise Denied(400, "invalid_grant", "Invalid JWT: the token must be short-lived; check iat and exp.")
        return claims
