"""The local scheduler, with time in the test's hands."""

from __future__ import annotations

import threading

import pytest

from atom_emulator.platform.ticker import Ticker


@pytest.mark.parametrize(("every_s", "waits"), [(60.0, [57.0, 55.0, 49.0]), (5.0, [5.0, 5.0, 5.0]), (0.0, [0.0] * 3)])
def test_a_tick_comes_after_each_interval_until_stopped(every_s: float, waits: list[float]) -> None:
    """Ticks come after each interval, those of a minute at whole minutes."""
    happened: list[float | str] = []
    stops = iter([False, False, True])
    times = iter([63.0, 65.0, 71.0])

    def wait(seconds: float) -> bool:
        happened.append(seconds)
        return next(stops)

    Ticker(lambda: happened.append("tick"), every_s=every_s, wait=wait, now=times.__next__).run()
    assert happened == [waits[0], "tick", waits[1], "tick", waits[2]]


def test_stop_ends_the_thread_in_the_middle_of_an_interval() -> None:
    """A ticker stops at once, and may be stopped twice."""
    ticked = threading.Event()
    ticker = Ticker(ticked.set, every_s=3600)
    ticker.start()
    ticker.stop()
    ticker.stop()
    assert not ticked.is_set()
    assert "ticker" not in {thread.name for thread in threading.enumerate()}
