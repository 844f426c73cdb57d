"""Compute `expire_at`, the date after which a run's documents are deleted.

The store's TTL policies delete them. All of a run's documents have the same date, and the date of the run's own
document is renewed last, so no other document is deleted while the run exists. `keep` is how long the deployment keeps
runs (`WORKFLOW_KEEP_RUNS_SEC`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil
from typing import Final

_NOT_WORTH_WRITING: Final = 0.1
"""A retry never extends the date by less than this fraction of `keep`, since renewing means many writes."""

_SAFETY: Final = timedelta(hours=1)
"""A run counts as gone this long before its expiry date, because renewing it takes time."""


def expiry_after_retry(expire_at: datetime | None, *, reopened_at: datetime, keep: timedelta) -> datetime | None:
    """Return the date until which a retried run is kept.

    It is kept for at least nine tenths as long as a run that started at `reopened_at` would be.
    """
    if expire_at is None or expire_at >= reopened_at + keep * (1 - _NOT_WORTH_WRITING):
        return expire_at
    return reopened_at + keep


def is_nearly_gone(expire_at: datetime | None, *, now: datetime) -> bool:
    """Return True if documents might be deleted before they could be renewed."""
    return expire_at is not None and expire_at - now < _SAFETY


def is_renewal_due(expire_at: datetime | None, *, now: datetime, keep: timedelta) -> bool:
    """Return True once less than half of `keep` remains."""
    return expire_at is not None and expire_at - now < keep / 2


def expiry_while_open(expire_at: datetime, *, now: datetime, keep: timedelta) -> datetime:
    """Return the new expiry date of an open run.

    It is at least half of `keep` in the future. It is computed from the previous date, so that an invocation that
    continues an interrupted renewal arrives at the same new date.
    """
    half = keep / 2
    return expire_at + ceil((now + half - expire_at) / half) * half
