"""Chromium, for tests that open pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from support.services import CHROMIUM, need

OPTIONS: Final = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    # Without these, the browser looks for its maker's servers.
    *("--disable-background-networking", "--disable-component-update", "--disable-quic"),
)


@contextmanager
def started_chromium() -> Iterator[Browser]:
    """Yield a browser, of which a process can have only one at a time."""
    need("chromium")
    with sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield started
        started.close()
