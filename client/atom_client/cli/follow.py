"""Watching a run until it has ended: events make the picture live, its document says when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Protocol

from atom_client.cli.live import Show
from atom_client.errors import Failure
from atom_client.text import lasted
from atom_client.views.progress import RunView
from atom_workflows.core.durations import parse_duration
from atom_workflows.core.records import RunRecord
from atom_workflows.errors import StoreUnavailable

LOOK_EVERY_S: Final = 1.0
WAIT_FOR_EVENTS_S: Final = 0.25
LAST_EVENTS_WITHIN_S: Final = 1.0
APPEARS_WITHIN_S: Final = 60.0
PATIENCE_S: Final = 300.0
"""How long a store may be away while a run is followed: the run goes on, and a network, or a laptop, may come back."""


class Feed(Protocol):
    """Where changes come from."""

    def take(self, timeout_s: float) -> Sequence[Mapping[str, Any]]:
        """All changes that have come; waits that long for a first one."""
        ...


def follow(  # noqa: PLR0913 (all but the first by name)
    view: RunView,
    *,
    feed: Feed,
    read_run: Callable[[], RunRecord | None],
    show: Show,
    timeout_s: float | None = None,
    patience_s: float = PATIENCE_S,
    monotonic: Callable[[], float] = time.monotonic,
) -> RunRecord:
    """Show the run until it has ended or time is up, and answer it as it then stands.

    Raises `Failure` if the run does not appear: nobody took the start message. Raises `StoreUnavailable` if the store
    is away at first, or later for longer than `patience_s`.
    """
    reader = _PatientReader(read_run, patience_s, monotonic)
    started = monotonic()
    looked_at = started - LOOK_EVERY_S
    while True:
        if changes := feed.take(WAIT_FOR_EVENTS_S):
            view = view.updated(changes)
        now = monotonic()
        if view.state.is_terminal or now - looked_at >= LOOK_EVERY_S:
            looked_at = now
            run = reader.run()
            if run is not None and run.state.is_terminal:
                view = _heard_out(view, feed, monotonic)
            view = _with_document(view, run)
            if run is not None and (run.state.is_terminal or _is_over(timeout_s, now - started)):
                show.finish(view)
                return run
            _require_appearance(run, view, now - started, timeout_s)
        show.update(view)


def _heard_out(view: RunView, feed: Feed, monotonic: Callable[[], float]) -> RunView:
    """The view with the run's last events, which are published right after its document is written."""
    ends_at = monotonic() + LAST_EVENTS_WITHIN_S
    while not view.state.is_terminal and monotonic() < ends_at:
        view = view.updated(feed.take(WAIT_FOR_EVENTS_S))
    return view


class _PatientReader:
    """Answers the run as it was read last while the store is away."""

    def __init__(self, read: Callable[[], RunRecord | None], patience_s: float, monotonic: Callable[[], float]) -> None:
        self._read = read
        self._patience_s = patience_s
        self._monotonic = monotonic
        self._last: RunRecord | None = None
        self._read_at = 0.0

    def run(self) -> RunRecord | None:
        try:
            self._last = self._read()
        except StoreUnavailable:
            if self._last is None or self._monotonic() - self._read_at >= self._patience_s:
                raise
        else:
            self._read_at = self._monotonic()
        return self._last


def seconds_of(text: str) -> float:
    """A time limit: `90`, `90s`, `10m`. Raises ValueError."""
    seconds = float(text) if text.replace(".", "", 1).isdecimal() else parse_duration(text).total_seconds()
    if seconds <= 0:
        raise ValueError("it must be more than 0")
    return seconds


def _is_over(timeout_s: float | None, waited_s: float) -> bool:
    return timeout_s is not None and waited_s >= timeout_s


def _with_document(view: RunView, run: RunRecord | None) -> RunView:
    """The view, told by the document what its events may have failed to tell."""
    if run is None or (view.state is run.state and view.total):
        return view
    return replace(view, state=run.state, total=view.total or run.step_count)


def _require_appearance(run: RunRecord | None, view: RunView, waited_s: float, timeout_s: float | None) -> None:
    if run is None and waited_s >= min(APPEARS_WITHIN_S, timeout_s or APPEARS_WITHIN_S):
        raise Failure(
            f"run {view.run_id} has not appeared within {lasted(timedelta(seconds=waited_s))}: the start "
            "message was published, but the start function has not handled it. Look at the start function's log."
        )
