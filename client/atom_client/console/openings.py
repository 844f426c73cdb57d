"""Make addresses that open the console only once.

The arguments of a program that starts a browser are visible to every user of the machine.
"""

from __future__ import annotations

import secrets
import time
from typing import Final

WITHIN_S: Final = 60.0
"""How long a browser may take to start."""


class Openings:
    """Short-lived paths, each of which delivers the token once. Thread-safe."""

    def __init__(self, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._deadlines: dict[str, float] = {}

    def add(self) -> str:
        """Return a new path."""
        name = secrets.token_urlsafe(16)
        self._deadlines[name] = time.monotonic() + self._within_s
        return f"/open/{name}"

    def take(self, name: str) -> bool:
        """Use up a path.

        Returns False if it was used before, has expired or never existed.
        """
        # Only one caller gets what is popped.
        deadline = self._deadlines.pop(name, None)
        return deadline is not None and time.monotonic() < deadline
