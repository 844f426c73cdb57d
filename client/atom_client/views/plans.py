"""Plans of runs, for people and programs: what is known before a run, and what a hypothetical run did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from atom_client.planning.fates import Fate
from atom_client.planning.loops import MOST_PLANNED, PlannedItem, PlannedItems
from atom_client.planning.partial import MARKS
from atom_client.planning.prepare import Start
from atom_client.planning.walk import Plan, PlannedStep, in_order
from atom_client.text import clip, counted, escaped, lasted, listing, name_of, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.lines import rules_text
from atom_client.views.schedules import instant_lines, instant_objects, zoned
from atom_workflows.core.cron import Calendar
from atom_workflows.core.evaluation import render_value
from atom_workflows.core.schedules import late_at_of
from atom_workflows.core.workflow import DEFAULT_SCALE_TIER, Step, Trigger, Workflow
from atom_workflows.errors import ExpressionError

if TYPE_CHECKING:
    from atom_emulator.testing import Played, PlayedStep

MOST_IN_FULL: Final = 60
"""With at most this many steps, each job is printed on a line of its own; with more, each step takes one line."""

_ORDER: Final = ("job_name", "imageUri", "engine", "url", "scaleTier", "masterType", "args", "labels")
"""The fields of a job's body, in the order in which they are documented."""

_LONGEST_LINE: Final = 200
_LONGEST_VALUE: Final = 500
_LONGEST_ITEM: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to plan a run of a workflow with the given parameters."""

    workflow: Workflow
    given: Mapping[str, Any]
    start: Start


# -- what is known before a run --------------------------------------------------------------------------------------


def planned_lines(asked: Asked, plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan."""
    yield from _heading(asked)
    in_full = len(plan.steps) <= MOST_IN_FULL
    width = _id_width([one.step for one in plan.steps])
    for title, in_finally in (("STEPS", False), ("FINALLY", True)):
        part = [one for one in plan.steps if one.in_finally is in_finally]
        if part:
            yield f"\n{title}{_counts([str(one.fate) for one in part])}"
        for one in part:
            yield from _step_lines(one.step, width, _verdict(one), one.job, in_full=in_full)
            yield from _item_lines(one, width) if in_full and one.items is not None else ()
    if plan.outputs or plan.output_error:
        yield "\nOUTPUTS"
        yield from _value_lines(plan.outputs)
        yield from ([f"  {one_line(plan.output_error)}"] if plan.output_error else [])
    yield from _schedule_lines(asked)
    has_marks = bool(plan.unknown_outputs) or any(_has_marks(one) for one in plan.steps)
    marks = f" Values that are not known before the run are shown as {'…'.join(MARKS)}." if has_marks else ""
    yield f"\nThis is what happens if every job succeeds; nothing was started.{marks}"


def _schedule_lines(asked: Asked) -> Iterator[str]:
    """Yield the next instants of the file's schedules, if it has any."""
    if asked.workflow.schedules:
        yield "\nSCHEDULES"
        lines = instant_lines(asked.workflow.schedules, asked.workflow.timezone, asked.start.at)
        yield from (f"  {line}" for line in lines)


def _verdict(one: PlannedStep) -> str:
    step, verdict = one.step, one_line(one.because)
    work = "" if one.items is None else _items_text(one.items, one.step)
    match one.fate:
        case Fate.RUNS:
            verdict = f"runs: {verdict}" if verdict else "runs"
            verdict = f"{verdict}; {work}" if verdict != "runs" and work else f"runs {work}".rstrip()
        case Fate.DEPENDS:
            verdict = f"{verdict}; {work}" if work else verdict
        case Fate.SKIPPED:
            verdict = f"skipped: {verdict}"
        case Fate.FAILS:
            verdict = f"FAILS: {verdict}"
    trigger = "" if step.trigger is Trigger.NO_FAILURE else f" (trigger {step.trigger})"
    return f"{verdict}; after {listing(step.depends_on, most=3)}{trigger}" if step.depends_on else verdict


def planned_object(asked: Asked, plan: Plan) -> dict[str, Any]:
    """Return a plan as an object for JSON output."""
    return {
        **_heading_object(asked),
        "steps": [
            {
                **_step_object(one.step, in_finally=one.in_finally),
                "verdict": one.fate.value,
                "because": one.because or None,
                "job": one.job,
                "unknown": list(one.unknown),
                "items": None if one.items is None else _items_object(one.step, one.items),
            }
            for one in plan.steps
        ],
        "outputs": dict(plan.outputs),
        "unknown_outputs": list(plan.unknown_outputs),
        "output_error": plan.output_error or None,
        "schedules": instant_objects(asked.workflow.schedules or (), asked.workflow.timezone, asked.start.at),
    }


# -- the items of a loop ---------------------------------------------------------------------------------------------


def _items_text(items: PlannedItems, step: Step) -> str:
    """Describe how many items there are, and how many of them run."""
    if items.count is None:
        text = f"one job for each item of {', '.join(one.join(MARKS) for one in items.unknown)}"
    else:
        text = counted(items.count, "item") if items.count else "no items"
    if items.skipped:
        ids = listing([f"{step.id}[{index}]" for index in items.skipped], most=3)
        text += f", {len(items.skipped):,} of them skipped ({ids})"
    if items.undecided and items.count is not None:
        text += f", {items.undecided:,} of them perhaps skipped"
    if items.at_once is not None:
        text += f", at most {items.at_once} at a time"
    tolerate = step.for_each.tolerate if step.for_each is not None else 0
    return f"{text}, {counted(tolerate, 'failure')} tolerated" if tolerate else text


def _item_lines(one: PlannedStep, width: int) -> Iterator[str]:
    """Yield lines for the first few items of a loop."""
    if one.items is None:
        return
    for item in one.items.first:
        value = "" if item.index is None else clip(escaped(_json(item.value)), _LONGEST_ITEM)
        verdict = {Fate.SKIPPED: "skipped", Fate.FAILS: "FAILS"}.get(item.fate, "")
        because = one_line(item.because) if item.fate is not Fate.RUNS else ""
        said = ": ".join(filter(None, (verdict, because)))
        body = escaped(_json(_own_fields(one.step, item.job))) if item.job is not None else ""
        yield f"  {' ' * width}    {_item_id(one.step, item)}  {'  '.join(filter(None, (value, said, body)))}".rstrip()
    more = (one.items.count or 0) - len(one.items.first)
    yield from ([f"  {' ' * width}    and {counted(more, 'more item')}"] if more > 0 else [])


def _item_id(step: Step, item: PlannedItem) -> str:
    return f"{step.id}[{'…' if item.index is None else item.index}]"


def _items_object(step: Step, items: PlannedItems) -> dict[str, Any]:
    return {
        "count": items.count,
        "unknown": list(items.unknown),
        "skipped": list(items.skipped),
        "undecided": items.undecided,
        "at_once": items.at_once,
        "tolerate": step.for_each.tolerate if step.for_each is not None else 0,
        "first": [
            {
                "id": None if item.index is None else _item_id(step, item),
                "item": item.value,
                "verdict": item.fate.value,
                "because": item.because or None,
                "job": item.job,
                "unknown": list(item.unknown),
            }
            for item in items.first
        ],
    }


def _has_marks(one: PlannedStep) -> bool:
    """Return True if the step's lines show something that is not known."""
    items = one.items
    of_items = items is not None and (bool(items.unknown) or any(item.unknown for item in items.first))
    return bool(one.unknown) or of_items


# -- a hypothetical run ----------------------------------------------------------------------------------------------


def played_lines(asked: Asked, played: Played) -> Iterator[str]:
    """Yield the lines of a hypothetical run."""
    yield from _heading(asked)
    steps = _all_in_order(asked.workflow)
    in_full = len(steps) <= MOST_IN_FULL
    width = _id_width(steps)
    ids = {step.id for step in asked.workflow.steps}
    for title, in_main in (("STEPS", True), ("FINALLY", False)):
        part = [step for step in steps if (step.id in ids) is in_main]
        if part:
            yield f"\n{title}{_counts([played.states.get(step.id, 'PENDING') for step in part])}"
        for step in part:
            jobs = played.jobs(step.id) if step.id in played.steps else []
            verdict = _ended(played.steps[step.id]) if step.id in played.steps else "PENDING"
            is_loop = step.for_each is not None
            yield from _step_lines(step, width, verdict, jobs[-1] if jobs and not is_loop else None, in_full=in_full)
            yield from _played_item_lines(step, played, width) if in_full and is_loop else ()
    if played.outputs:
        yield "\nOUTPUTS"
        yield from _value_lines(played.outputs)
    yield f"\nThis run would end as {played.state} after {lasted(played.took)}; nothing was started."
    yield from (f"  {one_line(error)}" for error in played.errors[:MOST_IN_FULL])


def _played_item_lines(step: Step, played: Played, width: int) -> Iterator[str]:
    """Yield lines for a loop's failed items and a few others."""
    items = played.items_of(step.id) if step.id in played.steps else {}
    names = list(items)
    failed = [name for name in names if items[name].state == "FAILED"][:MOST_PLANNED]
    others = [name for name in names if name not in failed][: MOST_PLANNED - len(failed)]
    for name in sorted([*failed, *others], key=names.index):
        jobs = played.jobs(name)
        body = f"  {escaped(_json(_own_fields(step, jobs[-1])))}" if jobs else ""
        yield f"  {' ' * width}    {name}  {_ended(items[name])}{body}"
    more = len(items) - len(failed) - len(others)
    yield from ([f"  {' ' * width}    and {counted(more, 'more item')}"] if more else [])


def _ended(step: PlayedStep) -> str:
    again = f" after {counted(step.attempts, 'attempt')}" if step.attempts > 1 else ""
    tolerated = " (tolerated)" if step.tolerated else ""
    because = f" ({one_line(step.because)})" if step.because and step.state != "SKIPPED" else ""
    message = f": {clip(one_line(step.message), _LONGEST_VALUE)}" if step.message and step.state != "SUCCEEDED" else ""
    outputs = escaped(", ".join(f"{name} = {_json(value)}" for name, value in step.outputs.items()))
    returned = f"; {clip(outputs, _LONGEST_VALUE)}" if outputs else ""
    if step.counts and step.state != "SKIPPED":
        ended = (f"{step.counts[name]:,} {name}" for name in ("succeeded", "failed", "skipped") if step.counts[name])
        nothing = "nothing to do" if step.state == "SUCCEEDED" else "none were created"
        returned = f"; {counted(step.counts['total'], 'item')}: {', '.join(ended) or nothing}{returned}"
    if step.state == "SKIPPED":
        said = clip(one_line(step.message), _LONGEST_VALUE)
        # The message of a blocked step begins by repeating the state.
        return f"SKIPPED{said.removeprefix('skipped')}" if said.startswith("skipped") else f"SKIPPED: {said}"
    return f"{step.state}{again}{tolerated}{because}{message}{returned}"


def played_object(asked: Asked, played: Played) -> dict[str, Any]:
    """Return a hypothetical run as an object for JSON output."""
    return {
        **_heading_object(asked),
        "state": played.state,
        "took_s": played.took.total_seconds(),
        "errors": list(played.errors),
        "steps": [
            _played_object(step, played, in_finally=step in asked.workflow.finally_steps)
            for step in _all_in_order(asked.workflow)
        ],
        "outputs": dict(played.outputs),
    }


def _played_object(step: Step, played: Played, *, in_finally: bool) -> dict[str, Any]:
    found = played.steps.get(step.id)
    if found is None:
        return {**_step_object(step, in_finally=in_finally), "state": "PENDING"}
    if step.for_each is None:
        items = None
        jobs = played.jobs(step.id)
    else:
        jobs = []
        of_items: dict[str, list[Any]] = {}
        for one in played.submissions:
            of_items.setdefault(one.step, []).append(one.job)
        ended = played.items_of(step.id).items()
        items = [{"id": name, **_ended_object(item, of_items.get(name, []))} for name, item in ended]
    return {
        **_step_object(step, in_finally=in_finally),
        **_ended_object(found, jobs),
        "counts": dict(found.counts) or None,
        "items": items,
    }


def _ended_object(found: PlayedStep, jobs: Sequence[Any]) -> dict[str, Any]:
    return {
        "state": found.state,
        "attempts": found.attempts,
        "message": found.message,
        "because": found.because or None,
        "skipped_by_choice": found.skipped_by_choice,
        "skipped_because_of": found.cause or None,
        "tolerated": found.tolerated,
        "reason": found.reason or None,
        "outputs": dict(found.outputs),
        "jobs": list(jobs),
    }


# -- what both show --------------------------------------------------------------------------------------------------


def _all_in_order(workflow: Workflow) -> list[Step]:
    return [*in_order(workflow.steps), *in_order(workflow.finally_steps)]


def _heading(asked: Asked) -> Iterator[str]:
    workflow = asked.workflow
    under = f", {len(workflow.finally_steps):,} of them under finally" if workflow.finally_steps else ""
    yield f"{name_of(workflow.name)}: {counted(len(workflow.all_steps), 'step')}{under}"
    if asked.start.params:
        yield "\nPARAMS"
        yield from _value_lines(asked.start.params, default=asked.start.params.keys() - asked.given.keys())
    if (rules := workflow.concurrency) is not None:
        yield "\nCONCURRENCY"
        value = _group(asked)
        of = f" of the group `{one_line(value)}`" if value else ""
        yield f"  at most {counted(rules.limit, 'run')}{of} in progress at the same time; {rules_text(rules)}"

    yield from _deadline_lines(asked)


def _deadline_lines(asked: Asked) -> Iterator[str]:
    """Yield lines about when a run counts as late."""
    workflow = asked.workflow
    instants = {"a run that is started at this time": asked.start.at}
    if workflow.schedules:
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
    return value if isinstance(value, str) else _json(value)


def _concurrency_object(asked: Asked) -> dict[str, Any] | None:
    rules = asked.workflow.concurrency
    if rules is None:
        return None
    return {
        "group": _group(asked),
        "limit": rules.limit,
        "when_full": rules.when_full.value,
        "max_queued": rules.max_queued,
        "max_wait_s": rules.max_wait.total_seconds(),
    }


def _heading_object(asked: Asked) -> dict[str, Any]:
    params = asked.start.params
    return {
        "workflow": asked.workflow.name,
        "at": moment_text(asked.start.at),
        "params": dict(params),
        "defaults": [name for name in params if name not in asked.given],
        "concurrency": _concurrency_object(asked),
        "late_at": moment_text(late_at_of(asked.workflow.deadline, asked.start.at, asked.workflow.timezone)),
        "warnings": list(asked.workflow.warnings),
    }


def _step_object(step: Step, *, in_finally: bool) -> dict[str, Any]:
    return {
        "id": step.id,
        "finally": in_finally,
        "depends_on": list(step.depends_on),
        "trigger": step.trigger.value,
        "when": step.when.text if step.when else None,
    }


def _value_lines(values: Mapping[str, Any], default: Any = ()) -> Iterator[str]:
    width = max(map(len, values), default=0)
    for name, value in values.items():
        shown = clip(escaped(value if isinstance(value, str) else _json(value)), _LONGEST_VALUE)
        yield f"  {name.ljust(width)}  {shown}{' (default)' if name in default else ''}"


def _step_lines(step: Step, width: int, verdict: str, job: Mapping[str, Any] | None, *, in_full: bool) -> Iterator[str]:
    body = "" if job is None else _json(_own_fields(step, job))
    line = f"  {step.id.ljust(width)}  {verdict}"
    if in_full:
        yield line
        yield from ([f"  {' ' * width}    {escaped(body)}"] if body else [])
    else:
        yield clip(f"{line}  {escaped(body)}".rstrip(), _LONGEST_LINE)


def _own_fields(step: Step, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's step-specific fields, in the order of the documentation."""
    labels = {name: value for name, value in job.get("labels", {}).items() if name not in ("workflow", "type")}
    usual = {"job_name": step.id, "scaleTier": DEFAULT_SCALE_TIER, "labels": {}}
    fields = {**job, "labels": labels}
    own = [name for name, value in fields.items() if name not in usual or value != usual[name]]
    return {name: fields[name] for name in sorted(own, key=_ORDER.index)}


def _counts(words: Sequence[str]) -> str:
    """Count the verdicts if there are too many to count at a glance."""
    if len(words) <= MOST_IN_FULL:
        return ""
    found = dict.fromkeys(words, 0)
    for word in words:
        found[word] += 1
    return f" ({', '.join(f'{count:,} {word}' for word, count in found.items())})"


def _id_width(steps: Sequence[Step]) -> int:
    return min(40, max((len(step.id) for step in steps), default=0))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
