"""The fields of a script for the mock Task Runner: what each accepts and what it means.

Scripts are read by these tables, and the reference page of scripts is generated from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from atom_emulator.task_runner.script import Fault, FaultKind
from atom_emulator.task_runner.script_values import (
    GARBAGE,
    parse_count,
    parse_flag,
    parse_garbage,
    parse_http_status,
    parse_labels,
    parse_list,
    parse_loss,
    parse_outputs,
    parse_reasons,
    parse_seconds,
    parse_states,
    parse_stop,
    parse_text,
    parse_times,
)
from atom_workflows.language.suggestions import Suggestions, names_of

Check: TypeAlias = Callable[[Any], Any]
"""Converts a value of the file, or raises a ValueError that says what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptField:
    """A field of a script. `value`, `meaning` and `example` are for the reference page, in Markdown."""

    name: str
    check: Check
    value: str
    meaning: str
    default: str = ""
    example: str = ""


Fields: TypeAlias = Mapping[str, ScriptField]

NO_PLACES: Final[Mapping[Any, str]] = MappingProxyType({})


def quote(value: Any) -> str:
    """Return a value as messages show it."""
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):
        # A key that is a date, or a list that contains itself.
        return repr(value)


def check_fields(
    document: Mapping[Any, Any], path: str, fields: Fields, problems: list[str], places: Mapping[Any, str] = NO_PLACES
) -> dict[str, Any]:
    """Return the valid fields of a mapping, converted.

    Each invalid one is added to the problems, after its place if that is known.
    """
    valid = {}
    for name, value in document.items():
        if name not in fields:
            near = Suggestions().nearest(str(name), names_of(tuple(fields)))
            remedy = f"did you mean {near}?" if near else f"expected one of {', '.join(sorted(fields))}"
            problems.append(f"{places.get(name, '')}{path}.{name}: unknown; {remedy}")
            continue
        try:
            valid[name] = fields[name].check(value)
        except ValueError as error:
            problems.append(f"{places.get(name, '')}{path}.{name}: {error}, not {quote(value)}")
    return valid


def _parse_fault(value: Any) -> Fault:
    if isinstance(value, dict):
        return _parse_fault_map(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Fault(status=parse_http_status(value), accepted=value < 300)  # noqa: PLR2004 - 2xx: carried out
    if not isinstance(value, str) or value not in {FaultKind.DROP, *GARBAGE}:
        named = ", ".join([FaultKind.DROP, *sorted(GARBAGE)])
        raise ValueError(f"expected HTTP statuses from 200 to 599, {named}, or maps such as {{status: 429, times: 2}}")
    return Fault(kind=FaultKind(value))


def _parse_fault_map(value: dict[str, Any]) -> Fault:
    problems: list[str] = []
    fields = check_fields(value, "fault", FAULT_FIELDS, problems)
    kinds = {name for name in ("status", "garbage", "drop") if name in fields}
    if problems or (len(kinds) != 1 and kinds != {"status", "garbage"}):
        raise ValueError("; ".join(problems) or "expected one of status, garbage, drop, or a status with garbage")
    if "garbage" in fields:
        fields["kind"] = fields.pop("garbage")
    elif fields.get("status", 400) < 300:  # noqa: PLR2004 - 2xx: carried out
        fields["accepted"] = True
    if fields.pop("drop", False):
        fields["kind"] = FaultKind.DROP
    if "retry_after" in fields:
        fields["retry_after_s"] = fields.pop("retry_after")
    return Fault(**fields)


def _parse_faults(value: Any) -> tuple[Fault, ...]:
    return tuple(_parse_fault(item) for item in parse_list(value))


def _table(*fields: ScriptField) -> Fields:
    return {field.name: field for field in fields}


FAULT_FIELDS: Final = _table(
    ScriptField(
        name="status",
        check=parse_http_status,
        value="200 to 599",
        default="200",
        meaning="The HTTP status of the answer. With a status below 300, the call is carried out.",
    ),
    ScriptField(
        name="garbage",
        check=parse_garbage,
        value="`empty`, `html`, `not-json` or `wrong-shape`",
        meaning="The body of the answer is not what the contract requires.",
    ),
    ScriptField(
        name="drop",
        check=parse_flag,
        value="true or false",
        default="false",
        meaning="The connection is closed without an answer.",
    ),
    ScriptField(
        name="retry_after",
        check=parse_seconds,
        value="seconds",
        meaning="The answer has a `Retry-After` header.",
    ),
    ScriptField(
        name="times",
        check=parse_times,
        value="a whole number, or `forever`",
        default="1",
        meaning="How many calls in a row are answered like this.",
    ),
    ScriptField(
        name="accepted",
        check=parse_flag,
        value="true or false",
        default="false",
        meaning="The call is still carried out, but its answer is corrupted, as if it had been lost in transit.",
    ),
)

CONDITION_FIELDS: Final = _table(
    ScriptField(
        name="step",
        check=parse_text,
        value="a pattern",
        example="step: extract*",
        meaning=(
            "The step's id, the name of its job (`job_name`), or the job's label `step`. Of a step with `forEach`, "
            "`train` means every item, and `train[3]` only that one."
        ),
    ),
    ScriptField(
        name="image",
        check=parse_text,
        value="a pattern",
        example='image: "*/loader:*"',
        meaning="The job's `imageUri`.",
    ),
    ScriptField(
        name="engine",
        check=parse_text,
        value="a pattern",
        example="engine: edge",
        meaning="The job's `engine`.",
    ),
    ScriptField(
        name="labels",
        check=parse_labels,
        value="a map of strings",
        example="labels: {workflow: daily}",
        meaning="Labels that the job must have, with exactly these values.",
    ),
)

BEHAVIOR_FIELDS: Final = _table(
    ScriptField(
        name="duration",
        check=parse_seconds,
        value="seconds, or a duration such as `1m30s`",
        default="`--mock-duration`, or 0",
        example="duration: 5",
        meaning="How long the job takes. With 0, the submission is answered with the job's final state.",
    ),
    ScriptField(
        name="synchronous",
        check=parse_flag,
        value="true or false",
        default="false",
        example="synchronous: true",
        meaning="Answer the submission with the job's final state, whatever its duration.",
    ),
    ScriptField(
        name="states",
        check=parse_states,
        value="a list of states",
        default="`[RUNNING]`",
        example="states: [QUEUED, RUNNING, CANCELLED]",
        meaning="The states that are reported, each for an equal share of the duration. Only the last may be terminal "
        "(SUCCEEDED, FAILED or CANCELLED): the job then ends in it, and otherwise it succeeds.",
    ),
    ScriptField(
        name="fail_times",
        check=parse_count,
        value="a whole number",
        default="0",
        example="fail_times: 2",
        meaning="How many attempts of the step end FAILED before one ends otherwise.",
    ),
    ScriptField(
        name="always_fail",
        check=parse_flag,
        value="true or false",
        default="false",
        example="always_fail: true",
        meaning="Every attempt ends FAILED.",
    ),
    ScriptField(
        name="message",
        check=parse_text,
        value="a string",
        example="message: no disk is free",
        meaning="The message of a job that does not succeed, and of one that succeeds if `fail_times` is 0. Without "
        "it, a failed job says that it failed as the script says.",
    ),
    ScriptField(
        name="outputs",
        check=parse_outputs,
        value="a map of JSON values, or a list of maps",
        example="outputs: {rows: 12, files: [gs://b/a]}",
        meaning="What a job that succeeds returns. A list has one entry per attempt, which may be null; the last one "
        "is also that of all later attempts.",
    ),
    ScriptField(
        name="reason",
        check=parse_reasons,
        value="a string, or a list of strings",
        example="reason: [OOM, PREEMPTED]",
        meaning="Why a job that does not succeed ended: one line of at most 64 characters. A list has one entry per "
        "attempt, as for `outputs`.",
    ),
    ScriptField(
        name="logsUrl",
        check=parse_text,
        value="a URL",
        example="logsUrl: https://logs.test/7",
        meaning="Where a person reads the job's log. It is part of every answer about the job.",
    ),
    ScriptField(
        name="notifies",
        check=parse_flag,
        value="true or false",
        default="false",
        example="notifies: true",
        meaning="The job's end is reported to the topic `jobs`, so that the job is polled rarely.",
    ),
    ScriptField(
        name="stop",
        check=parse_stop,
        value="`{after: seconds}`, `ignore`, `cannot` or an HTTP status",
        default="`{after: 0}`",
        example="stop: {after: 2}",
        meaning="What happens when the job is asked to stop: it is CANCELLED after that time; it goes on although the "
        "request was accepted (`ignore`); the Task Runner cannot stop jobs (`cannot`: 405); or every request is "
        "answered with that status.",
    ),
    ScriptField(
        name="submit_errors",
        check=_parse_faults,
        value="a list of [faults](#faults)",
        example="submit_errors: [503, {status: 429, retry_after: 2}, drop]",
        meaning="How the first submissions of a step are answered, one entry per call. Later ones are answered "
        "properly.",
    ),
    ScriptField(
        name="status_errors",
        check=_parse_faults,
        value="a list of [faults](#faults)",
        example="status_errors: [500, {garbage: empty, times: forever}]",
        meaning="How the first status calls for a step's jobs (by id or key) are answered, likewise. The job then does "
        "not end with its submission.",
    ),
    ScriptField(
        name="stop_errors",
        check=_parse_faults,
        value="a list of [faults](#faults)",
        example="stop_errors: [500, drop]",
        meaning="How the first requests to stop a step's jobs are answered, likewise.",
    ),
    ScriptField(
        name="garbage",
        check=parse_garbage,
        value="`empty`, `html`, `not-json` or `wrong-shape`",
        example="garbage: html",
        meaning="Short for `submit_errors` and `status_errors` with this fault forever.",
    ),
    ScriptField(
        name="lose_job",
        check=parse_loss,
        value="`never`, `once` or `always`",
        default="`never`",
        example="lose_job: once",
        meaning="The accepted job is unknown afterwards: that of the step's first attempt, or of every one.",
    ),
    ScriptField(
        name="delay",
        check=parse_seconds,
        value="seconds",
        default="0",
        example="delay: 0.5",
        meaning="The time before each answer.",
    ),
)

SCRIPT_FIELDS: Final = _table(
    ScriptField(
        name="rules",
        check=parse_list,
        value="a list of rules",
        default="`[]`",
        meaning="What the jobs of certain steps do. The first rule that matches a job determines all of its behavior.",
    ),
    ScriptField(
        name="default",  # It is checked later, so that problems name their own place.
        check=lambda value: value,
        value="a map of [what a job does](#what-a-job-does)",
        default="`{}`",
        example="default: {duration: 2}",
        meaning="What all other jobs do.",
    ),
    ScriptField(
        name="idempotent",
        check=parse_flag,
        value="true or false",
        default="true",
        example="idempotent: false",
        meaning="A submission with a known `Idempotency-Key` is answered with the first one's job instead of starting "
        "another, and keys can be looked up.",
    ),
)
