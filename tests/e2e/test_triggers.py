"""The table of triggers: what becomes of a step, by how the steps that it depends on have ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final

from e2e.site import Site

TRIGGERS: Final = ("no-failure", "all-succeeded", "any-failed", "always")
RUNS, SKIPPED, BLOCKED = "runs", "skipped", "blocked"

ENDS: Final[Mapping[str, list[str]]] = {
    "all succeeded": ["good", "fine"],
    "succeeded and tolerated": ["good", "tolerated"],
    "some skipped": ["good", "skipped"],
    "all skipped": ["skipped", "behind-skipped"],
    "one failed": ["good", "failed"],
    "one failed and the others skipped": ["skipped", "failed"],
    "one cancelled": ["good", "cancelled"],
    "one blocked": ["good", "blocked"],
}
TABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "all succeeded": (RUNS, RUNS, SKIPPED, RUNS),
    "succeeded and tolerated": (RUNS, RUNS, SKIPPED, RUNS),
    "some skipped": (RUNS, SKIPPED, SKIPPED, RUNS),
    "all skipped": (SKIPPED, SKIPPED, SKIPPED, RUNS),
    "one failed": (BLOCKED, BLOCKED, RUNS, RUNS),
    "one failed and the others skipped": (BLOCKED, BLOCKED, RUNS, RUNS),
    "one cancelled": (BLOCKED, BLOCKED, RUNS, RUNS),
    "one blocked": (BLOCKED, BLOCKED, RUNS, RUNS),
}
SOURCES: Final[Mapping[str, Mapping[str, Any]]] = {
    "good": {},
    "fine": {},
    "tolerated": {"allowFailure": True},
    "skipped": {"when": "run.id == ''"},
    "behind-skipped": {"dependsOn": ["skipped"]},
    "failed": {},
    "cancelled": {},
    "blocked": {"dependsOn": ["failed"]},
}
SCRIPT: Final = {
    "rules": [
        {"step": "failed", "always_fail": True},
        {"step": "tolerated", "always_fail": True},
        {"step": "cancelled", "states": ["CANCELLED"]},
    ]
}


def joins(ends: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return a join for each of these ends of its dependencies and each trigger, and a step behind each join."""
    found: dict[str, dict[str, Any]] = {}
    for ended, trigger in product(ends, TRIGGERS):
        name = join_id(ended, trigger)
        found[name] = {"dependsOn": ENDS[ended], "trigger": trigger}
        found[f"{name}.behind"] = {"dependsOn": [name]}
    return found


def join_id(ended: str, trigger: str) -> str:
    """Return the id of the join in this cell of the table."""
    return f"{ended.replace(' ', '-')}.{trigger}"


def workflow_of(steps: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a workflow of these steps, each of which has a task."""
    listed = [{"id": name, "task": {"imageUri": "image"}, **fields} for name, fields in steps.items()]
    return json.dumps({"name": "table", "steps": listed})


def fate(step: Mapping[str, Any]) -> str:
    """Return what became of a join, in the words of the table."""
    if step["state"] == "SKIPPED":
        return SKIPPED if step.get("by_choice") else BLOCKED
    assert step["state"] == "SUCCEEDED"
    return RUNS


def test_each_cell_of_the_table(site: Site) -> None:
    """A step runs, is skipped or is blocked as the table says, and the step behind it follows."""
    site.script(json.dumps(SCRIPT))
    run_id = site.start(workflow_of({**SOURCES, **joins(ENDS)}))
    run, steps = site.ended(run_id), site.steps(run_id)
    cells = {(ended, trigger): TABLE[ended][column] for ended in TABLE for column, trigger in enumerate(TRIGGERS)}
    assert {cell: fate(steps[join_id(*cell)]) for cell in cells} == cells
    assert {cell: fate(steps[f"{join_id(*cell)}.behind"]) for cell in cells} == cells
    # Steps that reacted to a failure have not forgiven it.
    assert run["state"] == "FAILED"
    assert {error["step"] for error in run["errors"]} == {"failed", "cancelled"}


def test_a_run_without_a_failure_succeeds_whatever_was_skipped(site: Site) -> None:
    """Steps that were skipped by choice, and tolerated failures, do not fail the run."""
    site.script(json.dumps(SCRIPT))
    sources = {name: SOURCES[name] for name in ("good", "fine", "tolerated", "skipped", "behind-skipped")}
    quiet = [ended for ended, names in ENDS.items() if sources.keys() >= set(names)]
    assert len(quiet) == 4
    run = site.ended(site.start(workflow_of({**sources, **joins(quiet)})))
    assert (run["state"], run.get("errors", [])) == ("SUCCEEDED", [])


def test_the_page_has_this_table() -> None:
    """The page on how steps decide has a row for each of the four ends."""
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "how-steps-decide.md").read_text(encoding="utf-8")
    rows = page.partition("\n## The trigger\n")[2].partition("\n\n## ")[0].replace("*", "").splitlines()
    shown = [tuple(cell.strip() for cell in row.split("|")[2:-1]) for row in rows if row.startswith("| ")][1:]
    assert shown == [TABLE[ended] for ended in ("all succeeded", "some skipped", "all skipped", "one failed")]
