"""Images get the digests of their tags from their registries, if those answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from image_digests import Answer, with_digest

DIGEST: Final = "sha256:" + "a" * 64
NEWER: Final = "sha256:" + "b" * 64
REALM: Final = 'Bearer realm="https://auth.example/token",service="registry",scope="repository:library/python:pull"'
BUILD: Final = """steps:
  - id: lint
    name: python:3.13.9-bookworm
  - id: types
    name: python:3.13.9-bookworm
  - id: stage
    name: gcr.io/tools/cli:528.0.0-slim
"""


@dataclass(slots=True)
class Registry:
    """Answers as registries do: one of them wants a token, which it gives to anybody."""

    digest: str = DIGEST
    asked: list[str] = field(default_factory=list)

    def ask(self, url: str, headers: Mapping[str, str]) -> Answer:
        """See `image_digests.Ask`."""
        self.asked.append(url)
        if url.startswith("https://auth.example/token?"):
            return 200, {}, json.dumps({"token": "t"}).encode()
        if "docker.io" in url and headers.get("Authorization") != "Bearer t":
            return 401, {"WWW-Authenticate": REALM}, b""
        return 200, {"Docker-Content-Digest": self.digest}, b"{}"


def test_each_image_gets_the_digest_of_its_tag() -> None:
    """Each image gets its tag's digest, asked for once, and keeps the tag."""
    registry = Registry()
    text, lines = with_digest(BUILD, registry.ask)
    assert text.count(f"name: python:3.13.9-bookworm@{DIGEST}\n") == 2
    assert text.count(f"name: gcr.io/tools/cli:528.0.0-slim@{DIGEST}\n") == 1
    assert registry.asked == [
        "https://registry-1.docker.io/v2/library/python/manifests/3.13.9-bookworm",
        "https://auth.example/token?service=registry&scope=repository%3Alibrary%2Fpython%3Apull",
        "https://registry-1.docker.io/v2/library/python/manifests/3.13.9-bookworm",
        "https://gcr.io/v2/tools/cli/manifests/528.0.0-slim",
    ]
    assert len(lines) == 2


def test_a_digest_is_renewed() -> None:
    """A tag that was moved gets its new digest."""
    text, _ = with_digest(BUILD, Registry().ask)
    text, _ = with_digest(text, Registry(digest=NEWER).ask)
    assert (text.count(DIGEST), text.count(NEWER)) == (0, 3)


def refused(_url: str, _headers: Mapping[str, str]) -> Answer:
    """Answer that there is no such image."""
    return 404, {}, b""


def silent(_url: str, _headers: Mapping[str, str]) -> Answer:
    """Answer nothing."""
    raise OSError("no route to host")


def odd(_url: str, _headers: Mapping[str, str]) -> Answer:
    """Return an answer that is no digest."""
    return 200, {"Docker-Content-Digest": "sha256:x\n    entrypoint: sh"}, b""


def elsewhere(_url: str, _headers: Mapping[str, str]) -> Answer:
    """Ask for a token where everybody could listen."""
    return 401, {"WWW-Authenticate": 'Bearer realm="http://auth.example"'}, b""


@pytest.mark.parametrize("ask", [refused, silent, odd, elsewhere])
@pytest.mark.parametrize("before", [BUILD, with_digest(BUILD, Registry().ask)[0]])
def test_without_an_answer_nothing_is_changed(before: str, ask: object) -> None:
    """An image whose registry does not answer keeps its tag and digest."""
    text, lines = with_digest(before, ask)  # type: ignore[arg-type]  # one of the functions above
    assert text == before
    assert all(line.endswith("unchanged, as its registry did not answer") for line in lines)
