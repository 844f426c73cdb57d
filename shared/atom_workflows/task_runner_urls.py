"""Check and compare Task Runner URLs, and print them without secrets."""

from __future__ import annotations

import re
from typing import Final

from atom_workflows.hosts import is_this_machine

_EXPECTED: Final = "a URL such as https://task-runner.example"

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.%]+\]|[^\s/?#@\\:\[\]]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^\s?#\\]*)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LARGEST_PORT: Final = 65_535
_LOGIN: Final = re.compile(r"[a-z]+://[^/?#]*@", re.IGNORECASE)
_UP_TO_LOGIN: Final = re.compile(r"^([a-z]+://)?.*@", re.IGNORECASE | re.DOTALL)
_FROM_QUERY: Final = re.compile(r"([?#]).+", re.DOTALL)
_HIDDEN: Final = "***"


def expected_instead(url: str) -> str | None:
    """Return what the URL must be, or None if it is valid.

    The text completes a sentence that begins with "it must be". A Task Runner's URL has no query or fragment, since the
    paths of the calls are appended to it. It has no user name or password, since it is stored with each run and shown
    to everyone who may see runs.
    """
    if _LOGIN.match(url):
        return (
            f"{_EXPECTED}, without a user name or a password, which would be stored with every run; to send the Task "
            "Runner a token, set WORKFLOW_TR_AUTH_JWT"
        )
    for sign, name in (("?", "a query"), ("#", "a fragment")):
        if sign in url:
            reason = "since /job or /jobstatus is appended to it"
            return f"{_EXPECTED}, without {name} ({sign} and everything after it), {reason}"
    match = _URL.fullmatch(url)
    is_url = match is not None and url.isprintable() and 0 < int(match["port"] or 1) <= _LARGEST_PORT
    return None if is_url else _EXPECTED


def is_same_url(one: str, other: str) -> bool:
    """Return True if the strings are two spellings of one URL.

    They may differ in the letter case of the scheme and host, in a default port, in a trailing slash, and in the name
    used for this machine. A string that is not a URL matches only itself.
    """
    return _normal_form(one) == _normal_form(other)


def _normal_form(url: str) -> tuple[str, str, int, str] | str:
    found = _URL.fullmatch(url.rstrip("/"))
    if found is None:
        return url.rstrip("/")
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    return scheme, "localhost" if is_this_machine(host) else host, port, found["path"] or ""


def shown_url(url: str) -> str:
    """Return the URL in a form that is safe to display.

    In an invalid URL, the user name, password, query and fragment are hidden, since they may contain secrets.
    """
    if expected_instead(url) is None:
        return url
    without_login = _UP_TO_LOGIN.sub(rf"\g<1>{_HIDDEN}@", url) if "@" in url else url
    return _FROM_QUERY.sub(rf"\1{_HIDDEN}", without_login)[:200]
