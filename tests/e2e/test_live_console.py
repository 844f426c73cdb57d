"""The console on a real platform: a change is on the screen within a second of its commit."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from atom_client.console.feeds import Feeds
from atom_workflows.bootstrap import connect, listener
from atom_workflows.settings import from_environment
from console.conftest import OpenConsole, open_console  # noqa: F401 (a fixture)
from e2e.site import Site
from support.chromium import started_chromium
from support.workflows import chain, script

SOON_S: Final = 1.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium for this file alone: while it is up, no other test of this process can run an event loop."""
    with started_chromium() as started:
        yield started


@pytest.fixture
def feeds(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feeds]:
    """Yield the feeds of a console on the platform."""
    for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
        monkeypatch.setenv(name, site.environment[name])
    made = Feeds(listener(from_environment(site.environment)))
    yield made
    made.close()


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Require the block to be done in time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds, what


def test_a_commit_is_on_the_screen_within_a_second(site: Site, feeds: Feeds, open_console: OpenConsole) -> None:  # noqa: F811 (a fixture)
    """What anyone writes into a step's document is shown at once, and the end of the run when it comes."""
    site.script(script(s0={"duration": 600}))
    run_id = site.start(chain(2))
    services = connect(from_environment(site.environment))
    page = open_console(services, path=f"/runs/{run_id}", feeds=feeds)
    # The page may be faster than the run.
    while page.get_by_role("alert").count():
        page.reload()
        page.wait_for_selector("main h1")
    row = page.get_by_role("row", name=re.compile("^s0 "))
    expect(row).to_contain_text("RUNNING", timeout=30_000)
    expect(page.locator("[data-status=live]")).to_be_visible()
    for number in range(3):
        site.database.document(f"runs/{run_id}/steps/s0").update({"kept_from": f"run-{number}"})
        with within(SOON_S, "the change is not shown"):
            expect(row).to_contain_text(f"kept from run-{number}", timeout=SOON_S * 1000)


def test_a_run_that_goes_on_is_followed_to_its_end(site: Site, feeds: Feeds, open_console: OpenConsole) -> None:  # noqa: F811 (a fixture)
    """A run that is started while its list is open appears, and its page shows its end, without being asked."""
    site.script(script(s0={"duration": 2}))
    page = open_console(connect(from_environment(site.environment)), feeds=feeds)
    expect(page.locator("[data-status=live]")).to_be_visible(timeout=30_000)
    run_id = site.start(chain(3))
    link = page.get_by_role("link", name=run_id)
    expect(link).to_be_visible(timeout=30_000)
    link.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("SUCCEEDED", timeout=60_000)
    expect(page.locator("main tbody tr", has_text="SUCCEEDED")).to_have_count(3)
