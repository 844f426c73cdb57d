"""The reference pages name what the code has, all of it and nothing else."""

from __future__ import annotations

import re
import runpy
from dataclasses import fields
from pathlib import Path
from typing import Final

from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.settings import Settings

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"
DEPLOYED: Final = "\n".join(
    path.read_text(encoding="utf-8") for folder in ("shared", "functions") for path in (ROOT / folder).rglob("*.py")
)
FIRST_COLUMN: Final = re.compile(r"^\| (`[^|]+`) \|", re.MULTILINE)
STORED_OTHERWISE: Final = {"id", "run_id", "timeout", "finally_timeout", "request"}
STORED_NAMES: Final = {"timeout_s", "finally_timeout_s", "task", "place"}
"""Of a record's fields, those that are the document's path or are stored by another name, and these names."""


def page(name: str) -> str:
    """Return a page of the reference."""
    return (REFERENCE / name).read_text(encoding="utf-8")


def listed(text: str) -> set[str]:
    """Return the names in the first columns of a page's tables."""
    return {name for cell in FIRST_COLUMN.findall(text) for name in re.findall(r"`([^`]+)`", cell)}


def section(text: str, heading: str) -> str:
    """Return a part of a page."""
    return text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]


def test_every_command_and_option_is_on_the_page() -> None:
    """Writing the page again changes nothing; if this fails, run `python docs/generate.py`."""
    generated = runpy.run_path(str(ROOT / "docs" / "command_line.py"))["generated"]
    assert generated(page("command-line.md")) == page("command-line.md")


def test_every_setting_is_on_the_page() -> None:
    """Each variable that the functions read is listed, and no other."""
    found = re.findall(r"\"(WORKFLOW_[A-Z_]+)\"", DEPLOYED)
    # A prefix stands for every variable that begins with it.
    read = {f"{name}NAME" if name.endswith("_") else name for name in found}
    assert {name for name in listed(page("settings.md")) if name.startswith("WORKFLOW_")} == read


def test_the_defaults_are_the_codes() -> None:
    """The page's defaults are those of the code."""
    documented = dict(re.findall(r"^\| `(WORKFLOW_\w+)`.* \| ([^|]+) \|$", page("settings.md"), flags=re.MULTILINE))
    usual = Settings()
    assert documented["WORKFLOW_CHECK_STATE_DURATION_SEC"] == f"{usual.check_interval.total_seconds():g}"
    assert documented["WORKFLOW_BURST_SEC"] == f"{usual.burst.total_seconds():g}"
    assert documented["WORKFLOW_LEASE_SEC"] == f"{usual.lease.total_seconds():g}"
    assert documented["WORKFLOW_MAX_DELIVERIES"] == str(usual.max_deliveries)
    assert documented["WORKFLOW_KEEP_RUNS_SEC"] == f"{usual.keep_runs.days} days"
    assert documented["WORKFLOW_OBJECT_PREFIX"] == f"`{usual.object_prefix}`"
    assert documented["WORKFLOW_OBJECT_SUFFIXES"] == f"`{','.join(usual.object_suffixes)}`"
    assert documented["WORKFLOW_DATABASE"] == f"`{usual.database}`"


def test_every_stored_field_is_on_the_page() -> None:
    """Each stored field and state is listed, and no other."""
    text = page("documents.md")
    for heading, record, states in (("## A run", RunRecord, RunState), ("## A step", StepRecord, StepState)):
        known = {one.name for one in fields(record)} - STORED_OTHERWISE
        documented = listed(section(text, heading))
        assert documented - STORED_NAMES == known
        assert all(state.value in section(text, heading) for state in states)


def test_every_event_is_on_the_page() -> None:
    """Each type of event that is published is listed with its topic."""
    text = page("events.md")
    published = set(re.findall(r"_message\(\s*\"(\w+)\",\s*\"([\w.]+)\"", DEPLOYED))
    assert ("events", "run.changes") in published
    for topic, kind in published:
        assert (f'"type": "{kind}"' if topic == "events" else f"| `{kind}` | `{topic}` |") in text


def test_every_attribute_of_a_dead_letter_is_on_the_page() -> None:
    """Each attribute of a dead letter is listed, and no other."""
    ours = set(re.findall(r"\"(deadLetter\w+)\"", DEPLOYED))
    assert {name for name in listed(page("events.md")) if name.startswith("deadLetter")} == ours
    assert "`replayOf`" in page("events.md")


def test_every_field_of_a_start_message_is_on_the_page() -> None:
    """Each field of a start message is listed, and no other."""
    [fields_known] = re.findall(r"^_FIELDS: Final = \(([^)]*)\)", DEPLOYED, flags=re.MULTILINE)
    assert listed(section(page("events.md"), "## Start a run")) == {
        *re.findall(r"\w+", fields_known),
        "generation",
        "schema",
    }
