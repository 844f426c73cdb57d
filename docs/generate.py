"""Write the generated parts of the documents: state diagrams, costs, tables, commands, scripts, pictures.

`python docs/generate.py` brings the files up to date; a test fails when one is not.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from atom_workflows.core.states import RUN_TRANSITIONS, STEP_TRANSITIONS

ARCHITECTURE: Final = Path(__file__).parent.parent / "ARCHITECTURE.md"


def diagram(transitions: Mapping[Any, str], start: str) -> str:
    """Return a Mermaid state diagram with one arrow per pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (origin, event), target in transitions.items():
        arrows.setdefault((origin, target), []).append(event)
    lines = [f"    {origin} --> {target}: {', '.join(events)}" for (origin, target), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {start}", *lines, "```"])


def generated(text: str) -> str:
    """Return the document with new generated parts, each between its markers."""
    parts = {"step-states": diagram(STEP_TRANSITIONS, "PENDING"), "run-states": diagram(RUN_TRANSITIONS, "SEEDING")}
    for name, part in parts.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        before, after = between.search(text).groups()  # type: ignore[union-attr]  # it must fail without them
        text = between.sub(lambda _: before + part + after, text)  # noqa: B023 (called immediately)
    return text


if __name__ == "__main__":
    ARCHITECTURE.write_text(generated(ARCHITECTURE.read_text()))
    sys.stdout.write(f"{ARCHITECTURE.name} is up to date\n")
    for page in (
        "cost_page.py",
        "deploy_tables.py",
        "command_line.py",
        "mock_script.py",
        "pictures.py",
        "json_page.py",
    ):
        runpy.run_path(str(Path(__file__).with_name(page)), run_name="__main__")
