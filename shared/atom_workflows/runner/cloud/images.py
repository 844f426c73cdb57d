"""Decide which images jobs may run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from atom_workflows.errors import RequestRefused, SettingsError

MAX_IMAGE: Final = 500
"""The maximum length of an image's name. Registries limit it to 255 characters, excluding the tag and digest."""

# Docker's own grammar of references, in which `..` and empty parts do not occur.
_HOST: Final = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?"
_PART: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_PART}(?:/{_PART})*)(?::[\w][\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", re.ASCII
)
_PREFIX: Final = re.compile(rf"(?:\*[a-z0-9.-]*[a-z0-9]|{_HOST})(?:/{_PART})*/?", re.ASCII)
_REGISTRY: Final = re.compile(r"localhost|.*[.:].*")
_DOCKER_HUB: Final = "docker.io"


def require_allowed(image: str, prefixes: Sequence[str]) -> None:
    """Raise `RequestRefused` unless the image's name begins with an allowed prefix."""
    if not image:
        raise RequestRefused("the task needs an imageUri: this Task Runner runs containers")
    found = _IMAGE.fullmatch(image) if len(image) <= MAX_IMAGE else None
    if found is None:
        raise RequestRefused(
            f"imageUri is {image!r:.200}, but must be an image such as us-docker.pkg.dev/my-project/images/load:1"
        )
    whole = _with_registry(found["name"])
    if any(_begins_with(whole, prefix) for prefix in prefixes):
        return
    allowed = " or ".join(prefixes)
    raise RequestRefused(
        f"the image {image:.200} is not allowed here: its name must begin with {allowed}. Push it there, or deploy "
        "with --runner-images to allow its registry as well (the option must list everything that is allowed)"
    )


def is_image_prefix(text: str) -> bool:
    """Return True if the text is a valid prefix of image names.

    It must include a registry, and may include a path. A leading `*` stands for letters, digits and `-`.
    """
    host = text.partition("/")[0]
    return bool(_PREFIX.fullmatch(text) and _REGISTRY.fullmatch(host))


def read_image_prefixes(text: str, project: str) -> tuple[str, ...]:
    """Return the allowed prefixes of image names.

    By default, these are the project's own repositories in Artifact Registry.
    """
    prefixes = tuple(one.strip() for one in text.split(",") if one.strip())
    for prefix in prefixes:
        if not is_image_prefix(prefix):
            raise SettingsError(
                "WORKFLOW_RUNNER_IMAGES", prefix, "prefixes of image names, including the registry, separated by commas"
            )
    return prefixes or (f"*-docker.pkg.dev/{project.replace(':', '/')}/",)


def _with_registry(name: str) -> str:
    """Return the image's name with its registry.

    Docker allows its own registry to be left out.
    """
    host, slash, _ = name.partition("/")
    if slash and _REGISTRY.fullmatch(host):
        return name
    return f"{_DOCKER_HUB}/{name}" if slash else f"{_DOCKER_HUB}/library/{name}"


def _begins_with(name: str, prefix: str) -> bool:
    """Return True if the prefix matches whole parts of the name."""
    stem = prefix.rstrip("/")
    pattern = rf"[a-z0-9-]+{re.escape(stem[1:])}" if stem.startswith("*") else re.escape(stem)
    return re.match(rf"{pattern}(?:/|$)", name) is not None
