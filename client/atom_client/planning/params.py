"""Read and check a run's parameters before anything starts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from atom_client.errors import Misuse
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import JsonValue, Workflow
from atom_workflows.errors import InvalidParams


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenParams:
    """Parameters as given: strings from `--param` and values from the file.

    A string overrides the file's value.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, JsonValue] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return True if any parameters were given."""
        return bool(self.texts or self.values)

    def without_file(self) -> dict[str, JsonValue]:
        """Return the values for a workflow that cannot be read here.

        A string that is valid JSON is read as JSON; any other string is sent unchanged.
        """
        values = {**self.values, **self.texts}
        for name, text in self.texts.items():
            with suppress(ValueError, RecursionError):
                values[name] = json.loads(text, parse_constant=_refuse_constant)
        return values


def pairs_of(option: str, written: Sequence[str]) -> dict[str, str]:
    """Split strings of the form NAME=VALUE."""
    pairs = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Misuse(f"{option} is {text!r:.100}; it must be NAME=VALUE")
        if name in pairs:
            raise Misuse(f"{option} names {name!r:.100} twice; remove one")
        pairs[name] = value
    return pairs


def checked_params(given: GivenParams, workflow: Workflow, run: RunRecord) -> dict[str, JsonValue]:
    """Return the values to send for a run of the workflow.

    They are in the form in which the run will store them. Defaults are left to the start function. Strings are read
    according to the declared types, and remain strings if the workflow declares no parameters.

    Raises `InvalidParams` with every problem.
    """
    if not workflow.params:
        return {**given.values, **given.texts}
    read = read_params(given, workflow)
    bound: Mapping[str, JsonValue] = {}
    problems = read.problems
    try:
        bound = bind_values(workflow, read.values, run, leave_out=read.unread)
    except InvalidParams as error:
        problems += error.problems
    if problems:
        raise InvalidParams(problems)
    return {name: bound[name] for name in read.values}


def warn_of_params(given: GivenParams, workflow: Workflow) -> Iterator[str]:
    """Yield a warning about parameters that the workflow does not declare.

    Only a workflow without `params` accepts these.
    """
    if given and not workflow.params:
        from atom_workflows.core.run_values import UNUSED_PARAMS  # noqa: PLC0415 (few workflows need it)

        yield UNUSED_PARAMS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadParams:
    """The given parameters as JSON values.

    Also holds the names and problems of strings that could not be read.
    """

    values: Mapping[str, JsonValue]
    unread: frozenset[str]
    problems: tuple[str, ...]


def read_params(given: GivenParams, workflow: Workflow) -> ReadParams:
    """Read the given strings according to the workflow's declared types."""
    from atom_workflows.core.params import read_options  # noqa: PLC0415 (only workflows with params need it)

    values = {name: value for name, value in given.values.items() if name not in given.texts}
    unread: set[str] = set()
    problems: tuple[str, ...] = ()
    for name, text in given.texts.items():
        try:
            values |= read_options(workflow.params, {name: text})
        except InvalidParams as error:
            unread.add(name)
            problems += error.problems
    return ReadParams(values=values, unread=frozenset(unread), problems=problems)


def provisional_run(
    workflow: Workflow, *, labels: Mapping[str, str], run_id: str = "", now: datetime | None = None
) -> RunRecord:
    """Return a provisional run for which defaults can be computed."""
    return RunRecord(
        id=run_id,
        workflow=workflow.name,
        state=RunState.SEEDING,
        created_at=now or datetime.now(UTC),
        labels=labels,
        trigger={"kind": "message"},
    )


def bind_values(
    workflow: Workflow, values: Mapping[str, Any], run: RunRecord, *, leave_out: Collection[str] = ()
) -> Mapping[str, JsonValue]:
    """Return all parameter values, including defaults, except those in `leave_out`.

    Raises `InvalidParams` with every problem.
    """
    from atom_workflows.core.params import bind  # noqa: PLC0415 (see above)
    from atom_workflows.core.run_values import RUN_TYPES, run_values  # noqa: PLC0415 (see above)
    from atom_workflows.expressions.types import read_type, read_value  # noqa: PLC0415 (see above)

    zone = workflow.timezone
    typed = {name: read_value(value, read_type(RUN_TYPES[name]), zone=zone) for name, value in run_values(run).items()}
    return bind(workflow.params, values, run=typed, zone=zone, leave_out=leave_out).values


def known_params(given: GivenParams, workflow: Workflow, run: RunRecord) -> Mapping[str, JsonValue]:
    """Return the values of all known parameters, including defaults.

    Required parameters may be missing. Raises `InvalidParams` with every problem.
    """
    read = read_params(given, workflow)
    missing = {param.name for param in workflow.params if param.required and param.name not in read.values}
    problems = read.problems
    bound: Mapping[str, JsonValue] = {}
    try:
        bound = bind_values(workflow, read.values, run, leave_out=missing | read.unread)
    except InvalidParams as error:
        problems += error.problems
    if problems:
        raise InvalidParams(problems)
    return bound


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
