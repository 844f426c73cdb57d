"""What is published of the file's fields: the JSON Schema and the tables of the reference.

`python -m atom_workflows.parsing.published docs/reference` brings both up to date in that folder.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

from atom_workflows.parsing.reference import field_tables
from atom_workflows.parsing.schema import json_schema

SCHEMA_FILE: Final = "workflow.schema.json"
REFERENCE_FILE: Final = "workflow-file.md"
_TABLE: Final = re.compile(r"(<!-- fields of (\w+) -->\n).*?(<!-- end of fields -->)", re.DOTALL)


def schema_text() -> str:
    """The schema file's text."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def with_tables(reference: str) -> str:
    """The reference with its tables as they should be."""
    tables = field_tables()
    return _TABLE.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n{found[3]}", reference)


def publish(folder: Path) -> None:
    """Write the schema, and the tables into the reference."""
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    reference = folder / REFERENCE_FILE
    reference.write_text(with_tables(reference.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
