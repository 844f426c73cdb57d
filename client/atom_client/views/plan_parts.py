"""What plans and hypothetical runs share: headings, step lines and value lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from atom_client.planning.partial import MARKS
from atom_client.planning.prepare import Start
from atom_client.text import clip, counted, escaped, lasted, name_of, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.lines import rules_text
from atom_client.views.schedules import zoned
from atom_workflows.core.cron import Calendar
from atom_workflows.core.evaluation import render_value
from atom_workflows.core.schedules import late_at_of
from atom_workflows.core.workflow import DEFAULT_SCALE_TIER, Step, Workflow
from atom_workflows.errors import ExpressionError

MOST_IN_FULL: Final = 60
"""With at most this many steps, each job is printed on a line of its own; with more, each step takes one line."""

_ORDER: Final = ("job_name", "imageUri", "engine", "url", "scaleTier", "masterType", "args", "labels")
"""The fields of a job's body, in the order in which they are documented."""

_LONGEST_LINE: Final = 200
LONGEST_VALUE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to plan a run of a workflow with given parameters."""

    workflow: Workflow
    given: Mapping[str, Any]
    start: Start
    # Plan a run that is about to be started: its file's schedules do not matter.
    is_start: bool = False


def heading_lines(asked: Asked) -> Iterator[str]:
    """Yield the workflow, its parameters, its group and its deadline."""
    workflow = asked.workflow
    under = f", {len(workflow.finally_steps):,} of them under finally" if workflow.finally_steps else ""
    yield f"{name_of(workflow.name)}: {counted(len(workflow.all_steps), 'step')}{under}"
    if asked.start.params:
        yield "\nPARAMS"
        yield from value_lines(asked.start.params, default=asked.start.params.keys() - asked.given.keys())
    if (rules := workflow.concurrency) is not None:
        yield "\nCONCURRENCY"
        value = _group(asked)
        of = f" of the group `{one_line(value)}`" if value else ""
        yield f"  at most {counted(rules.limit, 'run')}{of} in progress at the same time; {rules_text(rules)}"
    instants = {"this run" if asked.is_start else "a run started at this time": asked.start.at}
    if workflow.schedules and not asked.is_start:
        calendars = (Calendar(cron=one.cron, zone=workflow.timezone) for one in workflow.schedules)
        due = [at for calendar in calendars for at in islice(calendar.upcoming(asked.start.at), 1)]
        instants = {"the next scheduled run": min(due)} if due else instants
    for what, at in instants.items():
        if (late_at := late_at_of(workflow.deadline, at, workflow.timezone)) is not None:
            yield "\nDEADLINE"
            after = lasted(late_at - at)
            yield f"  {what} is late after {zoned(late_at, workflow.timezone)}, {after} after its scheduled time"


def _group(asked: Asked) -> str:
    """Return the run's group, or a marked placeholder if it is unknown."""
    group = asked.workflow.concurrency.group if asked.workflow.concurrency else ""
    if isinstance(group, str):
        return group
    known = asked.start.known(asked.workflow)
    scope = {"params": known.params, "run": known.run, "env": known.env}
    try:
        value = render_value(group, scope, zone=asked.workflow.timezone)
    except ExpressionError:
        return "concurrency.group".join(MARKS)
    return value if isinstance(value, str) else json_line(value)


def heading_object(asked: Asked) -> dict[str, Any]:
    """Return the heading's fields for JSON output."""
    params, rules = asked.start.params, asked.workflow.concurrency
    concurrency = None
    if rules is not None:
        concurrency = {
            "group": _group(asked),
            "limit": rules.limit,
            "when_full": rules.when_full.value,
            "max_queued": rules.max_queued,
            "max_wait_s": rules.max_wait.total_seconds(),
        }
    return {
        "workflow": asked.workflow.name,
        "at": moment_text(asked.start.at),
        "params": dict(params),
        "defaults": [name for name in params if name not in asked.given],
        "concurrency": concurrency,
        "late_at": moment_text(late_at_of(asked.workflow.deadline, asked.start.at, asked.workflow.timezone)),
        "warnings": list(asked.workflow.warnings),
    }


def step_fields(step: Step, *, in_finally: bool) -> dict[str, Any]:
    """Return what the file says about a step, for JSON output."""
    return {
        "id": step.id,
        "finally": in_finally,
        "depends_on": list(step.depends_on),
        "trigger": step.trigger.value,
        "when": step.when.text if step.when else None,
    }


def value_lines(values: Mapping[str, Any], default: Any = ()) -> Iterator[str]:
    """Yield a line for each value. Those in `default` are marked."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        shown = clip(escaped(value if isinstance(value, str) else json_line(value)), LONGEST_VALUE)
        yield f"  {name.ljust(width)}  {shown}{' (default)' if name in default else ''}"


def step_lines(step: Step, width: int, verdict: str, job: Mapping[str, Any] | None, *, in_full: bool) -> Iterator[str]:
    """Yield the line of a step, and the body of its job."""
    body = "" if job is None else json_line(own_fields(step, job))
    line = f"  {step.id.ljust(width)}  {verdict}"
    if in_full:
        yield line
        yield from ([f"  {' ' * width}    {escaped(body)}"] if body else [])
    else:
        yield clip(f"{line}  {escaped(body)}".rstrip(), _LONGEST_LINE)


def own_fields(step: Step, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's step-specific fields, in their documented order."""
    labels = {name: value for name, value in job.get("labels", {}).items() if name not in ("workflow", "type")}
    usual = {"job_name": step.id, "scaleTier": DEFAULT_SCALE_TIER, "labels": {}}
    fields = {**job, "labels": labels}
    own = [name for name, value in fields.items() if name not in usual or value != usual[name]]
    return {name: fields[name] for name in sorted(own, key=_ORDER.index)}


def count_verdicts(words: Sequence[str]) -> str:
    """Count the verdicts if too many to count at a glance."""
    if len(words) <= MOST_IN_FULL:
        return ""
    found = dict.fromkeys(words, 0)
    for word in words:
        found[word] += 1
    return f" ({', '.join(f'{count:,} {word}' for word, count in found.items())})"


def id_width(steps: Sequence[Step]) -> int:
    """Return the width of the column of ids."""
    return min(40, max((len(step.id) for step in steps), default=0))


def json_line(value: Any) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False)
