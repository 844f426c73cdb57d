"""A virtual environment for each peer, created once and kept under `.bench/`."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.peers.failures import PeerFailed
from bench.peers.roster import Peer

HOME: Final = Path(__file__).parents[2] / ".bench"
INSTALL_WITHIN_S: Final = 900.0

_STAMP: Final = "installed.json"
_VERSIONS: Final = (
    "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
)


def python_for(peer: Peer, home: Path = HOME) -> Path:
    """Return the interpreter of the peer's environment, creating it if needed.

    Raises `PeerFailed`.
    """
    folder = home / peer.name
    python, stamp = folder / "bin" / "python", folder / _STAMP
    wanted = json.dumps([sys.version, *peer.packages])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(folder, clear=True, symlinks=True)
    _install(python, peer.packages)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def versions(python: Path, packages: Sequence[str]) -> Mapping[str, str]:
    """Return the installed versions of these packages.

    Raises `PeerFailed`.
    """
    found: dict[str, str] = json.loads(_output([str(python), "-c", _VERSIONS, *packages], within_s=60))
    return found


@contextmanager
def reserved(home: Path = HOME) -> Iterator[None]:
    """Prevent a second benchmark from using these environments.

    Raises `PeerFailed` if another benchmark is running.
    """
    import fcntl  # noqa: PLC0415 - not on Windows, where only this fails

    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PeerFailed(f"another benchmark is using {home}; wait until it ends") from None
        yield


def _install(python: Path, packages: Sequence[str]) -> None:
    # Use this process's pip: installing pip into each environment takes longer than installing most engines.
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check", "--no-input"]
    _output([*pip, "install", *packages], within_s=INSTALL_WITHIN_S)


def _output(command: Sequence[str], within_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=True)  # noqa: S603 - our own command
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"the installation did not end within {within_s:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise PeerFailed(_reason(error.stderr)) from None
    return done.stdout


def _reason(output: str) -> str:
    """Return the last line that describes the error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), (lines or ["no reason given"])[-1])
