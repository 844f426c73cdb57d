"""How documents store what a workflow file says.

This covers policies, templates, conditions, types, loops, groups and deadlines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.core.groups import Group
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.places import NUMBERS, read_shard
from atom_workflows.core.records import Loop, Policies, StepRecord
from atom_workflows.core.workflow import (
    Backoff,
    Condition,
    Deadline,
    OnLost,
    RetryPolicy,
    Step,
    Template,
    Trigger,
    WhenFull,
)
from atom_workflows.documents import to_json
from atom_workflows.ports import Fields

if TYPE_CHECKING:
    from atom_workflows.expressions.types import Type

DEFAULT_POLICIES: Final = Policies(timeout=Step(id="default").timeout, retry=RetryPolicy(), on_lost=OnLost.RETRY)

_POLICIES: Final = (
    "timeout_s",
    "max_attempts",
    "backoff_initial_s",
    "backoff_factor",
    "backoff_max_s",
    "backoff_jitter",
    "on_lost",
)


def policies_fields(policies: Policies) -> dict[str, Any]:
    """Return the stored fields of a step's limits."""
    backoff = policies.retry.backoff
    return {
        "timeout_s": policies.timeout.total_seconds(),
        "max_attempts": policies.retry.max_attempts,
        "backoff_initial_s": backoff.initial.total_seconds(),
        "backoff_factor": backoff.factor,
        "backoff_max_s": backoff.maximum.total_seconds(),
        "backoff_jitter": backoff.jitter,
        "on_lost": policies.on_lost.value,
        **({} if policies.retry.when is None else {"retry_when": _condition_fields(policies.retry.when)}),
    }


def read_policies(stored: Fields) -> Policies:
    """Read a step's limits, or return the defaults if none are stored."""
    if not stored:
        return DEFAULT_POLICIES
    values = (stored[name] for name in _POLICIES)
    return _policies_of(*values, Condition(**stored["retry_when"]) if "retry_when" in stored else None)


# Most steps of a run have the same policies, and each step is read several times.
@lru_cache(maxsize=256)
def _policies_of(  # noqa: PLR0913, PLR0917 (the stored fields, by position because that is faster to look up)
    timeout_s: float,
    max_attempts: int,
    initial_s: float,
    factor: float,
    maximum_s: float,
    jitter: float,
    on_lost: str,
    retry_when: Condition | None,
) -> Policies:
    return Policies(
        timeout=timedelta(seconds=timeout_s),
        retry=RetryPolicy(
            max_attempts=max_attempts,
            when=retry_when,
            backoff=Backoff(
                initial=timedelta(seconds=initial_s),
                factor=factor,
                maximum=timedelta(seconds=maximum_s),
                jitter=jitter,
            ),
        ),
        on_lost=OnLost(on_lost),
    )


def expression_fields(step: StepRecord) -> dict[str, Any]:
    """Return the stored fields of a step's expressions, conditions and outputs."""
    stored: dict[str, Any] = {}
    if step.templates:
        stored["templates"] = templates_text(step.templates)
    if step.constants:
        stored["constants"] = to_json(step.constants)
    if step.outputs:
        stored["outputs"] = write_types(step.outputs)
    if step.trigger is not Trigger.NO_FAILURE:
        stored["trigger"] = step.trigger.value
    if step.when is not None:
        stored["when"] = _condition_fields(step.when)
    if step.phase is not Phase.MAIN:
        stored["phase"] = step.phase.value
    if step.conditional:
        stored["conditional"] = list(step.conditional)
    if step.loop is not None:
        stored["loop"] = _loop_text(step.loop)
    if step.places is not None:
        stored |= {name: getattr(step.places, name) for name in NUMBERS}
    return stored


def read_expressions(stored: Fields) -> dict[str, Any]:
    """Return a step's expressions, conditions and outputs, keyed by field name."""
    # A field may also be present but empty; see run_graph.py.
    found: dict[str, Any] = {}
    if stored.get("templates"):
        found["templates"] = read_templates(stored["templates"])
    if stored.get("constants"):
        found["constants"] = json.loads(stored["constants"])
    if stored.get("outputs"):
        found["outputs"] = read_types(stored["outputs"])
    if stored.get("trigger"):
        found["trigger"] = Trigger(stored["trigger"])
    if stored.get("when"):
        found["when"] = Condition(**stored["when"])
    if stored.get("phase"):
        found["phase"] = Phase(stored["phase"])
    if stored.get("conditional"):
        found["conditional"] = tuple(stored["conditional"])
    if stored.get("loop"):
        found["loop"] = _read_loop(stored["loop"])
    if stored.get("kind") == NodeKind.PLACES.value:
        found["places"] = read_shard(stored)
    return found


def _loop_text(loop: Loop) -> str:
    """Return a loop as JSON text."""
    lists = {
        name: {"template": _template_fields(one)} if isinstance(one, Template) else {"items": one}
        for name, one in loop.lists.items()
    }
    stored: dict[str, Any] = {"lists": lists, "item_type": loop.item_type, "policies": policies_fields(loop.policies)}
    if isinstance(loop.max_parallel, Template):
        stored["max_parallel"] = {"template": _template_fields(loop.max_parallel)}
    elif loop.max_parallel is not None:
        stored["max_parallel"] = loop.max_parallel
    if loop.when is not None:
        stored["when"] = _condition_fields(loop.when)
    if loop.outputs:
        stored["outputs"] = json.loads(write_types(loop.outputs))
    return to_json(stored)


def _read_loop(text: str) -> Loop:
    stored = json.loads(text)
    most = stored.get("max_parallel")
    return Loop(
        lists={
            name: _read_template(one["template"]) if "template" in one else one["items"]
            for name, one in stored["lists"].items()
        },
        item_type=stored["item_type"],
        policies=read_policies(stored["policies"]),
        max_parallel=_read_template(most["template"]) if isinstance(most, dict) else most,
        when=Condition(**stored["when"]) if "when" in stored else None,
        outputs=read_types(to_json(stored["outputs"])) if "outputs" in stored else {},
    )


def write_types(types: Mapping[str, Type]) -> str:
    """Return the types of named values as JSON text."""
    from atom_workflows.expressions.types import write_type  # noqa: PLC0415 (only steps with outputs need it)

    return to_json({name: write_type(one) for name, one in types.items()})


def read_types(text: str) -> dict[str, Type]:
    """Read the types of named values from JSON text."""
    from atom_workflows.expressions.types import read_type  # noqa: PLC0415 (see above)

    return {name: read_type(notation) for name, notation in json.loads(text).items()}


def templates_text(templates: Sequence[Template]) -> str:
    """Return templates as JSON text."""
    return to_json([_template_fields(one) for one in templates])


def read_templates(text: str) -> tuple[Template, ...]:
    """Read templates from JSON text."""
    return tuple(map(_read_template, json.loads(text)))


def _template_fields(template: Template) -> list[Any]:
    return [list(template.path), template.text, template.line, template.column]


def _read_template(stored: Sequence[Any]) -> Template:
    path, text, line, column = stored
    return Template(path=tuple(path), text=text, line=line, column=column)


def _condition_fields(condition: Condition) -> dict[str, Any]:
    return {"text": condition.text, "line": condition.line, "column": condition.column}


def group_fields(group: Group) -> dict[str, Any]:
    """Return the stored fields of the group to which a run belongs."""
    return {
        "id": group.id,
        "value": group.value,
        "limit": group.limit,
        "when_full": group.when_full.value,
        "max_queued": group.max_queued,
        "max_wait_s": group.max_wait.total_seconds(),
    }


def read_group(stored: Fields | None) -> Group | None:
    """Read the group to which a run belongs, if any."""
    if not stored:
        return None
    return Group(
        id=stored["id"],
        value=stored["value"],
        limit=stored["limit"],
        when_full=WhenFull(stored["when_full"]),
        max_queued=stored["max_queued"],
        max_wait=timedelta(seconds=stored["max_wait_s"]),
    )


def deadline_fields(deadline: Deadline | None) -> dict[str, Any] | None:
    """Return the stored fields of a file's deadline."""
    if deadline is None:
        return None
    after_s = None if deadline.after is None else deadline.after.total_seconds()
    return {"after_s": after_s, "at": None if deadline.at is None else deadline.at.isoformat()}


def read_deadline(stored: Mapping[str, Any] | None) -> Deadline | None:
    """Read a file's deadline, if it has one."""
    if stored is None:
        return None
    after_s, at = stored["after_s"], stored["at"]
    return Deadline(
        after=None if after_s is None else timedelta(seconds=after_s), at=None if at is None else time.fromisoformat(at)
    )
