"""Pins the packages that are deployed and the images that deploy them, so that no one can replace them.

    python deploy/pin.py

`requirements.txt` gets all packages of the functions' runtime, in the versions of constraints.txt and with the hashes
of their files; the images in cloudbuild*.yaml get the digests of their tags. The runtime consists of the dependencies
in pyproject.toml and, transitively, of their dependencies according to the installed packages.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from image_digests import ask_registry, with_digest

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "deploy" / "requirements.txt"
BUILDS: Final = tuple(sorted(ROOT.glob("cloudbuild*.yaml")))
RUNTIMES: Final = ("3.11", "3.12", "3.13", "3.14")
"""Versions of Python that the functions may run on: a package that any of them needs is pinned for all."""

_HEADER: Final = """# Written by deploy/pin.py from pyproject.toml and constraints.txt; `make pins` updates it.
# No package is built during installation, since a build would fetch packages that are not pinned.
--only-binary :all:
"""
_RESOLVER: Final = "uv==0.13.9"
"""Gets the hashes of all files of a version from the package index. It is installed only for this."""


def pins() -> list[str]:
    """Return `name==version` of every package to pin.

    Raises `KeyError` for a package that constraints.txt does not pin.
    """
    versions = {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in _constraint_lines())
    }
    return [f"{name}=={versions[name]}" for name in sorted(_closure())]


def pinned(text: str) -> list[str]:
    """Return the `name==version` entries of a requirements file."""
    return re.findall(r"^[\w.-]+==[^\s\\]+", text, flags=re.MULTILINE)


def _constraint_lines() -> Iterator[str]:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.strip()


def _closure() -> set[NormalizedName]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(one) for one in project["dependencies"]]
    seen: set[tuple[NormalizedName, frozenset[str]]] = set()
    while waiting:
        one = waiting.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key not in seen:
            seen.add(key)
            waiting += _needs(one)
    return {name for name, _ in seen}


def _needs(one: Requirement) -> Iterator[Requirement]:
    for text in requires(one.name) or ():
        needed = Requirement(text)
        if needed.marker is None or any(
            needed.marker.evaluate(_environment(version, extra)) for version in RUNTIMES for extra in ("", *one.extras)
        ):
            yield needed


def _environment(version: str, extra: str) -> dict[str, str]:
    return {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "extra": extra,
    }


def _with_hashes(lines: list[str]) -> str:
    """Return the requirements with the hashes of all their files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wanted, found = folder / "wanted.txt", folder / "found.txt"
        wanted.write_text("\n".join(lines), encoding="utf-8")
        venv.create(folder / "venv", with_pip=True)
        programs = folder / "venv" / "bin"
        _run(str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _RESOLVER)
        options = ("--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--universal")
        _run(str(programs / "uv"), "pip", "compile", *options, "--output-file", str(found), str(wanted))
        return found.read_text(encoding="utf-8")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (programs that were just installed)


def main() -> int:
    """Write the pinned files."""
    TARGET.write_text(_HEADER + _with_hashes(pins()), encoding="utf-8")
    sys.stdout.write(f"{TARGET.name}: {len(pins())} packages\n")
    for build in BUILDS:
        text, lines = with_digest(build.read_text(encoding="utf-8"), ask_registry)
        build.write_text(text, encoding="utf-8")
        for line in lines:
            sys.stdout.write(f"{build.name}: {line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
