"""Read a script from YAML or JSON, with one error that lists every problem.

```yaml
idempotent: true              # honour Idempotency-Key (the default)
default: {duration: 2}        # for jobs that no rule matches
rules:
  - step: extract*            # glob on job_name, the step's id or the label `step`
    image: "*/loader:*"       # glob on imageUri
    engine: edge              # glob on engine
    labels: {workflow: daily}
    duration: 5               # seconds, or 1m30s
    states: [QUEUED, RUNNING] # each for an equal share of the duration; if the last is terminal, the job ends in it
    synchronous: false        # true: the submission is answered with the job's final state
    fail_times: 2             # the first attempts of the step that end FAILED; later ones succeed
    always_fail: false
    message: out of memory
    outputs: {rows: 12}       # what a job that succeeds returns; a list has one entry for each attempt
    reason: OOM               # why a job that does not succeed ended, at most 64 characters; or a list likewise
    logsUrl: https://logs.test/7  # where a person reads the job's log
    notifies: true            # report the job's end to the topic `jobs` (not by default)
    stop: {after: 2}          # once it is asked to stop, a job is CANCELLED so many seconds later (0 by default); or
                              # ignore (accept it, and never end), cannot (405), or another HTTP status, such as 500
    submit_errors: [503, {status: 429, retry_after: 2}, drop, {drop: true, accepted: true}, 201]
    status_errors: [500, {status: 404, garbage: html}, {garbage: empty, times: forever}]
    stop_errors: [500, drop]  # likewise, for the requests to stop a job
    garbage: html             # short for both lists with this one fault forever
    lose_job: once            # or always: the accepted job is unknown to /jobstatus
    delay: 0.5                # seconds before each answer
```
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import yaml

from atom_emulator.task_runner.script import (
    FOREVER,
    TERMINAL_STATES,
    Behaviour,
    Fault,
    FaultKind,
    Loss,
    Rule,
    Script,
    Stop,
)
from atom_workflows.core.durations import parse_duration
from atom_workflows.core.outputs import MAX_REASON_LENGTH
from atom_workflows.language.suggestions import Suggestions, names_of

if TYPE_CHECKING:
    from pathlib import Path

GARBAGE: Final = frozenset({FaultKind.HTML, FaultKind.NOT_JSON, FaultKind.EMPTY, FaultKind.WRONG_SHAPE})

_METHOD_NOT_ALLOWED: Final = 405

_RENAMED: Final = {"duration": "duration_s", "delay": "delay_s", "reason": "reasons", "logsUrl": "logs_url"}
"""Fields of a behaviour whose names in the file are different."""

Check: TypeAlias = Callable[[Any], Any]
"""Converts a value of the file, or raises a ValueError that says what is expected."""


class InvalidScript(ValueError):
    """The script is invalid; `problems` lists every problem with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the Task Runner script is invalid:\n" + "\n".join(f"  {p}" for p in problems))
        self.problems = problems


class _Mapping(dict[Any, Any]):
    """A mapping in the file; `lines` has the line number of each key, from 1."""

    lines: Mapping[Any, int]


class _Loader(yaml.SafeLoader):
    """Reads a file as `SafeLoader` does, and records the line of each key."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> _Mapping:
    mapping = _Mapping(loader.construct_mapping(node, deep=True))
    mapping.lines = {loader.construct_object(key): key.start_mark.line + 1 for key, _ in node.value}
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def load_script(path: Path) -> Script:
    """Read a script from a YAML or JSON file.

    Raises `InvalidScript` or `OSError`.
    """
    return parse_script(path.read_text(encoding="utf-8"))


def parse_script(text: str) -> Script:
    """Read a script from its text.

    Raises `InvalidScript`.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 (it makes the same values as SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidScript([" ".join(str(error).split())]) from error
    return build_script(document)


def build_script(document: Any) -> Script:
    """Build a script from its parsed document.

    Raises `InvalidScript`.
    """
    problems: list[str] = []
    fields = _check_fields(document or {}, "script", _SCRIPT_CHECKS, problems)
    rules = tuple(
        _build_rule(entry, f"rules[{place}]", problems) for place, entry in enumerate(fields.get("rules", []))
    )
    default = _build_behaviour(_check_fields(fields.get("default", {}), "default", _BEHAVIOUR_CHECKS, problems))
    for place, rule in enumerate(rules[:-1]):
        if rule.step is None and rule.image is None and rule.engine is None and not rule.labels:
            problems.append(f"rules[{place}]: matches every job, so the rules after it never apply")
            break
    if problems:
        raise InvalidScript(problems)
    return Script(rules=rules, default=default, idempotent=fields.get("idempotent", True))


def _build_rule(document: Any, place: str, problems: list[str]) -> Rule:
    fields = _check_fields(document, place, _BEHAVIOUR_CHECKS | _CONDITION_CHECKS, problems)
    conditions = {name: fields.pop(name) for name in _CONDITION_CHECKS if name in fields}
    return Rule(**conditions, behaviour=_build_behaviour(fields))


def _build_behaviour(fields: dict[str, Any]) -> Behaviour:
    garbage = fields.pop("garbage", None)
    if garbage is not None:
        forever = Fault(kind=garbage, times=FOREVER)
        fields |= {"submit_errors": (forever,), "status_errors": (forever,)}
    for written, meant in _RENAMED.items():
        if written in fields:
            fields[meant] = fields.pop(written)
    return Behaviour(**fields)


def _check_fields(document: Any, place: str, checks: Mapping[str, Check], problems: list[str]) -> dict[str, Any]:
    """Keep the valid fields of a mapping.

    Each invalid one is added to the problems.
    """
    if not isinstance(document, Mapping):
        problems.append(f"{place}: expected a mapping, not {_quote(document)}")
        return {}
    fields = {}
    lines = document.lines if isinstance(document, _Mapping) else {}
    for name, value in document.items():
        where = f"line {lines[name]}: {place}.{name}" if name in lines else f"{place}.{name}"
        if name not in checks:
            near = Suggestions().nearest(str(name), names_of(tuple(checks)))
            remedy = f"did you mean {near}?" if near else f"expected one of {', '.join(sorted(checks))}"
            problems.append(f"{where}: unknown; {remedy}")
            continue
        try:
            fields[name] = checks[name](value)
        except ValueError as error:
            problems.append(f"{where}: {error}, not {_quote(value)}")
    return fields


def _quote(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):
        # A key that is a date, or a list that contains itself.
        return repr(value)


def _parse_text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text")
    return value


def _parse_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 - one kind of error for every check
    return value


def _parse_seconds(value: Any) -> float:
    if isinstance(value, str):
        with suppress(ValueError):
            value = parse_duration(value).total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("expected seconds, 0 or more")
    return float(value)


def _parse_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def _parse_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("expected a list")  # noqa: TRY004 - one kind of error for every check
    return value


def _parse_labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise ValueError("expected a mapping of strings")
    return value


def _parse_states(value: Any) -> tuple[str, ...]:
    states = tuple(_parse_text(state) for state in _parse_list(value))
    if not states or any(state in TERMINAL_STATES for state in states[:-1]):
        raise ValueError("expected a list of states, of which only the last may be terminal")
    return states


def _parse_outputs(value: Any) -> tuple[Mapping[str, Any] | None, ...]:
    """Return the outputs of each attempt.

    They may break the limits of the contract, to show what follows from that.
    """
    entries = value if isinstance(value, list) else [value]
    expected = "expected a mapping of JSON values, or a list of them, one for each attempt"
    if not entries or value is None or not all(isinstance(entry, dict | None) for entry in entries):
        raise ValueError(expected)
    try:
        is_json = json.loads(json.dumps(entries, allow_nan=False)) == entries
    except (TypeError, ValueError):
        is_json = False
    if not is_json:
        raise ValueError(f"{expected}; write dates, and names that are not texts, in quotes")
    return tuple(entries)


def _parse_reasons(value: Any) -> tuple[str | None, ...]:
    entries = value if isinstance(value, list) else [value]
    if not entries or value is None or not all(entry is None or _is_reason(entry) for entry in entries):
        raise ValueError(
            f"expected a text of one line and at most {MAX_REASON_LENGTH} characters, or a list of them, one for each "
            "attempt"
        )
    return tuple(entries)


def _is_reason(value: Any) -> bool:
    return isinstance(value, str) and len(value.splitlines()) == 1 and 0 < len(value.strip()) <= MAX_REASON_LENGTH


def _parse_garbage(value: Any) -> FaultKind:
    if not isinstance(value, str) or value not in GARBAGE:
        raise ValueError(f"expected one of {', '.join(sorted(GARBAGE))}")
    return FaultKind(value)


def _parse_loss(value: Any) -> Loss:
    if isinstance(value, bool):
        return Loss.ALWAYS if value else Loss.NEVER
    if value not in tuple(Loss):
        raise ValueError(f"expected one of {', '.join(Loss)}")
    return Loss(value)


def _parse_stop(value: Any) -> Stop:
    if value == "ignore":
        return Stop(ignored=True)
    if isinstance(value, dict) and value.keys() == {"after"}:
        return Stop(after_s=_parse_seconds(value["after"]))
    if value != "cannot" and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError("expected {after: 2}, ignore, cannot, or an HTTP status")
    status = _METHOD_NOT_ALLOWED if value == "cannot" else _parse_http_status(value)
    return Stop(fault=Fault(status=status, times=FOREVER, accepted=status < 300))  # noqa: PLR2004 - 2xx: carried out


def _parse_http_status(value: Any) -> int:
    status = _parse_count(value)
    if not 200 <= status <= 599:  # noqa: PLR2004 - the range of HTTP's final answers
        raise ValueError("expected an HTTP status from 200 to 599")
    return status


def _parse_times(value: Any) -> int:
    return FOREVER if value == "forever" else max(1, _parse_count(value))


def _parse_fault(value: Any) -> Fault:
    if isinstance(value, dict):
        return _parse_fault_map(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Fault(status=_parse_http_status(value), accepted=value < 300)  # noqa: PLR2004 - 2xx: carried out
    if not isinstance(value, str) or value not in {FaultKind.DROP, *GARBAGE}:
        named = ", ".join([FaultKind.DROP, *sorted(GARBAGE)])
        raise ValueError(f"expected HTTP statuses from 200 to 599, {named}, or maps such as {{status: 429, times: 2}}")
    return Fault(kind=FaultKind(value))


def _parse_fault_map(value: dict[str, Any]) -> Fault:
    problems: list[str] = []
    fields = _check_fields(dict(value), "fault", _FAULT_CHECKS, problems)  # A problem is reported at the list's line.
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
    return tuple(_parse_fault(item) for item in _parse_list(value))


_FAULT_CHECKS: Final[dict[str, Check]] = {
    "status": _parse_http_status,
    "garbage": _parse_garbage,
    "drop": _parse_flag,
    "retry_after": _parse_seconds,
    "times": _parse_times,
    "accepted": _parse_flag,
}

_CONDITION_CHECKS: Final[dict[str, Check]] = {
    "step": _parse_text,
    "image": _parse_text,
    "engine": _parse_text,
    "labels": _parse_labels,
}

_BEHAVIOUR_CHECKS: Final[dict[str, Check]] = {
    "duration": _parse_seconds,
    "synchronous": _parse_flag,
    "states": _parse_states,
    "fail_times": _parse_count,
    "always_fail": _parse_flag,
    "message": _parse_text,
    "outputs": _parse_outputs,
    "reason": _parse_reasons,
    "logsUrl": _parse_text,
    "notifies": _parse_flag,
    "stop": _parse_stop,
    "submit_errors": _parse_faults,
    "status_errors": _parse_faults,
    "stop_errors": _parse_faults,
    "garbage": _parse_garbage,
    "lose_job": _parse_loss,
    "delay": _parse_seconds,
}

_SCRIPT_CHECKS: Final[dict[str, Check]] = {
    "rules": _parse_list,
    "default": lambda value: value,  # checked later as a behaviour, so that problems name their own place
    "idempotent": _parse_flag,
}
