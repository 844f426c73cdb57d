"""Until when a run's documents are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from atom_workflows.core.retention import expiry_after_retry, expiry_while_open, is_renewal_due

START = datetime(2026, 1, 1, tzinfo=UTC)
KEEP = timedelta(days=90)


def day(number: float) -> datetime:
    """Return the time so many days after the start."""
    return START + timedelta(days=number)


@pytest.mark.parametrize(("retried", "kept"), [(0, 90), (9, 90), (9.1, 99.1), (89, 179)])
def test_a_retry_keeps_a_run_for_as_long_as_a_start(retried: float, kept: float) -> None:
    """A retried run is kept nearly as long as a new one."""
    assert expiry_after_retry(day(90), reopened_at=day(retried), keep=KEEP) == day(kept)


def test_a_retry_keeps_no_run_for_less() -> None:
    """Another setting since, or an older version's date, shortens nothing."""
    assert expiry_after_retry(day(300), reopened_at=day(10), keep=KEEP) == day(300)


@pytest.mark.parametrize(
    ("now", "kept"), [(0, None), (45, None), (45.1, 135), (89, 135), (90, 135), (90.1, 180), (200, 270)]
)
def test_an_open_run_is_kept_for_half_the_time_at_least(now: float, kept: float | None) -> None:
    """An open run is renewed once half its time is over."""
    assert is_renewal_due(day(90), now=day(now), keep=KEEP) is (kept is not None)
    if kept is not None:
        assert expiry_while_open(day(90), now=day(now), keep=KEEP) == day(kept)


def test_what_never_expires_is_not_renewed() -> None:
    """A document without a date is never renewed."""
    assert not is_renewal_due(None, now=day(1_000), keep=KEEP)
    assert expiry_after_retry(None, reopened_at=day(1_000), keep=KEEP) is None
