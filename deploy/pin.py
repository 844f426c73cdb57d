"""Writes `requirements.txt`: the versions of constraints.txt of all that the functions' runtime consists of.

    python deploy/pin.py [--check]

The runtime is what pyproject.toml depends on, and what that depends on, as the packages that are installed say.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "deploy" / "requirements.txt"
RUNTIMES: Final = ("3.11", "3.12", "3.13", "3.14")
"""Versions of Python that the functions may run on: a package that any of them needs is pinned for all."""

_HEADER: Final = "# Made by deploy/pin.py of pyproject.toml and constraints.txt; `make pins` makes it anew.\n"


def pins() -> str:
    """The file's content; raises KeyError for a package that constraints.txt does not pin."""
    pinned = {canonicalize_name(line.partition("==")[0]): line for line in _constraints()}
    return _HEADER + "".join(f"{pinned[name]}\n" for name in sorted(_closure()))


def _constraints() -> Iterator[str]:
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


def main() -> int:
    """Write the file, or with `--check` tell whether it is as it would be written."""
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text(encoding="utf-8") != pins())
    TARGET.write_text(pins(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
