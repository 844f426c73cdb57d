"""Bearer tokens for the Task Runner, provided only for allowed addresses.

There is either one fixed token, or one ID token per audience.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from atom_workflows.adapters.task_runner.client import Tokens
from atom_workflows.adapters.task_runner.id_tokens import IdToken, fetch_id_token
from atom_workflows.adapters.task_runner.token_cache import CachedToken
from atom_workflows.errors import CredentialUnusable
from atom_workflows.settings import NO_TOKEN, Settings

_UNAUTHORIZED: Final = 401


def tokens_for(settings: Settings) -> Tokens:
    """Return the token source chosen by a deployment's settings."""
    audience, url = settings.task_runner_audience, settings.task_runner_url
    tokens: Tokens
    if settings.task_runner_token is not None:
        tokens = FixedToken(settings.task_runner_token)
    else:
        tokens = IdTokens(audiences={url: audience} if audience else {})
    return AllowedAddresses(tokens, settings.may_use_task_runner)


class FixedToken:
    """The token in `WORKFLOW_TR_AUTH_JWT`; `none` means that no token is sent."""

    def __init__(self, token: str) -> None:
        token = token.strip()
        self._token = None if token == NO_TOKEN else token

    def token_for(self, base_url: str) -> str | None:  # noqa: ARG002 (the same for every address)
        """Return the token.

        Raises `CredentialUnusable` if it cannot be sent in a header.
        """
        if self._token is not None and not all("!" <= letter <= "~" for letter in self._token):
            raise CredentialUnusable(
                "WORKFLOW_TR_AUTH_JWT contains a space, a line break or some other character that no token contains; "
                "set it to just the token, without `Bearer`"
            )
        return self._token

    def renew(self, base_url: str, refused: str) -> None:  # noqa: ARG002 (there is no other token)
        """Return None, since there is no other token."""
        return

    def explain_denial(self, base_url: str, status: int) -> str:  # noqa: ARG002 (the same for every address)
        """See `Tokens.explain_denial`."""
        if self._token is None:
            return (
                "no token was sent, because WORKFLOW_TR_AUTH_JWT is none; set it to a token (on the command line "
                "with --tr-auth-jwt), or unset it, so that ID tokens are sent"
            )
        if status == _UNAUTHORIZED:
            return (
                "the token in WORKFLOW_TR_AUTH_JWT was not accepted (expired, or issued for another audience?); "
                "set a new one, or unset it, so that ID tokens are sent"
            )
        return "the token's account is not allowed to call it; grant the account roles/run.invoker on the Task Runner"


class IdTokens:
    """ID tokens issued for the address called, or its audience in `audiences`."""

    def __init__(
        self,
        *,
        audiences: Mapping[str, str] | None = None,
        fetch: Callable[[str], IdToken] = fetch_id_token,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._audiences = {url.rstrip("/"): audience for url, audience in (audiences or {}).items()}
        self._fetch = fetch
        self._now = now
        self._lock = threading.Lock()
        self._tokens: dict[str, CachedToken] = {}

    def token_for(self, base_url: str) -> str:
        """Return the ID token for an address.

        Raises `CredentialUnusable` or `RequestNotAccepted`; the message says what to do.
        """
        return self._cached_token(base_url).get()

    def renew(self, base_url: str, refused: str) -> str | None:
        """See `Tokens.renew`."""
        return self._cached_token(base_url).renew(refused)

    def explain_denial(self, base_url: str, status: int) -> str:
        """See `Tokens.explain_denial`."""
        if status == _UNAUTHORIZED:
            return (
                f"it did not accept an ID token for the audience {self._audience(base_url)}; if it expects a "
                "different audience, set WORKFLOW_TR_AUDIENCE; otherwise, check the clocks"
            )
        whose = self._cached_token(base_url).identity or "the service account of this deployment"
        return f"{whose} is not allowed to call it; grant the account roles/run.invoker on the Task Runner"

    def _cached_token(self, base_url: str) -> CachedToken:
        audience = self._audience(base_url)
        with self._lock:
            if audience not in self._tokens:
                self._tokens[audience] = CachedToken(audience, self._fetch, self._now)
            return self._tokens[audience]

    def _audience(self, base_url: str) -> str:
        return self._audiences.get(base_url.rstrip("/")) or audience_of(base_url)


class AllowedAddresses:
    """Provides tokens only for addresses that the deployment is allowed to use.

    This is only a safeguard, since a run with any other address is already INVALID.
    """

    def __init__(self, tokens: Tokens, may_use: Callable[[str], bool]) -> None:
        self._tokens = tokens
        self._may_use = may_use

    def token_for(self, base_url: str) -> str | None:
        """See `Tokens.token_for`.

        Raises `CredentialUnusable` for an address that is not allowed.
        """
        if not self._may_use(base_url):
            raise CredentialUnusable(
                f"no token is sent to {base_url}, which is not a Task Runner that this deployment may use; "
                "set WORKFLOW_TASK_RUNNER_URL or add it to WORKFLOW_TASK_RUNNER_ALLOW"
            )
        return self._tokens.token_for(base_url)

    def renew(self, base_url: str, refused: str) -> str | None:
        """See `Tokens.renew`."""
        return self._tokens.renew(base_url, refused) if self._may_use(base_url) else None

    def explain_denial(self, base_url: str, status: int) -> str:
        """See `Tokens.explain_denial`."""
        return self._tokens.explain_denial(base_url, status)


@lru_cache(maxsize=64)
def audience_of(base_url: str) -> str:
    """Return the scheme and host, which Cloud Run expects as the audience."""
    parts = urlsplit(base_url)
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}"
