"""The field tables of the reference for users, made from the same fields as the reader."""

from __future__ import annotations

import json

from atom_workflows.core.durations import format_duration
from atom_workflows.language.fields import BACKOFF, POLICIES, RETRY, STEP, TASK, WORKFLOW
from atom_workflows.language.kinds import (
    Arguments,
    Choice,
    Duration,
    Field,
    Kind,
    Number,
    Record,
    RecordList,
    Text,
    TextList,
    TextMap,
)

_TABLES = {
    "workflow": WORKFLOW.fields,
    "step": STEP.fields,
    "task": TASK.fields,
    "defaults": POLICIES,
    "retry": RETRY.fields,
    "backoff": BACKOFF.fields,
}


def field_tables() -> dict[str, str]:
    """A Markdown table of the fields of each map, by its name."""
    return {name: _table(fields) for name, fields in _TABLES.items()}


def _table(fields: tuple[Field, ...]) -> str:
    head = "| Field | Value | Default | What it is for |\n| --- | --- | --- | --- |\n"
    return head + "".join(f"| {' | '.join(_cells(field))} |\n" for field in fields)


def _cells(field: Field) -> tuple[str, str, str, str]:
    default = "required" if field.required else "" if field.default is None else f"`{field.default}`"
    example = f" For example `{_shown(field.examples[0])}`." if field.examples else ""
    return f"`{field.name}`", _value(field.kind), default, field.description + example


def _shown(example: object) -> str:
    return example if isinstance(example, str) else json.dumps(example)


def _value(kind: Kind) -> str:  # noqa: PLR0911  # one case per kind
    """What may be written, in a few words."""
    match kind:
        case Text():
            return _text(kind)
        case Choice():
            return " or ".join(f"`{word}`" for word in kind.words)
        case Duration():
            return f"duration, {'more than 0s, ' * kind.positive}at most {format_duration(kind.maximum)}"
        case Number():
            return f"{'whole ' * kind.whole}number from {kind.minimum} to {kind.maximum}"
        case TextList():
            return "list of step ids, each once, or one id"
        case TextMap():
            return "map from text to text"
        case Arguments():
            return "list or map"
        case Record():
            return f"map, see [{kind.title.lower()}](#{kind.title.lower().replace(' ', '-')})"
        case RecordList():
            return f"list of 1 to {kind.maximum:,} [{kind.noun}s](#{kind.noun})"


def _text(kind: Text) -> str:
    return f"text of at most {kind.max_length:,} characters" + (f": {kind.rule}" if kind.rule else "")
