"""A terminal of a chosen size, and what a person sees in it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

_MISSING: Final = shutil.which("tmux") is None
if _MISSING and os.environ.get("CI") == "true":
    pytest.fail("tmux is not installed; .ci/run installs it", pytrace=False)
NEEDS_TMUX: Final = pytest.mark.skipif(_MISSING, reason="tmux is not installed (Debian's package tmux)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """A command in a terminal; `socket` is that of its own tmux server."""

    socket: Path
    width: int
    height: int

    def seen(self) -> list[str]:
        """Return the lines on the screen, without trailing blanks."""
        return [line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines()]

    def everything(self, *, joined: bool = False) -> list[str]:
        """Return all lines, including those that have left the screen.

        If `joined` is True, lines that the terminal has wrapped are whole.
        """
        options = ["-J"] * joined
        return [line.rstrip() for line in self._tmux("capture-pane", "-p", "-S", "-", *options).rstrip().splitlines()]

    def _tmux(self, *words: str) -> str:
        return tmux(self.socket, *words)


def tmux(socket: Path, *words: str, environment: Mapping[str, str] | None = None) -> str:
    """Give tmux a command, and return what it prints."""
    done = subprocess.run(
        ["tmux", "-u", "-f", "/dev/null", "-S", str(socket), *words],
        env=None if environment is None else dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@contextmanager
def terminal(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], width: int, height: int
) -> Iterator[Terminal]:
    """Yield a terminal in which the command runs, and which stays when it has ended."""
    socket = folder / f"tmux-{width}"
    # A terminal as people have it, with the colors and without what names this one.
    own = {name: value for name, value in environment.items() if name not in {"TMUX", "COLUMNS", "LINES", "NO_COLOR"}}
    size = ("-x", str(width), "-y", str(height))
    shown = f"{shlex.join(command)}; echo ended with $?; exec cat"
    tmux(socket, "new-session", "-d", *size, "sh", "-c", shown, environment={**own, "LANG": "C.UTF-8"})
    try:
        yield Terminal(socket=socket, width=width, height=height)
    finally:
        tmux(socket, "kill-server")
