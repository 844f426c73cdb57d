"""Cloud Storage's JSON API: its address, object names and sessions."""

from __future__ import annotations

import os
import re
import threading
from typing import Any, Final
from urllib.parse import quote

import google.auth
import google.auth.credentials
import google.auth.transport.requests

from atom_workflows.adapters.http import PromptAdapter

_PATH: Final = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/(?!\.\.?$)(?P<name>[^\r\n\0]+)")
"""An object named `.` or `..` is rejected: URL libraries resolve it as a relative path even if it is quoted."""


class StorageApi:
    """One session with the API, or with the emulator at `STORAGE_EMULATOR_HOST`."""

    def __init__(self, *scopes: str) -> None:
        self._scopes = scopes
        # Read once, as by Google's clients: a console may connect to several local platforms, one after the other.
        self._emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        self._lock = threading.Lock()
        self._session: Any = None

    @property
    def base_url(self) -> str:
        """The API's address."""
        base = self._emulator or "https://storage.googleapis.com"
        return base if "://" in base else f"http://{base}"

    def session(self) -> Any:
        """Return the session, whose requests carry the caller's credential.

        Raises google-auth's errors.
        """
        with self._lock:
            if self._session is None:
                credentials = (
                    google.auth.credentials.AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is only partly typed
                    if self._emulator
                    else google.auth.default(scopes=self._scopes)[0]
                )
                self._session = google.auth.transport.requests.AuthorizedSession(  # type: ignore[no-untyped-call]  # google-auth is only partly typed
                    credentials
                )
                for scheme in ("http://", "https://"):
                    self._session.mount(scheme, PromptAdapter())
            return self._session


def split_path(path: str) -> tuple[str, str] | None:
    """Split an object's path into its bucket and its name.

    Returns None if the path does not name an object.
    """
    match = _PATH.fullmatch(path)
    return None if match is None else (match["bucket"], match["name"])


def explain_bad_path(path: str) -> str:
    """Explain that a path does not name an object."""
    return (
        f"{path} does not name an object; it must be gs://bucket/object, with a bucket name of 3 to 222 lowercase "
        "letters, digits, dots, hyphens and underscores"
    )


def quote_name(name: str) -> str:
    """Quote an object's name as one part of a URL."""
    return quote(name, safe="")
