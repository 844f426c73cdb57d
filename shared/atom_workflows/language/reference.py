"""The field tables of the user reference, generated from the same fields that the reader uses."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

from atom_workflows.core.durations import format_duration
from atom_workflows.language.fields import BACKOFF, PARAM, POLICIES, RETRY, STEP, TASK, WORKFLOW
from atom_workflows.language.json_schema import json_schema
from atom_workflows.language.kinds import (
    Anything,
    Arguments,
    Choice,
    Condition,
    Duration,
    ExpressionMap,
    Flag,
    Kind,
    Number,
    ParamMap,
    Record,
    RecordList,
    Text,
    TextList,
    TextMap,
    TypeMap,
    TypeNotation,
    Zone,
)

_TABLES = {
    "workflow": WORKFLOW.fields,
    "parameter": PARAM.fields,
    "step": STEP.fields,
    "task": TASK.fields,
    "defaults": POLICIES,
    "retry": RETRY.fields,
    "backoff": BACKOFF.fields,
}


def field_tables() -> dict[str, str]:
    """Return a Markdown table of fields for each map, keyed by name."""
    tables = {}
    for name, fields in _TABLES.items():
        rows = ["| Field | Value | Default | What it is for |\n| --- | --- | --- | --- |\n"]
        for field in fields:
            default = "required" if field.required else "" if field.default is None else f"`{field.default}`"
            shown = (one if isinstance(one, str) else json.dumps(one) for one in field.examples[:1])
            said = " ".join([field.description, *(f"For example `{one}`." for one in shown)])
            rows.append(f"| `{field.name}` | {_describe(field.kind)} | {default} | {said} |\n")
        tables[name] = "".join(rows)
    return tables


def _describe(kind: Kind) -> str:  # noqa: C901, PLR0911, PLR0912  # one case per kind
    """Describe the values that a field of this kind accepts."""
    match kind:
        case Text():
            return f"text of at most {kind.max_length:,} characters" + (f": {kind.rule}" if kind.rule else "")
        case Choice():
            return " or ".join(f"`{word}`" for word in kind.words)
        case Duration():
            return f"duration, {'more than 0s, ' * kind.positive}at most {format_duration(kind.maximum)}"
        case Number():
            return f"{'whole ' * kind.whole}number from {kind.minimum} to {kind.maximum}"
        case Flag():
            return "`true` or `false`"
        case Condition():
            return "[condition](#conditions)"
        case Zone():
            return "name of a time zone"
        case Anything():
            return "value of the parameter's type"
        case TypeNotation():
            return "[type](#types)"
        case TypeMap():
            return f"map from at most {kind.maximum} names to [types](#types)"
        case ExpressionMap():
            return f"map from at most {kind.maximum} names to [expressions](#expressions)"
        case ParamMap():
            return f"map from at most {kind.maximum} names to [parameters](#parameters)"
        case TextList():
            return "list of distinct step ids, or a single id"
        case TextMap():
            return "map from text to text"
        case Arguments():
            return "list or map, or an [expression](#expressions) for one"
        case Record():
            return f"map, see [{kind.title.lower()}](#{kind.title.lower().replace(' ', '-')})"
        case RecordList():
            return f"list of 1 to {kind.maximum:,} [{kind.noun}s](#{kind.noun})"


SCHEMA_FILE: Final = "workflow.schema.json"
REFERENCE_FILE: Final = "workflow-file.md"
_TABLE: Final = re.compile(r"(<!-- fields of (\w+) -->\n).*?(<!-- end of fields -->)", re.DOTALL)


def schema_text() -> str:
    """Return the text of the schema file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def with_tables(reference: str) -> str:
    """Return the reference with its tables brought up to date."""
    tables = field_tables()
    return _TABLE.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n{found[3]}", reference)


def publish(folder: Path) -> None:
    """Write the schema file, and update the tables in the reference."""
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    reference = folder / REFERENCE_FILE
    reference.write_text(with_tables(reference.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
