"""The servers of the platform: the command that starts each of them, and its address once started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from atom_emulator.platform.network import HOST
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_emulator.ready_file import read_port

PYTHON: Final = (sys.executable, "-P", "-m")
"""Python without the working directory on its path, so that a user's own files do not shadow modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How to start a server. `address` returns None until the server is ready, then its address."""

    name: PartName
    command: Sequence[str]
    address: Callable[[], str | None]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def build_embedded(
    name: PartName, *, port: int, scratch: Path, more: Sequence[str] = (), package: str | None = None
) -> Server:
    """Describe one of this package's own servers.

    With port 0 the server picks a free port. It writes its port to a file.
    """
    ready_file = scratch / f"{name}.json"
    module = f"atom_emulator.{package or name.replace('-', '_')}"
    scheme = "http://" if name is PartName.TASK_RUNNER else ""

    def address() -> str | None:
        found = read_port(ready_file)
        return None if found is None else f"{scheme}{HOST}:{found}"

    command = [*PYTHON, module, "--port", str(port), "--ready-file", str(ready_file), *more]
    return Server(name=name, command=command, address=address)


def mock_options(options: PlatformOptions, hints: Path, journal: Path | None) -> list[str]:
    """Return the arguments of the mock Task Runner, without its log."""
    words = ["--hints", str(hints), "--default-duration", str(options.task_runner_duration_s)]
    if options.task_runner_script is not None:
        words += ["--script", str(options.task_runner_script.resolve())]
    if journal is not None:
        words += ["--journal", str(journal.resolve())]
    return words
