"""Write the tables of docs/reference/mock-script.md from the fields by which scripts are read.

`python docs/generate.py` brings the page up to date; a test fails when it is not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from atom_emulator.task_runner.script_fields import (
    BEHAVIOR_FIELDS,
    CONDITION_FIELDS,
    FAULT_FIELDS,
    SCRIPT_FIELDS,
    Fields,
)

PAGE: Final = Path(__file__).parent / "reference" / "mock-script.md"

_TABLES: Final = {
    "script": SCRIPT_FIELDS,
    "conditions": CONDITION_FIELDS,
    "behavior": BEHAVIOR_FIELDS,
    "faults": FAULT_FIELDS,
}


def table(fields: Fields) -> str:
    """Return the table of these fields.

    The column of defaults is left out if there are none.
    """
    rows = [["field", "value", "default", "what it means"]]
    for field in fields.values():
        example = f" For example `{field.example}`." if field.example else ""
        rows.append([f"`{field.name}`", field.value, field.default, f"{field.meaning}{example}"])
    if not any(row[2] for row in rows[1:]):
        rows = [[*row[:2], row[3]] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def generated(page: str) -> str:
    """Return the page with new tables, each between its markers."""
    for name, fields in _TABLES.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, found = between.subn(lambda part: f"{part[1]}\n{table(fields)}\n\n{part[2]}", page)  # noqa: B023 (called immediately)
        if found != 1:
            raise ValueError(f"{PAGE.name} has {found} places for {name} instead of one")
    return page


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is up to date\n")
