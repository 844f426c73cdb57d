"""Sources of ID tokens: keys, impersonated service accounts, and the metadata server.

As in google-auth, the file that GOOGLE_APPLICATION_CREDENTIALS names comes first, followed by the metadata server;
gcloud's own credential is not used. Every failure becomes one of our own errors, raised outside the `except` block: an
error from google-auth or from the JSON parser may contain a token or a key, so our errors must not refer to it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import google.auth.exceptions
import google.oauth2.service_account

from atom_workflows.adapters.http import BriefRequest, GaveUp
from atom_workflows.errors import CredentialUnusable, RequestNotAccepted
from atom_workflows.hosts import is_this_machine
from atom_workflows.settings import misspelled_credentials

CREDENTIALS: Final = "GOOGLE_APPLICATION_CREDENTIALS"
OVERRIDE: Final = "or set WORKFLOW_TR_AUTH_JWT (--tr-auth-jwt)"
_TEMPORARY: Final = "this is usually temporary"
_SET_A_KEY: Final = f"set {CREDENTIALS} to a service account's key or to an impersonated service account's credential"
_LOG_IN_AGAIN: Final = (
    f"run gcloud auth application-default login --impersonate-service-account=ACCOUNT again, {OVERRIDE}"
)
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_KEY_FIELDS: Final = ("client_email", "private_key", "token_uri")
_SIGNS_OF_GOOGLE_CLOUD: Final = ("K_SERVICE", "GCE_METADATA_HOST")
_LONG_WORD: Final = re.compile(r"[\w=+/.~-]{60,}")
_OK: Final = 200
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404

# google-auth is only partly typed.
_KeyCredentials: Final[Any] = google.oauth2.service_account.Credentials
_KeyIdTokens: Final[Any] = google.oauth2.service_account.IDTokenCredentials
_RefreshError: Final[Any] = google.auth.exceptions.RefreshError


@dataclass(frozen=True, slots=True, kw_only=True)
class IdToken:
    """A token and two of its claims; `identity` is the service account's email address, if the token includes it."""

    text: str = field(repr=False)
    expires_at: datetime
    identity: str = ""


class Source(Protocol):
    """One way to obtain an ID token."""

    def fetch(self, audience: str, request: BriefRequest) -> str:
        """Fetch a new token.

        Raises google-auth's errors.
        """
        ...

    def explain(self, error: Exception) -> str:
        """Explain an error raised by `fetch`, and what to do about it."""
        ...


def fetch_id_token(audience: str) -> IdToken:
    """Fetch a new ID token.

    Raises `CredentialUnusable`, or `RequestNotAccepted` if waiting may help.
    """
    source = source_for(audience)
    try:
        return read_token(source.fetch(audience, BriefRequest()))
    except Exception as error:  # noqa: BLE001 (any error may quote a secret, so none is passed on)
        problem = source.explain(error)
    raise RequestNotAccepted(f"no ID token for {audience}: {problem}")


def source_for(audience: str) -> Source:
    """Choose the source that the environment specifies.

    Raises the same errors as `fetch_id_token`.
    """
    named = os.environ.get(CREDENTIALS)
    if not named:
        return MetadataServer()
    about = f"no ID token for {audience}: {CREDENTIALS} names {named}"
    info = _read_credential(named, about)
    kind = info.get("type")
    if kind == "service_account":
        return ServiceAccountKey(info=_require_key(info, about))
    if kind == "impersonated_service_account":
        return _read_impersonation(info, about)
    whose = "a user's own credential" if kind == "authorized_user" else "a credential that cannot create ID tokens"
    raise CredentialUnusable(
        f"{about}, {whose}: its type must be service_account or impersonated_service_account, "
        f"not {json.dumps(kind)[:80]}; use a service account's key or impersonate an account, {OVERRIDE}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataServer:
    """The identity that Google Cloud provides to code that runs on it."""

    def fetch(self, audience: str, request: BriefRequest) -> str:
        """See `Source.fetch`.

        Sends one request, where google-auth would send three.
        """
        from google.auth import compute_engine  # noqa: PLC0415 (takes 4 ms, and only this source needs it)

        make: Any = compute_engine.IDTokenCredentials
        credentials = make(None, audience, use_metadata_identity_endpoint=True)
        credentials.refresh(request)
        return str(credentials.token)

    def explain(self, error: Exception) -> str:
        """See `Source.explain`."""
        if isinstance(error, GaveUp) and error.reason.startswith("HTTP "):
            return f"the metadata server responded with {error.reason}; {_TEMPORARY}"
        if isinstance(error, GaveUp) and any(os.environ.get(name) for name in _SIGNS_OF_GOOGLE_CLOUD):
            return f"the metadata server cannot be reached ({error.reason}); {_TEMPORARY}"
        if isinstance(error, GaveUp):
            unset = misspelled_credentials(os.environ) or f"{CREDENTIALS} is not set"
            return (
                f"there is no credential: {unset}, and no metadata server can be reached ({error.reason}), so "
                f"this is not Google Cloud; {_SET_A_KEY}, {OVERRIDE}"
            )
        # google-auth wraps its error in another error and keeps the status only in a response object.
        causes = [error, *error.args]
        responses = [arg for cause in causes if isinstance(cause, Exception) for arg in cause.args]
        status = next((int(one.status) for one in responses if hasattr(one, "status")), None)
        if status == _NOT_FOUND:
            return f"the metadata server has no service account for this machine; attach one, {_SET_A_KEY}, {OVERRIDE}"
        reason = f"HTTP {status}" if status else type(error).__name__
        return f"the metadata server returned no token ({reason}); {_TEMPORARY}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountKey:
    """A service account's key file; `info` is its content."""

    info: Mapping[str, Any] = field(repr=False)

    def fetch(self, audience: str, request: BriefRequest) -> str:
        """See `Source.fetch`.

        Sends one request, with an assertion signed with the key.
        """
        credentials = _KeyIdTokens.from_service_account_info(self.info, target_audience=audience)
        credentials.refresh(request)
        return str(credentials.token)

    def explain(self, error: Exception) -> str:
        """See `Source.explain`."""
        return _explain_token_endpoint(
            error,
            f"the key of {self.info['client_email']}",
            "was the key deleted or disabled, was the account disabled, or is this machine's clock wrong?",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Impersonation:
    """A service account to impersonate; its ID tokens are issued at `url`."""

    source: Any = field(repr=False)
    identity: str
    url: str
    delegates: tuple[str, ...] = ()

    def fetch(self, audience: str, request: BriefRequest) -> str:
        """See `Source.fetch`.

        Sends one request for the source's access token and one for the ID token. google-auth's own class for this
        purpose waits for up to two minutes and looks up a regional boundary on another thread.
        """
        self.source.refresh(request)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.source.token}"}
        body = {"audience": audience, "delegates": self.delegates, "includeEmail": True}
        response = request(self.url, method="POST", headers=headers, body=json.dumps(body).encode())
        if response.status != _OK:
            raise _Refused(response.status)
        return str(json.loads(response.data)["token"])

    def explain(self, error: Exception) -> str:
        """See `Source.explain`."""
        if isinstance(error, _Refused) and error.status == _FORBIDDEN:
            return (
                f"no permission to impersonate {self.identity} (HTTP 403); grant "
                f"roles/iam.serviceAccountTokenCreator on {self.identity} to your credential's account, "
                "and enable iamcredentials.googleapis.com"
            )
        if isinstance(error, _Refused):
            refused = f"was refused with HTTP {error.status}; does the account exist?"
            return f"the request to impersonate {self.identity} {refused}"
        return _explain_token_endpoint(
            error,
            f"the credential that impersonates {self.identity}",
            "log in again with gcloud auth application-default login --impersonate-service-account, or replace the "
            "credential's key",
        )


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def read_token(text: str) -> IdToken:
    """Read a token's expiry and identity without verifying the token.

    Raises `ValueError` if the text is not a JWT.
    """
    try:
        claims = _read_claims(text)
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        return IdToken(text=text, expires_at=expires_at, identity=str(claims.get("email", "")))
    except (LookupError, TypeError, AttributeError, OverflowError, binascii.Error) as error:
        raise ValueError("not a JWT") from error


def audience_in(text: str) -> str:
    """Return a token's audience, or "" if it has none.

    The token is not verified.
    """
    try:
        return str(_read_claims(text).get("aud") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def _read_claims(text: str) -> Any:
    payload = text.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def _read_credential(path: str, about: str) -> Mapping[str, Any]:
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RequestNotAccepted(f"{about}, which cannot be read: {reason}") from error
    try:
        info = json.loads(text)
    except (ValueError, RecursionError):
        info = None  # The parser's error contains the whole text.
    if not isinstance(info, dict):
        raise CredentialUnusable(f"{about}, which is not a JSON credential; use a service account's key, {OVERRIDE}")
    return info


def _require_key(info: Mapping[str, Any], about: str) -> Mapping[str, Any]:
    """Check the content of a key file, and return it."""
    missing = [name for name in _KEY_FIELDS if not isinstance(info.get(name), str)]
    if missing:
        raise CredentialUnusable(
            f"{about}, a key file without {', '.join(missing)}; download the key again, {OVERRIDE}"
        )
    try:
        _KeyCredentials.from_service_account_info(info)
    except Exception:  # noqa: BLE001 (cryptography's errors have no common base)
        broken = True
    else:
        broken = False
    if broken:
        raise CredentialUnusable(f"{about}, whose private_key cannot be read; download the key again, {OVERRIDE}")
    return info


def _read_impersonation(info: Mapping[str, Any], about: str) -> Impersonation:
    url, delegates = info.get("service_account_impersonation_url"), info.get("delegates")
    account, _, method = str(url).rpartition("/")[2].partition(":")
    parts = urlsplit(str(url))
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_this_machine(parts.hostname or ""))
    if method != "generateAccessToken" or not account or not safe:
        raise CredentialUnusable(f"{about}, whose service_account_impersonation_url is not valid; {_LOG_IN_AGAIN}")
    return Impersonation(
        source=_load_source_credential(info.get("source_credentials"), about),
        identity=account,
        url=str(url).removesuffix("generateAccessToken") + "generateIdToken",
        delegates=tuple(map(str, delegates)) if isinstance(delegates, list) else (),
    )


def _load_source_credential(info: Any, about: str) -> Any:
    kind = info.get("type") if isinstance(info, dict) else None
    credential = None
    try:
        if kind == "service_account":
            credential = _KeyCredentials.from_service_account_info(info, scopes=_SCOPES)
        elif kind == "authorized_user":
            import google.oauth2.credentials  # noqa: PLC0415 (only this source needs it)

            user: Any = google.oauth2.credentials.Credentials
            credential = user.from_authorized_user_info(info)
    except Exception:  # noqa: BLE001 (cryptography's errors have no common base)
        credential = None
    if credential is None:
        raise CredentialUnusable(
            f"{about}, whose source_credentials are not a usable service_account or authorized_user; {_LOG_IN_AGAIN}"
        )
    return credential


def _explain_token_endpoint(error: Any, whose: str, advice: str) -> str:
    if isinstance(error, GaveUp):
        return f"the token endpoint did not respond to a request with {whose} ({error.reason}); {_TEMPORARY}"
    if isinstance(error, _RefreshError):
        said = " ".join(str(error.args[0] if error.args else "").split())
        # A long word may be a secret.
        reason = _LONG_WORD.sub("(hidden)", said)[:200] or "no reason given"
        return f"the token endpoint refused {whose}: {reason}; {advice}"
    return (
        f"the token endpoint's response to a request with {whose} cannot be used ({type(error).__name__}); {_TEMPORARY}"
    )
