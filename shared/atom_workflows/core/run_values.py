"""The values of a run that expressions can read.

These are its parameters, `run.*` and `env.*`. They are fixed when the run starts, so each step stores the values that
its expressions read, and the run's document need not be read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from atom_workflows.core.evaluation import render_value
from atom_workflows.core.groups import Group, group_of
from atom_workflows.core.reads import Constants, paths_in, required_paths_in, typed_constants
from atom_workflows.core.records import RunRecord
from atom_workflows.core.workflow import Condition, JsonValue, Template, Workflow
from atom_workflows.errors import EvaluationError, ExpressionError, ExpressionSyntaxError, InvalidParams

ENV_PREFIX: Final = "WORKFLOW_ENV_"
"""The prefix of the deployment's environment variables that files can read as `env.NAME`."""

UNUSED_PARAMS: Final = "params were given, but the file declares none; they are stored but not used"
"""The warning about params given to a workflow that declares none and so accepts any."""

RUN_TYPES: Final[Mapping[str, Any]] = {
    "id": "text",
    "workflow": "text",
    "createdAt": "instant",
    "scheduledAt": "instant",
    "window": "{start: instant, end: instant} or null",
    "trigger": "text",
    "labels": "any",
    "scratch": "text or null",
}
"""The members of `run` in every expression, with the notation of their types."""


def bind_run(run: RunRecord, workflow: Workflow, env: Mapping[str, str]) -> RunRecord:
    """Bind a new run's parameters, and pin the environment values it reads.

    Raises `InvalidParams` with every problem.
    """
    if workflow.is_plain:
        return run
    texts = list(_texts_of(workflow))
    paths = [path for text in texts for path in paths_in(text)]
    # An expression that reads `env` as a whole may use any of its values.
    names = set(env) if ("env",) in paths else {path[1] for path in paths if path[0] == "env"}
    required = {path[1] for path in required_paths_in(texts) if path[0] == "env" and len(path) > 1}
    problems = [
        f"`env.{name}` is not set; set {ENV_PREFIX}{name} in the deployment" for name in sorted(required - env.keys())
    ]
    values: Mapping[str, JsonValue] = run.params
    defaulted: tuple[str, ...] = ()
    if workflow.params:
        from atom_workflows.core.params import bind  # noqa: PLC0415 (only runs with parameters need it)

        zone = workflow.timezone
        try:
            found = bind(workflow.params, run.params, run=_typed_run_values(run, zone), zone=zone)
            values, defaulted = found.values, tuple(sorted(found.defaults))
        except InvalidParams as error:
            problems = [*error.problems, *problems]
    if problems:
        raise InvalidParams(tuple(problems))
    stored = {name: values[name] for name in run.params}
    bound = replace(
        run,
        params=values,
        defaulted=defaulted,
        given_digest=digest_of(run.params) if digest_of(stored) != digest_of(run.params) else None,
        env={name: env[name] for name in sorted(names & env.keys())},
    )
    constants = constants_of(bound, workflow)
    return replace(
        bound,
        output_templates=workflow.outputs,
        constants=constants.read_by(workflow.outputs),
        group=_group_of(bound, workflow, constants),
    )


MAX_GROUP: Final = 200
"""The maximum number of characters in the value of a group's expression."""

_LARGEST_EXACT: Final = 2**53


def _group_of(run: RunRecord, workflow: Workflow, constants: Constants) -> Group | None:
    """Return the run's group if its file limits concurrent runs.

    Raises `InvalidParams` if the group cannot be computed.
    """
    rules = workflow.concurrency
    if rules is None:
        return None
    value: JsonValue = rules.group if isinstance(rules.group, str) else None
    if isinstance(rules.group, Template):
        try:
            scope = typed_constants(constants.read_by([rules.group]))
            value = render_value(rules.group, scope, zone=constants.zone)
        except ExpressionError as error:
            raise InvalidParams((str(error),)) from None
        if value is None or isinstance(value, list | dict):
            shown = json.dumps(value)
            raise InvalidParams((f"`concurrency.group` must be text or a number, but its value is {shown:.60}",))
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        # Equal numbers are one group, whether they were given as 1 or as 1.0.
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > MAX_GROUP:
        said = f"the value of `concurrency.group` has {len(text):,} characters, more than the {MAX_GROUP} allowed"
        raise InvalidParams((said,))
    return group_of(str(run.source.get("path", "")), text, rules)


def render_params(run: RunRecord, zone: str, templates: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return a scheduled run's parameters that are computed by expressions.

    These expressions can read only `run`. Raises `InvalidParams` with every problem.
    """
    from atom_workflows.expressions.budget import Budget  # noqa: PLC0415 (only some schedules need it)
    from atom_workflows.expressions.templates import parse_template, render  # noqa: PLC0415 (see above)
    from atom_workflows.expressions.types import write_value  # noqa: PLC0415 (see above)

    scope, budget = {"run": _typed_run_values(run, zone)}, Budget()
    values: dict[str, JsonValue] = {}
    problems = []
    for name, text in templates.items():
        try:
            values[name] = write_value(render(parse_template(text), scope, zone=zone, budget=budget))
        except (EvaluationError, ExpressionSyntaxError) as error:
            problems.append(f"`params.{name}` of the schedule cannot be computed: {error.message}")
    if problems:
        raise InvalidParams(tuple(problems))
    return values


def digest_of(params: Mapping[str, JsonValue]) -> str:
    """Return a digest of the parameters exactly as they are written."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def _typed_run_values(run: RunRecord, zone: str) -> dict[str, Any]:
    from atom_workflows.expressions.types import read_type, read_value  # noqa: PLC0415 (see above)

    return {name: read_value(value, read_type(RUN_TYPES[name]), zone=zone) for name, value in run_values(run).items()}


def _texts_of(workflow: Workflow) -> Iterator[Condition | Template]:
    """Yield every template and condition that may read `env`."""
    for step in workflow.all_steps:
        yield from (text for text in step.expressions if "env" in text.text)
    group = workflow.concurrency.group if workflow.concurrency else ""
    own = (*workflow.outputs, *([group] if isinstance(group, Template) else []))
    yield from (text for text in own if "env" in text.text)


def constants_of(run: RunRecord, workflow: Workflow) -> Constants:
    """Return the values that a run's expressions can read when it starts."""
    if workflow.is_plain:
        return Constants(values={}, types={})
    from atom_workflows.expressions.types import write_type  # noqa: PLC0415 (only runs with expressions need it)

    params = {one.name: run.params[one.name] for one in workflow.params if one.name in run.params}
    return Constants(
        values={"params": params, "run": run_values(run), "env": dict(run.env)},
        types={
            "params": {one.name: write_type(one.type) for one in workflow.params},
            "run": RUN_TYPES,
            "env": dict.fromkeys(run.env, "text"),
        },
        zone=workflow.timezone,
    )


def run_values(run: RunRecord) -> dict[str, JsonValue]:
    """Return the members of `run` as JSON values."""
    created_at = run.created_at.isoformat()
    # A run that was not started by a schedule counts as scheduled for the time at which it was created.
    scheduled_at = created_at if run.scheduled_at is None else run.scheduled_at.isoformat()
    window = None if run.window_start is None else {"start": run.window_start.isoformat(), "end": scheduled_at}
    return {
        "id": run.id,
        "workflow": run.workflow,
        "createdAt": created_at,
        "scheduledAt": scheduled_at,
        "window": window,
        "trigger": str(run.trigger.get("kind", "")),
        # The store does not keep the order of a map, and seeding may be repeated.
        "labels": dict(sorted(run.labels.items())),
        "scratch": None,
    }
