"""What expressions may read in each position.

This includes the types of names, and the reasons why other names cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from atom_workflows.core.outcomes import FAILURE_KINDS
from atom_workflows.core.reads import ITEM_ROOTS
from atom_workflows.core.run_values import RUN_TYPES
from atom_workflows.core.states import StepState
from atom_workflows.expressions.checker import Fault, Scope, Unavailable
from atom_workflows.expressions.syntax import Expression, Path, reads, spell
from atom_workflows.expressions.types import ANY, INSTANT, INT, TEXT, ListOf, MapOf, Type, Words, or_null, read_type
from atom_workflows.language.certainty import StepGraph
from atom_workflows.language.loops import COUNTS, is_loop
from atom_workflows.language.nodes import Fields
from atom_workflows.language.problems import Report, code
from atom_workflows.language.suggestions import Names

RETRIED_KINDS: Final = (
    *(kind for kind in FAILURE_KINDS.values() if kind not in {"lost", "items"}),
    "rejected",
)
"""The kinds of failure that `retry.when` may be evaluated for. For a lost job, `onLost` decides instead."""

LAST_KINDS: Final = (*RETRIED_KINDS, "lost", "items", "stopped")
"""The kinds of failure that may be reported for an attempt, or for a step in a run that has ended."""

__all__ = ["CONDITION", "DEFAULT", "GROUP", "RETRY", "TASK", "Fault", "File", "Position", "Scope", "scope_of"]

_ENDS: Final = Words(tuple(state.value for state in StepState if state.is_terminal))
_VERDICTS: Final = Words(("SUCCEEDED", "FAILED", "CANCELLED"))

_WINDOW: Final = MapOf({"start": INSTANT, "end": INSTANT})
_RUN: Final[Mapping[str, Type]] = {
    **{name: read_type(notation) for name, notation in RUN_TYPES.items()},
    "window": or_null(_WINDOW, "because the run may have been started without a schedule"),
    "scratch": or_null(TEXT, "because the deployment may have no scratch folder"),
}
_INDEX: Final = or_null(INT, "because only items of a `forEach` have one")
_FAILURES: Final = ListOf(
    MapOf({"step": TEXT, "index": _INDEX, "kind": Words(LAST_KINDS), "reason": TEXT, "message": TEXT})
)
_RUN_AT_THE_END: Final[Mapping[str, Type]] = {"state": _VERDICTS, "failures": _FAILURES, "failureCount": INT}
_ATTEMPT: Final = MapOf({"kind": Words(LAST_KINDS), "reason": TEXT})
_STEP: Final = MapOf({"attempt": INT, "last": or_null(_ATTEMPT, "because there is no attempt before the first")})
_FAILURE: Final = MapOf({"kind": Words(RETRIED_KINDS), "reason": TEXT, "message": TEXT, "attempt": INT})

_ITEM_ID: Final = re.compile(r"(?P<step>.+)\[(?P<index>\d+)\]")
"""The form in which loop items are shown to users, such as `train[3]`."""

_ELSEWHERE: Final = {
    "failure": Unavailable("`failure` can be read only in `retry.when`"),
    "step": Unavailable("`step` can be read only in the fields of `task` and in `retry.when`"),
    "item": Unavailable("there is no `item`, because this step has no `forEach`", "add `forEach` with the items"),
    "index": Unavailable("there is no `index`, because this step has no `forEach`", "add `forEach` with the items"),
    "steps": Unavailable("no step has run yet when this is computed"),
    "env": Unavailable("`env` cannot be read here"),
}
_ELSEWHERE_IN_RETRY: Final = {
    name: Unavailable(f"`{name}` cannot be read in `retry.when`", "it can read only `failure` and `step`")
    for name in ("params", "run", "env", "steps", *ITEM_ROOTS)
}
_ELSEWHERE_IN_SCHEDULES: Final = {
    "params": Unavailable("a schedule cannot read `params`, because it sets them", "it can read only `run`")
}
_ELSEWHERE_IN_GROUP: Final = {
    "steps": Unavailable(
        "`steps` are known only once the run is in progress, but its group must be known before it starts",
        "use `params`, `run` or `env`",
    )
}
_NOT_YET: Final = {name: Unavailable(f"`run.{name}` is available only under `finally`") for name in _RUN_AT_THE_END}


@dataclass(frozen=True, kw_only=True)
class File:
    """What all expressions in a file may read.

    `env_names` is None if any name may exist.
    """

    params: Mapping[str, Type]
    main: StepGraph
    last: StepGraph
    report: Report
    zone: str = "UTC"
    env_names: frozenset[str] | None = None
    # The ids of all steps as written, including invalid ones.
    written_ids: frozenset[str] = frozenset()

    def guess(self, word: str, names: Iterable[str]) -> str:
        """Return a question that suggests the intended name, or "".

        Without `names`, the ids of steps are suggested.
        """
        known = tuple(names)
        if known not in self._indexed:
            self._indexed[known] = Names(known) if known else Names([*self.main.position, *self.last.position])
        near = self.report.nearest(word, self._indexed[known])
        return f"did you mean {code(near)}?" if near else ""

    @cached_property
    def _indexed(self) -> dict[tuple[str, ...], Names]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The position of an expression.

    It defines the roots that the expression may read, and the step that it belongs to, if any. `graph` contains that
    step, the `reader`. Without a reader, values are read once all `steps` have ended: under `finally`, or for the run's
    outputs.
    """

    roots: frozenset[str]
    graph: StepGraph
    reader: int | None = None
    at_the_end: bool = False
    params: Mapping[str, Type] | None = None
    # The type of a loop's items, if there is a current one.
    item: Type | None = None
    # The name of a place that never has a current item, if this is one.
    without_item: str = ""
    # True if a list is wanted, for the items of a loop.
    is_list: bool = False


CONDITION: Final = frozenset({"params", "run", "env", "steps"})
TASK: Final = CONDITION | {"step"}
DEFAULT: Final = frozenset({"params", "run"})
RETRY: Final = frozenset({"failure", "step"})
SCHEDULE: Final = frozenset({"run"})
GROUP: Final = frozenset({"params", "run", "env"})


_ELSEWHERE_BY_ROOTS: Final = {
    RETRY: _ELSEWHERE_IN_RETRY,
    SCHEDULE: _ELSEWHERE_IN_SCHEDULES,
    GROUP: _ELSEWHERE_IN_GROUP,
}
"""More specific reasons why a name cannot be read, for some positions."""


def scope_of(expressions: Iterable[Expression], position: Position, file: File, proven: frozenset[Path]) -> Scope:
    """Return what the expressions of one value may read.

    Only those steps and names in `env` that are actually read are included, since a file may have 10,000 steps.
    """
    read = {path for expression in expressions for path in reads(expression)}
    env: Type = Unavailable("values of `env` are read by name", "write `env.NAME`")
    if ("env",) not in read:
        in_env = [path[1] for path in read if path[0] == "env"] if file.env_names is None else sorted(file.env_names)
        env = MapOf(dict.fromkeys(in_env, TEXT))
    params = file.params if position.params is None else position.params
    if not params:
        named = {path[1] for path in read if path[0] == "params" and len(path) > 1}
        params = {
            name: Unavailable("the workflow declares no params", f"add `params: {{{name:.60}: text}}` to it")
            for name in named
        }
    steps: Type = Unavailable("steps are read by name", "write `steps.ID.outputs.NAME`")
    if ("steps",) not in read:
        asked_of: dict[str, set[str]] = {path[1]: set() for path in read if path[0] == "steps"}
        for path in read:
            if path[0] == "steps" and path[2:3] == ("outputs",):
                asked_of[path[1]].update(path[3:4])
        steps = MapOf(
            {
                name: _explain_undeclared(
                    name, _look_up(name, position, file), asked_of[name], "[text]" if position.is_list else "int"
                )
                for name in asked_of
            }
        )
    names: dict[str, Type] = {
        "params": MapOf(params),
        "run": MapOf(
            {
                **_RUN,
                **(_RUN_AT_THE_END if position.at_the_end else _NOT_YET),
                **({"window": _WINDOW} if position.roots == SCHEDULE else {}),
            }
        ),
        "env": env,
        "steps": steps,
        "step": _STEP,
        "failure": _FAILURE,
    }
    visible = {name: of for name, of in names.items() if name in position.roots}
    elsewhere = _ELSEWHERE | _ELSEWHERE_BY_ROOTS.get(position.roots, {})
    if position.without_item:
        advice = "only the `task` and the `when` of a step with `forEach` can read it"
        refused = (Unavailable(f"`{name}` cannot be read in {position.without_item}", advice) for name in ITEM_ROOTS)
        elsewhere = {**elsewhere, **dict(zip(ITEM_ROOTS, refused, strict=True))}
    if position.item is not None:
        visible |= {"item": position.item, "index": INT}
    asked = {path[0] for path in read} & elsewhere.keys()
    visible = {**{name: elsewhere[name] for name in asked}, **visible}
    return Scope(names=visible, proven=proven, zone=file.zone, guess=file.guess)


def _look_up(name: str, position: Position, file: File) -> Type:
    """Return the type of a step's readable values, or an `Unavailable`."""
    own = position.graph.position.get(name)
    if own is not None and own == position.reader:
        return Unavailable(f"the step {code(name)} cannot read its own result")
    if own is not None and (position.reader is None or position.graph.is_behind(position.reader, own)):
        return _type_of(position.graph, position.reader, own)
    main = file.main.position.get(name)
    if position.at_the_end and main is not None:
        return _type_of(file.main, None, main, ended=True)
    if own is not None:
        return Unavailable(f"the step {code(name)} might not have ended when this one starts", "add it to `dependsOn`")
    if name in file.last.position:
        return Unavailable(f"the step {code(name)} is under `finally`, so it cannot be read here")
    # This may be a step whose id has been reported as invalid.
    return ANY if name in file.written_ids else _no_step(name, file)


def _no_step(name: str, file: File) -> Unavailable:
    item = _ITEM_ID.fullmatch(name)
    if item and item["step"] in file.written_ids:
        path = spell(("steps", item["step"], "outputs", "NAME"))
        remedy = f"write {code(f'{path}[{item[2]}]')}"
        return Unavailable(f"items of a loop, such as {code(name)}, are read from the outputs of the step", remedy)
    return Unavailable(f"there is no step {code(name)}", file.guess(name, ()))


def _explain_undeclared(step_id: str, of: Type, names: Iterable[str], like: str) -> Type:
    """Explain attempts to read outputs of a step that declares none.

    `like` is a type that would probably fit.
    """
    if not isinstance(of, MapOf) or of.fields["outputs"] != MapOf({}):
        return of
    message = f"the step {code(step_id)} declares no outputs"
    outputs = {
        name: Unavailable(
            message, f"add `outputs: {{{name:.60}: {like}}}` to it, with another type if `{like}` does not fit"
        )
        for name in names
    }
    return MapOf({**of.fields, "outputs": MapOf(outputs)})


def _type_of(graph: StepGraph, reader: int | None, read: int, *, ended: bool = False) -> Type:
    """Return the type of a step's readable values.

    If `ended` is True, the run may have failed before the step ran.
    """
    step = graph.steps[read]
    outputs = graph.outputs(read)
    if not isinstance(step.node.get("outputs"), Fields | None):
        return ANY  # They have been reported as invalid.
    if ended:
        reason = f"because `{step.values['id']}` might not have succeeded"
        outputs = {name: or_null(of, reason) for name, of in outputs.items()}
    elif not (graph.is_sure_at_the_end(read) if reader is None else graph.is_sure(reader, read)):
        reason, remedy = graph.explain(reader, read)
        outputs = {name: or_null(of, reason, remedy) for name, of in outputs.items()}
    no_counts = Unavailable(f"the step {code(step.values['id'])} has no `counts`, because it has no `forEach`")
    counts = COUNTS if is_loop(step) else no_counts
    return MapOf({"outputs": MapOf(outputs), "state": _ENDS, "message": TEXT, "counts": counts})
