"""A browser, and consoles of coordinators in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from atom_client.console.app import Console
from atom_client.console.guard import new_token
from atom_client.console.server import ConsoleServer
from atom_workflows.coordinator.services import Services
from support.chromium import started_chromium

# A machine that does other things as well may take long; what has a limit of its own says so.
expect.set_options(timeout=20_000)

OpenConsole: TypeAlias = Callable[..., Page]
"""Opens the console of the given services, with options of `Console`; `path` is the view to open."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Chromium for the tests of this folder.

    While it is up, Playwright's event loop keeps other tests of this process from running one. They come before or
    after: a process runs its files of a folder one after another.
    """
    with started_chromium() as started:
        yield started


@pytest.fixture
def open_console(browser: Browser) -> Iterator[OpenConsole]:
    """Yield a function that opens consoles; each page must end without an error of its own."""
    errors: list[str] = []
    with ExitStack() as stack:

        def opened(services: Services, *, path: str = "/runs", width: int = 1280, **options: Any) -> Page:
            console = Console(services=services, token=new_token(), place="a test", actor="someone@here", **options)
            server = stack.enter_context(ConsoleServer(console))
            context = browser.new_context(viewport={"width": width, "height": 800}, timezone_id="Europe/Madrid")
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda said: errors.append(said.text) if is_own_error(said) else None)
            page.goto(server.address)
            page.wait_for_selector("main h1, main [role=alert]")
            if path != "/runs":
                page.evaluate("path => { location.hash = path; }", path)
            return page

        yield opened
    assert errors == []


def is_own_error(said: ConsoleMessage) -> bool:
    """Return True if a message reports an error of the page itself, not a request that was refused with a sentence."""
    return said.type == "error" and not said.text.startswith("Failed to load resource: the server responded")


@pytest.fixture
def pictures() -> Path | None:
    """Return the folder for screenshots, if someone wants to see them: CONSOLE_PICTURES=FOLDER."""
    folder = os.environ.get("CONSOLE_PICTURES")
    return None if folder is None else Path(folder)
