"""Texts that others may have chosen, and what they must not do to a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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


LOOK: Final = """() => {
  const within = [document.querySelector('main'), ...document.querySelectorAll('dialog')];
  const all = (selector) => within.flatMap((one) => [...one.querySelectorAll(selector)]);
  const isIsolated = (node) => node.parentElement.closest('bdi, pre, textarea, option, [dir]') !== null;
  const texts = [];
  for (const part of within) {
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) texts.push(walker.currentNode);
  }
  const names = ['title', 'aria-label', 'placeholder'];
  return {
    owned: window.owned ?? null,
    elements: all('script, iframe, img, style, form:not([aria-label]), base, meta').map((one) => one.outerHTML),
    headings: document.querySelectorAll('main h1').length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    shown: document.title + document.body.innerText,
    said: all('*').flatMap((one) => names.map((name) => one.getAttribute(name) ?? '')).filter(Boolean),
    addresses: all('a:not([href^="#/"])').map((one) => one.protocol),
    turning: texts.filter((one) => /[\\u0590-\\u08ff]/u.test(one.data) && !isIsolated(one)).map((one) => one.data),
  };
}"""
WIDTHS: Final = (360, 1280)
# The page's own listener has replaced the view before by "Loading …" when the one that waits here is called.
VISIT: Final = """async (views) => {
  const look = LOOK;
  const isShown = (label) => [...document.querySelectorAll('[aria-label]')]
    .some((one) => one.ariaLabel === label && one.checkVisibility());
  const found = [];
  for (const [address, label] of views) {
    const changed = new Promise((done) => addEventListener('hashchange', done, { once: true }));
    location.hash = address;
    await changed;
    const latest = performance.now() + 20_000;
    while (!isShown(label)) {
      if (performance.now() > latest) throw new Error(`${address} shows no ${label}`);
      await new Promise(requestAnimationFrame);
    }
    found.push([address, look()]);
  }
  return found;
}""".replace("LOOK", LOOK)


def require_harmless(page: Page, where: str) -> None:
    """Require that no text ran a script, made an element, hides or turns anything, or breaks the layout."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        _require_harmless(page.evaluate(LOOK), f"{where} at {width}")


def require_harmless_views(page: Page, views: Mapping[str, str]) -> None:
    """Open each view by its address, wait for the part of it that has the label, and require that it is harmless.

    There are at least two, and the one that is open is not the first: the page must hear of each change of its address.
    """
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for address, found in page.evaluate(VISIT, list(views.items())):
            _require_harmless(found, f"{address} at {width}")


def _require_harmless(found: Mapping[str, Any], where: str) -> None:
    assert found["owned"] is None, where
    assert found["elements"] == [], where
    assert found["headings"] == 1, where
    assert found["overflow"] <= 0, where
    assert [line for line in found["shown"].split("\n") if clean(line) != line] == [], where
    assert [said for said in found["said"] if clean(said) != said] == [], where
    assert set(found["addresses"]) <= {"https:", "http:"}, where
    assert found["turning"] == [], where
