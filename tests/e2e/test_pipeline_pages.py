"""The pages on the pipelines among the examples: they quote the files, and their commands print what they show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from docs.test_tutorial import compared
from e2e.backends import EMBEDDED_ONLY
from e2e.console import console
from e2e.site import Site

ROOT: Final = Path(__file__).parents[2]
PIPELINES: Final = ROOT / "examples" / "pipelines"
HOW_TO: Final = ROOT / "docs" / "how-to"
PAGES: Final = {
    "load-a-day": "daily_sales",
    "promote-if-better": "promote_model",
    "join-branches": "full_or_delta",
    "clean-up": "score_on_cluster",
    "retry-on-a-larger-machine": "larger_machine",
    "run-for-each": "load_partitions",
}
BY_PAGE: Final = pytest.mark.parametrize("page", PAGES)
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_ID: Final = re.compile(r"\b([a-z]+(?:-[a-z]+)+)-[0-9a-f]{12}\b")
OF_THE_PLATFORM: Final = (
    "No jobs actually run",
    "Starting a local platform",
    "Using the running platform",
    "Logs: ",
    "`atom-workflows runs retry",
)
"""Lines that depend on whether a platform was up already, as it is in this test."""

SLIPS: Final = {
    "load-a-day": [("outputs.rows > 0", "outputs.row > 0"), (" ?? 'no table'", "")],
    "join-branches": [("== 'delta'", "== 'detla'")],
}
"""For each message that a page shows, the change of its file that causes it."""


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of that language on a page."""
    text = (HOW_TO / f"{page}.md").read_text(encoding="utf-8")
    return [found for kind, found in FENCE.findall(text) if kind == language]


def lines_of_run(output: str) -> list[str]:
    """Return the lines of an output without what differs from run to run."""
    kept = [line for line in output.splitlines() if not line.startswith(OF_THE_PLATFORM)]
    return compared(RUN_ID.sub(r"\1-ID", "\n".join(kept)))


def test_each_pipeline_has_a_page() -> None:
    """Each pipeline has one page, and the lists of pages and of examples name both."""
    files = {path.stem for path in PIPELINES.glob("*.yaml") if ".mock." not in path.name}
    assert set(PAGES.values()) == files
    how_to, examples = (HOW_TO / "README.md").read_text(), (ROOT / "examples" / "README.md").read_text()
    assert [page for page in PAGES if f"]({page}.md)" not in how_to] == []
    assert [name for name in files if f"](pipelines/{name}.yaml)" not in examples] == []


@BY_PAGE
def test_it_quotes_its_file(page: str) -> None:
    """What a page shows of its file stands there, in this order."""
    text, parts = (PIPELINES / f"{PAGES[page]}.yaml").read_text(encoding="utf-8"), blocks(page, "yaml")
    assert parts
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize("page", SLIPS)
def test_a_slip_is_reported_as_it_shows(page: str) -> None:
    """The messages of `validate` that a page shows are those of its file with a slip."""
    text, shown = (PIPELINES / f"{PAGES[page]}.yaml").read_text(encoding="utf-8"), blocks(page, "")
    for (right, wrong), message in zip(SLIPS[page], shown, strict=True):
        with pytest.raises(InvalidWorkflow) as refused:
            parse_workflow(text.replace(right, wrong).encode(), filename=f"{PAGES[page]}.yaml")
        assert [f"{problem}\n" for problem in refused.value.problems] == [message]


@EMBEDDED_ONLY
@BY_PAGE
def test_its_commands_print_what_it_shows(site: Site, page: str) -> None:
    """Each command prints what the page shows, but for times and ids."""
    for block in blocks(page, "console"):
        command, _, shown = block.partition("\n")
        dollar, program, *words = command.split()
        assert (dollar, program) == ("$", "atom-workflows")
        if "--mock-script" in words:
            # A platform that is up has got its script already.
            place = words.index("--mock-script")
            site.script((ROOT / words[place + 1]).read_text(encoding="utf-8"))
            del words[place : place + 2]
        # As `local up --mock-script` exports it.
        answer = console(site, *words, cwd=ROOT, ATOM_LOCAL_RUNNER="scripted")
        assert lines_of_run(answer.stderr + answer.stdout) == lines_of_run(shown), command
