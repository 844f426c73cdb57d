"""The live view of a large run, as a person sees it in terminals of different widths."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from e2e.backends import EMBEDDED_ONLY
from e2e.console import command, console, surroundings
from e2e.site import Site
from support.deadline import eventually
from support.tmux import NEEDS_TMUX, Terminal, terminal
from support.workflows import definition

HEIGHT: Final = 40
LONG: Final = (
    "the job ended: no space left on device /mnt/scratch/2026-11-30 while sorting part 7 of 12 → retry later. " * 3
)
LOADED: Final = [f"load-{number:03}" for number in range(200)]
BROKEN: Final = [f"clean-{number:03}" for number in range(40)]
BUSY: Final = [f"train-model-of-region-europe-west{number % 12 + 1}-{number:02}" for number in range(39)]
LONGEST: Final = "publish-the-monthly-report-of-every-region-and-product-group-19"
BUSY.append(LONGEST)
WAITING: Final = [f"report-{number:02}" for number in range(20)]
STATES: Final = {"SUCCEEDED": 200, "FAILED": 40, "RUNNING": 40, "PENDING": 20}
SCRIPT: Final = json.dumps(
    {
        "rules": [
            {"step": "load-*", "message": LONG},
            {"step": "clean-*", "always_fail": True, "reason": "DISK_FULL", "message": LONG},
        ],
        "default": {"duration": 600, "message": LONG},
    }
)
WIDTHS: Final = (60, 80, 120)
KNOWN: Final = {
    **dict.fromkeys(LOADED, "SUCCEEDED"),
    **dict.fromkeys(BROKEN, "FAILED"),
    **dict.fromkeys(BUSY, "RUNNING"),
    **dict.fromkeys(WAITING, "PENDING"),
}
ROOM_AROUND: Final = 8
"""The most lines of the screen that show no step."""

LONGEST_RESULT: Final = 240
"""The most lines of the result: two for each step, and what is said about five failures."""

_HEADING: Final = re.compile(r"Run \S+ [A-Z]+ +\d+:\d\d")
_STEP: Final = re.compile(r"(\S+) +(SUCCEEDED|FAILED|RUNNING|PENDING)(?: {2,}(.+))?")


@pytest.fixture
def run_id(site: Site) -> str:
    """Return a run of 300 steps that stays as it is."""
    site.script(SCRIPT)
    edges = {name: [BUSY[0]] if name in WAITING else [] for name in (*LOADED, *BROKEN, *BUSY, *WAITING)}
    run_id = site.start(definition(edges))

    def counts() -> dict[str, int]:
        states = list(site.states(run_id).values())
        return {state: states.count(state) for state in STATES}

    eventually(lambda: counts() == STATES, within_s=100, what="a run that stays as it is", every_s=0.5)
    return run_id


@EMBEDDED_ONLY
@NEEDS_TMUX
def test_a_large_run_is_readable_at_every_width(site: Site, run_id: str, tmp_path: Path) -> None:
    """Ids and states are whole, counts are right and no line is wrapped, until the end and in the result."""
    watch = command("runs", "watch", run_id)
    with ExitStack() as stack:
        screens = [
            stack.enter_context(
                terminal(watch, folder=tmp_path, environment=surroundings(site), width=width, height=HEIGHT)
            )
            for width in WIDTHS
        ]
        for screen in screens:
            _require_readable(_frame(screen), screen, run_id)
        console(site, "runs", "cancel", run_id).succeeded()
        for screen in screens:
            _require_complete(screen)


def _frame(screen: Terminal) -> list[str]:
    """Return the lines of the live view, below the line with which the command begins."""

    def drawn() -> list[str]:
        lines = "\n".join(screen.seen()).rstrip().split("\n")
        begin = next((place for place, line in enumerate(lines) if _HEADING.fullmatch(line)), len(lines))
        return lines[begin:] if len(lines) > HEIGHT - ROOM_AROUND else []

    return eventually(drawn, within_s=60, what=f"the live view at {screen.width}", every_s=0.2)


def _require_readable(frame: list[str], screen: Terminal, run_id: str) -> None:
    heading, bar, *rest = frame
    assert heading.startswith(f"Run {run_id} RUNNING  ")
    assert set(bar) == {"━", "─"}
    counts, rows = rest[: rest.index("")], rest[rest.index("") + 1 :]
    assert " ".join(counts) == "240 of 300 ended: 20 PENDING, 40 RUNNING, 200 SUCCEEDED, 40 FAILED"
    assert all(line.endswith((":", ",", "FAILED")) for line in counts), "a number stands apart from its state"
    assert len(rows) >= HEIGHT - ROOM_AROUND
    found = [_STEP.fullmatch(line) for line in rows]
    assert all(found), [line for line, one in zip(rows, found, strict=True) if one is None]
    states = {one[1]: one[2] for one in found if one is not None}
    assert len(states) == len(rows)
    shortened = {name: state for name, state in states.items() if name not in KNOWN}
    assert {name: state for name, state in states.items() if name in KNOWN}.items() <= KNOWN.items()
    if len(LONGEST) + len("  RUNNING") > screen.width:
        [(name, state)] = shortened.items()
        head, _, tail = name.partition("…")
        assert (LONGEST.startswith(head), LONGEST.endswith(tail), state) == (True, True, "RUNNING")
        assert len(name) >= screen.width - len("  RUNNING  10:00")
    else:
        assert not shortened
    # The terminal itself has wrapped nothing, or it would join these lines.
    assert screen.everything(joined=True)[-len(frame) :] == frame
    assert any(one is not None and one[3] and one[3].startswith("DISK_FULL: the job") for one in found)


def _require_complete(screen: Terminal) -> None:
    """Check that nothing of the live view is left, and that the result is there to its last line."""
    code = "ended with 1"
    eventually(lambda: code in screen.seen(), within_s=60, what=f"the result at {screen.width}", every_s=0.2)
    lines = screen.everything()
    assert not any(" of 300 ended" in line for line in lines)
    names = [line.partition(" ")[0] for line in lines]
    assert set(BROKEN) <= set(names), "an id is wrapped or missing"
    joined = "\n".join(screen.everything(joined=True))
    assert "240 more steps not shown; `--json` lists all 300." in joined
    assert "35 more steps failed.\n" in joined
    assert joined.rstrip().endswith(code)
    assert len(lines) <= LONGEST_RESULT
