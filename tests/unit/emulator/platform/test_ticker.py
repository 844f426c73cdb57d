"""The local scheduler, with time in the test's hands."""

from __future__ import annotations

import threading

from atom_emulator.platform.ticker import Ticker


def test_a_tick_comes_at_each_whole_interval_until_stopped() -> None:
    """Nothing is published before the first one, which is nearer than an interval, nor after the stop."""
    happened: list[float | str] = []
    stops = iter([False, False, True])
    times = iter([63.0, 65.0, 71.0])

    def wait(seconds: float) -> bool:
        happened.append(seconds)
        return next(stops)

    Ticker(lambda: happened.append("tick"), every_s=5.0, wait=wait, now=times.__next__).run()
    assert happened == [2.0, "tick", 5.0, "tick", 4.0]


def test_stop_ends_the_thread_in_the_middle_of_an_interval() -> None:
    """A ticker with an hour to wait stops at once, and stopping twice is harmless."""
    ticked = threading.Event()
    ticker = Ticker(ticked.set, every_s=3600)
    ticker.start()
    ticker.stop()
    ticker.stop()
    assert not ticked.is_set()
    assert "ticker" not in {thread.name for thread in threading.enumerate()}
