"""Texts that others may have chosen, and what they must not do to a page."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import Page

from atom_client.text import clean

HOSTILE: Final = (
    "<script>window.owned = 1</script>",
    "<img src=x onerror='window.owned = 1'>",
    '"><svg onload=window.owned=1>',
    "' onmouseover='window.owned=1",
    "javascript:window.owned=1",
    "</title><script>window.owned=1</script>",
    "</bdi></td></table><h1>owned</h1>",
    "${window.owned=1}",
    "{{constructor.constructor('window.owned=1')()}}",
    "<iframe srcdoc='<script>parent.owned=1</script>'>",
    "<a href='https://evil.example'>click</a>",
    "<style>main { display: none }</style>",
    "<base href='https://evil.example/'>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<form action='https://evil.example'><input name=token></form>",
    "<!-- ",
    "<?lit$123$?>",
    "lit$0123456789$",
    "]]>",
    "\\u003cscript\\u003e",
    "&lt;b&gt;&#x3c;script&#x3e;",
    "\u202eexe.fdp\u202c",
    "\u2066\u202ereversed\u2069",
    "\u200b\u200c\u200d\ufeffinvisible",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31mred",
    "عربى نص من اليمين",
    "עברית ואז more",
    "a\r\nb\nc\td",
    "\u2028line\u2029paragraph",
    "n" * 3_000,
    "word " * 500,
    "🏳️‍🌈" * 200,
    "Z̸͓̠̈́͝a̵l̴g̵o̶" * 40,
    "%2F..%2F..%2Fetc",
    "../../../etc/passwd",
    "#/runs/other?state=FAILED",
    "a&state=FAILED#b",
    "`backticks` `and` more`",
    "__proto__",
    "constructor",
    "null",
)


def require_harmless(page: Page, where: str) -> None:
    """Require that no text ran a script, made an element, hides anything or breaks the layout."""
    assert page.evaluate("window.owned") is None, where
    assert page.locator("main :is(script, iframe, img, style, form:not([aria-label]), base, meta)").count() == 0, where
    assert page.locator("main h1").count() == 1, where
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth"), where
    shown = page.evaluate("document.title + document.body.innerText")
    assert [line for line in shown.split("\n") if clean(line) != line] == [], where
    outside = "[...document.querySelectorAll('main a:not([href^=\"#/\"])')].map(a => a.protocol)"
    assert set(page.evaluate(outside)) <= {"https:", "http:"}, where
