"""The configuration of the site that `make docs` builds from the project's pages with Sphinx and MyST.

The whole repository is the source folder, so that a relative link between two pages, or from a page to a file, works
both for readers of the files and on the site. Warnings fail the build, for example a link to a page, file or heading
that does not exist, or a page that no list links to.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, split
from typing import Final

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT: Final = Path(__file__).parent.parent

project = "Atom Workflows"
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "examples/*.md", "emulator/**/*.md"]
highlight_language = "none"
myst_heading_anchors = 4
html_theme = "pydata_sphinx_theme"
html_title = project
html_copy_source = False
html_use_index = False
html_sidebars: dict[str, list[str]] = {root_doc: []}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "show_nav_level": 2,
}

_LISTED: Final = re.compile(r"\]\(([^)#:\s]+)\.md\)")
_ELSEWHERE: Final = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc=["'](?:https?:)?//[^"']+|<link[^>]*\shref=["'](?:https?:)?//[^"']+"""
    r"""|(?:url\(|@import\s*)["']?(?:https?:)?//[^"')]+"""
)
_ENTRANCE: Final = '<!doctype html><meta http-equiv="refresh" content="0; url={0}"><a href="{0}">Atom Workflows</a>\n'


def list_pages(_: Sphinx, page: str, source: list[str]) -> None:
    """Add the pages that a section's README links to, in that order, to the menu."""
    folder, name = split(page)
    if name != "README" or not page.startswith("docs/"):
        return
    targets = dict.fromkeys(normpath(join(folder, target)) for target in _LISTED.findall(source[0]))
    # A page has one place in the menu, so a page of another section is listed there and not here.
    own = [
        target
        for target in targets
        if dirname(target) == folder or not target.startswith("docs/") or _is_section(page, target)
    ]
    source[0] += "\n".join(["\n\n```{toctree}", ":hidden:", *(f"/{target}" for target in own), "```\n"])


def _is_section(page: str, target: str) -> bool:
    return page == root_doc and target.endswith("/README")


def finish(app: Sphinx, error: Exception | None) -> None:
    """Write the site's start page, and refuse files that load from other hosts."""
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    (site / "index.html").write_text(_ENTRANCE.format(f"{root_doc}.html"), encoding="utf-8")
    pages = (file for file in site.rglob("*") if file.suffix in {".html", ".css"})
    found = {hit for file in pages for hit in _ELSEWHERE.findall(file.read_text(encoding="utf-8"))}
    if found:
        raise ExtensionError(f"the site would fetch from other hosts: {', '.join(sorted(found))}")


def setup(app: Sphinx) -> None:
    """Register this site's extensions of Sphinx."""
    # The text of a diagram is readable. Drawing it would require a program that is fetched from another host.
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", list_pages)
    app.connect("build-finished", finish)
