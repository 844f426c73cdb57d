"""Errors of a peer. Each is reported in one line, and the other peers continue."""

from __future__ import annotations


class PeerFailed(Exception):
    """A peer could not be installed or started, failed a pass, or did not do what was requested."""


class TooLong(Exception):
    """A pass took longer than its limit."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"more than {limit_s:.0f} s")
        self.limit_s = limit_s
