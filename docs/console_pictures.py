"""Take the pictures of docs/how-to/console.md, of each view of the console, light and dark.

`make pictures` does this with Chromium. Pictures of two machines differ by their fonts, so no test compares them.
"""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, sync_playwright

from atom_client.console.app import Console
from atom_client.console.guard import new_token
from atom_client.console.server import ConsoleServer
from console.showcase import Showcase, build_showcase
from console.tour import VIEWS

FOLDER: Final = Path(__file__).parent / "how-to" / "console"
PICTURED: Final = [
    view for view in VIEWS if view.name not in {"running", "invalid", "item", "letter", "cancel", "error"}
]
"""The others look like one of these."""

SCROLLED: Final = {
    "graph": ".tabs",
    "timeline": ".tabs",
    "details": ".tabs",
    "start": "form fieldset",
    "file": "#file-graph",
    "problems": "#file-problems",
}
"""What stands at the top of a picture, where that is not the top of the page."""

SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
WIDTH: Final = 1100
HEIGHT: Final = 720
QUALITY: Final = 60
"""Of WebP, from 0 to 100: letters stay sharp, and a picture has about 30 KB."""


def take_pictures(browser: Browser, address: str, shown: Showcase) -> None:
    """Open each view in each scheme, and write its pictures."""
    for scheme in SCHEMES:
        size = {"width": WIDTH, "height": HEIGHT}
        context = browser.new_context(viewport=size, color_scheme=scheme, timezone_id="Europe/Madrid")  # type: ignore[arg-type]  # a dict with just its keys
        page = context.new_page()
        page.goto(address)
        camera = context.new_cdp_session(page)
        for view in PICTURED:
            view.open(page, shown)
            if where := SCROLLED.get(view.name):
                page.locator(where).first.evaluate("one => one.scrollIntoView()")
            taken = camera.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
            (FOLDER / f"{view.name}-{scheme}.webp").write_bytes(base64.b64decode(taken["data"]))
        context.close()


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    showcase = build_showcase()
    program = Console(
        services=showcase.world.services,
        token=new_token(),
        place="the project acme-workflows",
        actor="ana@acme.example",
        desk=lambda: showcase.desk,
    )
    with sync_playwright() as tool, ConsoleServer(program) as server:
        chromium = tool.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        take_pictures(chromium, server.address, showcase)
        chromium.close()
    sys.stdout.write(f"{FOLDER} has {len(list(FOLDER.iterdir()))} pictures\n")
