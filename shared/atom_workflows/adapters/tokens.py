"""Bearer tokens for the Task Runner: a fixed one, or ID tokens from google-auth, one cached credential an address."""

from __future__ import annotations

import threading
from typing import Any, Final

import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.id_token

from atom_workflows.errors import TaskRunnerUnavailable
from atom_workflows.settings import NO_TOKEN

_ADVICE: Final = (
    "use a service account: the function's own, a key in GOOGLE_APPLICATION_CREDENTIALS, or an impersonated one "
    "(a user's own gcloud credential cannot make ID tokens); or set WORKFLOW_TR_AUTH_JWT"
)

# google-auth is partly typed.
_fetch: Final[Any] = google.oauth2.id_token.fetch_id_token_credentials


class FixedToken:
    """The token of `WORKFLOW_TR_AUTH_JWT`; the word `none` means that none is sent."""

    def __init__(self, token: str) -> None:
        self._token = None if token == NO_TOKEN else token

    def token_for(self, base_url: str) -> str | None:  # noqa: ARG002 (the same for every address)
        """The token."""
        return self._token


class IdTokens:
    """ID tokens whose audience is the Task Runner's URL, refreshed shortly before they expire."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._credentials: dict[str, Any] = {}
        self._request = google.auth.transport.requests.Request()

    def token_for(self, base_url: str) -> str | None:
        """The token; raises `TaskRunnerUnavailable` that says what to do."""
        with self._lock:
            try:
                credentials = self._credentials.get(base_url)
                if credentials is None:
                    credentials = _fetch(base_url, request=self._request)
                    self._credentials[base_url] = credentials
                if not credentials.valid:
                    credentials.refresh(self._request)
            except google.auth.exceptions.GoogleAuthError as error:
                raise TaskRunnerUnavailable(f"there is no ID token for {base_url}; {_ADVICE}") from error
            token: str = credentials.token
            return token
