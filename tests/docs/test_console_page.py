"""What docs/how-to/console.md shows."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Final

from atom_client.console.app import ASSETS
from console.tour import VIEWS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "how-to" / "console.md").read_text(encoding="utf-8")
PICTURES: Final = ROOT / "docs" / "how-to" / "console"
MOST_OF_A_PICTURE: Final = 100_000
MOST_IN_ALL: Final = 1_500_000


def test_every_view_has_its_pictures() -> None:
    """`make pictures` takes a light and a dark picture of each view, and the page shows all of them."""
    wanted = runpy.run_path(str(ROOT / "docs" / "console_pictures.py"))["PICTURED"]
    names = {f"{view.name}-{scheme}.webp" for view in wanted for scheme in ("light", "dark")}
    assert {one.name for one in PICTURES.iterdir()} == names
    assert set(re.findall(r"\]\(console/([\w-]+\.webp)\)", PAGE)) == names


def test_pictures_are_small() -> None:
    """A clone does not grow by more than the pictures are worth."""
    sizes = {one.name: one.stat().st_size for one in PICTURES.iterdir()}
    assert {name: size for name, size in sizes.items() if size > MOST_OF_A_PICTURE} == {}
    assert sum(sizes.values()) < MOST_IN_ALL


def test_readme_leads_to_the_page() -> None:
    """Whoever reads the README finds the console, and sees it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/how-to/console.md)" in readme
    assert "(docs/how-to/console/graph-light.webp)" in readme


def test_the_tour_opens_every_view() -> None:
    """Pictures and the tests of all views leave none out: each pattern of an address is that of a view of the tour."""
    patterns = re.findall(r"\{ pattern: /(.+?)/, open: (\w+)", (ASSETS / "console.js").read_text(encoding="utf-8"))
    opened = {view.address for view in VIEWS}
    assert patterns
    assert [name for pattern, name in patterns if not any(re.search(pattern, path) for path in opened)] == []
