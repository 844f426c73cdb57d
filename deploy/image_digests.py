"""The digests of images: unlike a tag, a digest always refers to the same image.

Registries are queried with the protocol of the Open Container Initiative; if one does not answer, the tag is kept
without a digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

Answer: TypeAlias = tuple[int, Mapping[str, str], bytes]
Ask: TypeAlias = Callable[[str, Mapping[str, str]], Answer]
"""Requests a URL with some headers and returns status, headers and body; raises `OSError` if nothing answers."""

_IMAGE: Final = re.compile(
    r"^(?P<before> *name: )(?P<name>[\w./-]+):(?P<tag>[\w.-]+)(@sha256:[0-9a-f]{64})?$", re.MULTILINE
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_INDEXES: Final = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_TIMEOUT_S: Final = 20


def with_digest(text: str, ask: Ask) -> tuple[str, list[str]]:
    """Pin each image of a build to its tag's digest.

    Returns the text, and a line for each image. An image is left unchanged if its registry does not answer.
    """
    digests: dict[str, str] = {}

    def pin(match: re.Match[str]) -> str:
        tagged = f"{match['name']}:{match['tag']}"
        if tagged not in digests:
            digests[tagged] = _digest(match["name"], match["tag"], ask)
        return f"{match['before']}{tagged}@{digests[tagged]}" if digests[tagged] else match[0]

    text = _IMAGE.sub(pin, text)
    return text, [
        f"{tagged} is {digest or 'unchanged, as its registry did not answer'}" for tagged, digest in digests.items()
    ]


def _digest(name: str, tag: str, ask: Ask) -> str:
    host, _, path = name.partition("/")
    if "." not in host:
        host, path = "registry-1.docker.io", name if "/" in name else f"library/{name}"
    url, headers = f"https://{host}/v2/{path}/manifests/{tag}", {"Accept": _INDEXES}
    try:
        status, given, _ = ask(url, headers)
        if status == _UNAUTHORIZED:
            status, given, _ = ask(url, {**headers, "Authorization": f"Bearer {_token(given, ask)}"})
    except (OSError, ValueError, KeyError):
        return ""
    digest = {name.lower(): value for name, value in given.items()}.get("docker-content-digest", "")
    return digest if status == _OK and _DIGEST.fullmatch(digest) else ""


def _token(headers: Mapping[str, str], ask: Ask) -> str:
    """Get the anonymous token that the registry's challenge asks for."""
    asked_for = {name.lower(): value for name, value in headers.items()}["www-authenticate"]
    parts = dict(re.findall(r'(\w+)="([^"]*)"', asked_for))
    realm = parts.pop("realm")
    if not realm.startswith("https://"):
        raise ValueError(realm)
    _, _, body = ask(f"{realm}?{urlencode(parts)}", {})
    return str(json.loads(body)["token"])


def ask_registry(url: str, headers: Mapping[str, str]) -> Answer:
    """Query a registry over HTTPS."""
    request = Request(url, headers=dict(headers))  # noqa: S310 (https, see _digest and _token)
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 (likewise)
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        return error.code, dict(error.headers), b""
    except URLError as error:
        raise OSError(str(error)) from error
