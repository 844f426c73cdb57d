"""Check a file's schedules against the parameters that it declares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from atom_workflows.core.params import find_breaches
from atom_workflows.core.workflow import CatchUp, JsonValue, Schedule
from atom_workflows.expressions.types import write_value
from atom_workflows.language.embedded import OPENING, Embedded, read_embedded
from atom_workflows.language.limits import MAX_PARAM_BYTES
from atom_workflows.language.nodes import Entry, Fields, Invalid, Node, Reading, Scalar, is_empty, wrong_type
from atom_workflows.language.parameters import Declared, read_typed
from atom_workflows.language.problems import Report, code
from atom_workflows.language.suggestions import names_of

_DEFAULT: Final = Schedule(cron="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSchedule:
    """A schedule as read from the file.

    `templates` holds the parameters that are computed by expressions.
    """

    cron: str
    values: Mapping[str, JsonValue] = field(default_factory=dict)
    templates: Mapping[str, Embedded] = field(default_factory=dict)
    catch_up: CatchUp
    within: timedelta


def read_schedules(workflow: Reading, params: Sequence[Declared], report: Report) -> tuple[ReadSchedule, ...] | None:
    """Return the file's schedules, or None if it has no valid `schedules`.

    Problems with the schedules and the deadline are reported.
    """
    deadline = workflow.values.get("deadline")
    if deadline and {"after", "at"} <= deadline.node.entries.keys():
        said = "a deadline has either `after` or `at`, not both"
        report.add(deadline.node.entries["at"].key, said, "remove one of them")
    if "schedules" not in workflow.values:
        return None
    reader = _Reader(workflow, params, report)
    found = []
    lines: dict[str, int] = {}
    for reading in workflow.values["schedules"]:
        cron = reading.values.get("cron")
        values, templates = reader.read_params(reading)
        if cron is None:
            continue
        given = reading.node.get("params")
        texts = {name: template.text for name, template in templates.items()}
        same = json.dumps([cron, values, texts], sort_keys=True)
        # With invalid parameters, two schedules only seem to be the same.
        is_whole = given is None or (isinstance(given, Fields) and len(given.entries) == len({**values, **texts}))
        if is_whole and same in lines:
            said = f"this schedule is the same as the one on line {lines[same]}"
            report.add(reading.node, said, "remove one of them, since both start the same runs")
        lines.setdefault(same, reading.node.line)
        found.append(
            ReadSchedule(
                cron=cron,
                values=values,
                templates=templates,
                catch_up=CatchUp(reading.values.get("catchUp", _DEFAULT.catch_up)),
                within=reading.values.get("within", _DEFAULT.within),
            )
        )
    if (size := sum(map(len, lines))) > MAX_PARAM_BYTES:
        said = f"the schedules take up {size:,} bytes as JSON, more than the {MAX_PARAM_BYTES:,} allowed"
        report.add(workflow.at("schedules"), said, "put large values into files, and pass the names of the files")
    return tuple(found)


class _Reader:
    """Reads the parameters that schedules set."""

    def __init__(self, workflow: Reading, params: Sequence[Declared], report: Report) -> None:
        self._params = {one.param.name: one for one in params}
        self._zone = workflow.values.get("timezone", "UTC")
        self._report = report
        declared = workflow.node.get("params")
        # Parameters that were reported as invalid are not unknown.
        self._written = frozenset(declared.entries if isinstance(declared, Fields) else ())

    def read_params(self, schedule: Reading) -> tuple[dict[str, JsonValue], dict[str, Embedded]]:
        """Return a schedule's literal parameters, and those computed by expressions."""
        values: dict[str, JsonValue] = {}
        templates: dict[str, Embedded] = {}
        node = schedule.values.get("params")
        given: Mapping[str, Entry] = {}
        if isinstance(node, Fields):
            given = node.entries
        elif node is not None:
            remedy = "leave it out if there are none" if is_empty(node) else "write a map, such as `{mode: full}`"
            wrong_type(node, code("params"), "a map", remedy, self._report)
        for entry in given.values():
            declared = self._params.get(entry.name)
            if declared is None:
                self._report_unknown(entry)
                continue
            read = self._read_value(declared, entry.value)
            if isinstance(read, Embedded):
                templates[entry.name] = read
            elif not isinstance(read, Invalid):
                values[entry.name] = read
        for name in (name for name, one in self._params.items() if one.param.required and name not in given):
            said = f"the schedule does not set the parameter {code(name)}, which has no default"
            self._report.add(node or schedule.node, said, f"add `params: {{{name}: …}}`, or give it a default")
        return values, templates

    def _read_value(self, declared: Declared, node: Node) -> JsonValue | Embedded | Invalid:
        param = declared.param
        if isinstance(node, Scalar) and OPENING in node.text:
            self._report.via = node.alias
            embedded = read_embedded(node, self._report)
            self._report.via = None
            return embedded
        value = read_typed(node, param.type, f"params.{param.name}", self._zone, self._report)
        if isinstance(value, Invalid):
            return value
        for breach in find_breaches(value, param, self._zone):
            self._report.add(node, f"{code(f'params.{param.name}')} {breach}")
        written: JsonValue = write_value(value)
        return written

    def _report_unknown(self, entry: Entry) -> None:
        if entry.name in self._written:
            return
        names = tuple(self._params)
        near = self._report.nearest(entry.name, names_of(names))
        advice = f"did you mean {code(near)}?" if near else "declare it under `params` at the top of the file"
        if names and not near:
            advice = f"the parameters are {', '.join(map(code, names))}"
        self._report.add(entry.key, f"the workflow has no parameter {code(entry.name)}", advice)
