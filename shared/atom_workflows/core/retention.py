"""Until when the documents of a run are kept: `expire_at`, by which the store's TTL policies delete them.

All of a run's documents have one date, and the run's own is renewed after the others': so no document is deleted while
the run is there. `keep` is what the deployment says (`WORKFLOW_KEEP_RUNS_SEC`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil
from typing import Final

_NOT_WORTH_WRITING: Final = 0.1
"""The share of the time to be kept for which a retry writes no document that it would not write anyway."""

_SAFETY: Final = timedelta(hours=1)
"""How long before its date a run counts as gone: renewing it takes time."""


def kept_after_retry(expire_at: datetime | None, *, reopened_at: datetime, keep: timedelta) -> datetime | None:
    """Return until when a retried run is kept.

    That is as long as one that was started then, or up to a tenth less.
    """
    if expire_at is None or expire_at >= reopened_at + keep * (1 - _NOT_WORTH_WRITING):
        return expire_at
    return reopened_at + keep


def is_nearly_gone(expire_at: datetime | None, *, now: datetime) -> bool:
    """Return whether documents may be deleted before they could be renewed."""
    return expire_at is not None and expire_at - now < _SAFETY


def is_renewal_due(expire_at: datetime | None, *, now: datetime, keep: timedelta) -> bool:
    """Return True once less than half of an open run's time is left."""
    return expire_at is not None and expire_at - now < keep / 2


def kept_while_open(expire_at: datetime, *, now: datetime, keep: timedelta) -> datetime:
    """Return until when an open run is kept.

    That is for half the time at least.

    It follows from the date before, so that an invocation that goes on with a renewal comes to the same.
    """
    half = keep / 2
    return expire_at + ceil((now + half - expire_at) / half) * half
