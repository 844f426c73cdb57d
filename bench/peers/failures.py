"""Errors of a peer. Each is reported in a line, and the others go on."""

from __future__ import annotations


class PeerFailed(Exception):
    """A peer could not be installed or started, failed a pass, or did other than it was asked."""


class TooLong(Exception):
    """A pass took longer than it may."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"more than {limit_s:.0f} s")
        self.limit_s = limit_s
