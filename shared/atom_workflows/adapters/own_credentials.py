"""The user's Google credentials, as gcloud and the client libraries store them.

Only the command line uses them.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any, Final

import google.auth
import google.auth.exceptions

from atom_workflows.adapters.http import BriefRequest, GaveUp

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)

# google-auth is only partly typed.
_default: Final[Any] = google.auth.default
_TransportError: Final[Any] = google.auth.exceptions.TransportError


def expect_users_login() -> None:
    """Silence google-auth's warning about a login without a quota project.

    Such a login is normal here. If a service does not accept it, the command line explains what to do.
    """
    warnings.filterwarnings("ignore", message="Your application has authenticated using end user credentials")


def default_project() -> str | None:
    """Return the credentials' project, or the project configured in gcloud.

    Raises google-auth's errors.
    """
    _, project = _default(scopes=_SCOPES)
    return project or None


def require_login() -> None:
    """Fetch an access token, to check that the credentials are still valid.

    Raises google-auth's errors. Without this check, Google's clients would retry an expired login for half a minute.
    Network failures are ignored here, since the clients report them.
    """
    credentials, _ = _default(scopes=_SCOPES)
    with suppress(GaveUp, _TransportError):
        credentials.refresh(BriefRequest())


def account() -> str:
    """Return the service account's address, or "" for a user's login."""
    credentials, _ = _default(scopes=_SCOPES)
    found = getattr(credentials, "service_account_email", "") or ""
    return "" if found == "default" else str(found)


def known_account() -> str:
    """Return the address of the account whose credentials are used.

    Returns "" if finding it out would take a call. Raises google-auth's errors. The file that holds a gcloud login
    often names the account, but not always.
    """
    return account() or str(getattr(_default(scopes=_SCOPES)[0], "account", "") or "")
