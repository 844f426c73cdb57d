"""What the page and the console's server hold does not grow with the changes that they have shown.

`make bench-graph` plays a whole hour, with 10,000 steps.
"""

from __future__ import annotations

import pytest
from bench.console_hour import VIEWS, watching
from playwright.sync_api import Browser

from atom_client.console import live, live_steps


def test_changes_and_views_that_were_left_leave_nothing(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """After hundreds of changes and dozens of views, heap, nodes, listeners, threads and feeds are as before."""
    monkeypatch.setattr(live, "LEAST_PAUSE_S", 0.0)
    for module in (live, live_steps):
        monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.1)
    # A page that has left is noticed by the next empty line.
    monkeypatch.setattr(live, "SILENCE_S", 0.1)
    with watching(browser, steps=200) as page:
        held = []
        for _ in range(2):
            for view in VIEWS:
                page.play(view, 15)
            for _ in range(2):
                page.tour()
            held.append(page.held())
    before, after = held
    assert after.heap_mb - before.heap_mb < 1.0
    assert after.nodes - before.nodes < 300
    assert after.listeners - before.listeners < 30
    assert after.threads - before.threads < 5
    assert after.feeds <= 1
