"""The field tables of the user reference.

They are generated from the same fields that the reader uses.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.kinds import TRIGGERS, Ended, Release
from atom_workflows.core.workflow import Trigger
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.functions import FUNCTION_NAMES, FUNCTIONS
from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.types import write_value
from atom_workflows.language.fields import CONCURRENCY, DEADLINE, PARAM, SCHEDULE, WORKFLOW
from atom_workflows.language.json_schema import json_schema
from atom_workflows.language.kinds import (
    Anything,
    Arguments,
    Choice,
    Condition,
    Cron,
    Duration,
    ExpressionMap,
    Flag,
    ItemLists,
    Kind,
    Number,
    ParamMap,
    ParamValues,
    Record,
    RecordList,
    Text,
    TextList,
    TextMap,
    TimeOfDay,
    TypeMap,
    TypeNotation,
    Zone,
)
from atom_workflows.language.step_fields import BACKOFF, POLICIES, RETRY, STEP, TASK

_TABLES = {
    "workflow": WORKFLOW.fields,
    "parameter": PARAM.fields,
    "schedule": SCHEDULE.fields,
    "deadline": DEADLINE.fields,
    "step": STEP.fields,
    "task": TASK.fields,
    "concurrency": CONCURRENCY.fields,
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
            computed = ", or an [expression](#expressions) that yields one" if kind.expressions else ""
            return f"{'whole ' * kind.whole}number from {kind.minimum:,} to {kind.maximum:,}{computed}"
        case Flag():
            return "`true` or `false`"
        case Condition():
            return "[condition](#conditions)"
        case Zone():
            return "name of a time zone"
        case Cron():
            return "[cron expression](#cron-expressions)"
        case TimeOfDay():
            return "time of day, in quotes"
        case ParamValues():
            return "map from parameter names to values"
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
            return "list or map, or an [expression](#expressions) that yields one"
        case ItemLists():
            return "list, [expression](#expressions) that yields a list, or map from names to lists or such expressions"
        case Record():
            return f"map, see [{kind.title.lower()}](#{kind.title.lower().replace(' ', '-')})"
        case RecordList():
            return f"list of {kind.minimum} to {kind.maximum:,} [{kind.noun}s](#{kind.noun})"


SCHEMA_FILE: Final = "workflow.schema.json"
REFERENCE_FILE: Final = "workflow-file.md"
_FUNCTIONS: Final = {
    "len": ("The number of characters in text, items in a list or members in a map.", "len('abc')"),
    "int": ("Text converted to a whole number, or a number without its fractional part.", "int('12')"),
    "number": ("Text converted to a number.", "number('0.5')"),
    "text": ("A number, boolean or time converted to text.", "text(12)"),
    "json": ("Any value converted to JSON.", "json([1, 'a'])"),
    "fromJson": ("The value that JSON text represents.", "fromJson('[1, 2]')"),
    "lower": ("The text in lower case.", "lower('EU')"),
    "upper": ("The text in upper case.", "upper('eu')"),
    "trim": ("The text without leading and trailing whitespace.", "trim(' eu ')"),
    "split": ("The parts of the text between separators.", "split('a,b', ',')"),
    "join": ("The items of a list, joined with a separator between them.", "join(['a', 'b'], ',')"),
    "replace": ("The text with each occurrence of a substring replaced.", "replace('a-b', '-', '_')"),
    "startsWith": ("Whether the text begins with the given prefix.", "startsWith('gs://b', 'gs:')"),
    "endsWith": ("Whether the text ends with the given suffix.", "endsWith('a.csv', '.csv')"),
    "sum": ("The sum of numbers.", "sum([1, 2, 3])"),
    "min": ("The smallest number, the text that sorts first or the earliest time.", "min([3, 1, 2])"),
    "max": ("The largest number, the text that sorts last or the latest time.", "max([3, 1, 2])"),
    "sort": ("The items in sorted order.", "sort([3, 1, 2])"),
    "unique": ("The items without duplicates.", "unique([1, 2, 1])"),
    "range": ("The whole numbers up to, but not including, a limit.", "range(1, 4)"),
    "any": ("Whether any of the conditions is true.", "any([x > 2 for x in [1, 3]])"),
    "all": ("Whether all of the conditions are true.", "all([x > 2 for x in [1, 3]])"),
    "day": ("A date, or the local date of an instant, shifted by a number of days.", "day('2026-03-01', -1)"),
    "add": ("An instant shifted forward or back by a duration.", "add('2026-03-01T06:00:00Z', '-2h')"),
    "format": (
        "A date, time or instant as text, formatted using strftime directives.",
        "format('2026-03-01', '%d.%m.%Y')",
    ),
    "days": ("The number of days from one date to another.", "days('2026-02-27', '2026-03-01')"),
    "has": ("Whether a value is neither missing nor null.", "has(null)"),
}
"""What each function computes, and an example."""


def functions_table() -> str:
    """Return a Markdown table of the functions, with an example for each."""
    rows = ["| Function | What it computes | Example |\n| --- | --- | --- |\n"]
    for name in FUNCTION_NAMES:
        description, example = _FUNCTIONS[name]
        signature = FUNCTIONS[name].signature if name in FUNCTIONS else f"{name}(value)"
        value = json.dumps(write_value(evaluate(parse(example), {})))
        rows.append(f"| `{signature}` | {description} | `{example}` is `{value}` |\n")
    return "".join(rows)


_ENDS: Final = {
    Ended.ALL_SUCCEEDED: "all succeeded, or there are none",
    Ended.SOME_SKIPPED: "some succeeded and the others were skipped",
    Ended.ALL_SKIPPED: "all were skipped",
    Ended.ANY_FAILED: "at least one failed, was cancelled or was blocked",
}
_FATES: Final = {None: "runs", Release.SKIP: "skipped", Release.BLOCK: "blocked"}


def triggers_table() -> str:
    """Return a Markdown table of what each trigger does."""
    rows = [
        "| Dependencies | " + " | ".join(f"`{trigger}`" for trigger in Trigger) + " |\n",
        "| --- |" + " --- |" * len(Trigger) + "\n",
    ]
    for ended, row in TRIGGERS.items():
        rows.append(f"| {_ENDS[ended]} | {' | '.join(_FATES[row[trigger]] for trigger in Trigger)} |\n")
    return "".join(rows)


_TABLE: Final = re.compile(r"(<!-- fields of (\w+) -->\n).*?(<!-- end of fields -->)", re.DOTALL)


def schema_text() -> str:
    """Return the text of the schema file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def with_tables(reference: str) -> str:
    """Return the reference with its tables brought up to date."""
    tables = field_tables()
    text = _TABLE.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n{found[3]}", reference)
    for name, table in (("functions", functions_table()), ("triggers", triggers_table())):
        begin, rest = text.split(f"<!-- {name} -->\n")
        text = (
            f"{begin}<!-- {name} -->\n\n{table}\n<!-- end of {name} -->{rest.partition(f'<!-- end of {name} -->')[2]}"
        )
    return text


def publish(folder: Path) -> None:
    """Write the schema file, and update the tables in the reference."""
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    reference = folder / REFERENCE_FILE
    reference.write_text(with_tables(reference.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
