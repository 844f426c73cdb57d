"""Check every expression in a file.

The checks cover what each expression reads, its types, and whether anything reads what the file declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from atom_workflows.errors import EvaluationError
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.checker import STEPS_OF_CONSTANTS, check_template
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.syntax import Path, places_of_reads, reads
from atom_workflows.expressions.types import (
    ANY,
    BOOL,
    INT,
    TEXT,
    ListOf,
    MapOf,
    OrNull,
    Type,
    Unavailable,
    describe,
    or_null,
    write_value,
)
from atom_workflows.language import loops, scopes
from atom_workflows.language.certainty import StepGraph
from atom_workflows.language.dependencies import Part, read_ids
from atom_workflows.language.embedded import OPENING, Embedded, expressions_of, read_embedded, report_fault
from atom_workflows.language.expression_warnings import warn_of_shell, warn_of_unused
from atom_workflows.language.limits import MAX_ITEMS, MAX_STEPS_READ
from atom_workflows.language.nodes import Fields, Invalid, Node, Reading, Scalar
from atom_workflows.language.parameters import Declared
from atom_workflows.language.problems import Report, code
from atom_workflows.language.schedules import ReadSchedule
from atom_workflows.language.scopes import File, Position, scope_of

_NOTHING: Final[frozenset[Path]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The findings of the checks.

    They include the run's outputs, and the type of each loop's items, keyed by step id.
    """

    outputs: Mapping[str, Embedded] = field(default_factory=dict)
    item_types: Mapping[str, Type] = field(default_factory=dict)


def check_expressions(
    workflow: Reading,
    params: Sequence[Declared],
    schedules: Sequence[ReadSchedule],
    report: Report,
    env_names: frozenset[str] | None,
) -> Checks:
    """Check all loops and all expressions in the file.

    Also warns about parameters and outputs that nothing reads.
    """
    main = StepGraph(workflow.values.get("steps", ()))
    last = StepGraph(workflow.values.get("finally", ()))
    parts = [Part(steps=workflow.values.get(name, ()), node=workflow.node.get(name)) for name in ("steps", "finally")]
    node = workflow.node.get("params")
    # Parameters that have been reported as invalid may have any type.
    declared = dict.fromkeys(node.entries, ANY) if isinstance(node, Fields) else {}
    file = File(
        params={**declared, **{one.param.name: one.visible_type for one in params}},
        main=main,
        last=last,
        report=report,
        zone=workflow.values.get("timezone", "UTC"),
        env_names=env_names,
        written_ids=frozenset().union(*map(read_ids, parts)),
    )
    checker = _Checker(file=file)
    checker.check_defaults(params)
    checker.check_schedules(schedules, params)
    for graph in (main, last):
        for number, step in enumerate(graph.steps):
            checker.check_step(graph, number, step)
    checker.check_retry(workflow.values.get("defaults"))
    loops.check_items_of_run(checker.sure_loops, report)
    checker.check_group(workflow.values.get("concurrency"))
    outputs = dict(_read_outputs(workflow.values.get("outputs", {}), report))
    at_the_end = Position(roots=scopes.CONDITION, graph=main, without_item="the run's outputs")
    for output in outputs.values():
        checker.check_value(output, at_the_end, _NOTHING)
    checker.check_steps_read(outputs.values(), "the run's outputs")
    warn_of_unused(checker.read, params, (main, last), report)
    return Checks(outputs=outputs, item_types=checker.item_types)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checker:
    file: File
    # All paths that any expression reads.
    read: set[Path] = field(default_factory=set)
    item_types: dict[str, Type] = field(default_factory=dict)
    # The loops that run in every run that succeeds, with the number of their items.
    sure_loops: list[tuple[Reading, int]] = field(default_factory=list)
    # For computing lists that are constant; all of the file's share it.
    budget: Budget = field(default_factory=Budget)

    def check_defaults(self, params: Sequence[Declared]) -> None:
        """Check the defaults, each of which may read the parameters above it."""
        names = [one.param.name for one in params]
        readable: dict[str, Type] = {
            name: Unavailable(
                f"{code(f'params.{name}')} is not defined yet", "a default can read only the params above it"
            )
            for name in names
        }
        for one in params:
            if one.default:
                position = Position(
                    roots=scopes.DEFAULT,
                    graph=self.file.main,
                    params=dict(readable),
                    without_item="the default of a parameter",
                )
                self.check_value(one.default, position, _NOTHING, one.visible_type)
            readable[one.param.name] = one.visible_type

    def check_schedules(self, schedules: Sequence[ReadSchedule], params: Sequence[Declared]) -> None:
        """Check the expressions that compute a schedule's parameters.

        They may read only `run`.
        """
        types = {one.param.name: one.visible_type for one in params}
        where = "the `params` of a schedule"
        position = Position(roots=scopes.SCHEDULE, graph=self.file.main, without_item=where)
        for schedule in schedules:
            for name, value in schedule.templates.items():
                self.check_value(value, position, _NOTHING, types.get(name))

    def check_step(self, graph: StepGraph, number: int, step: Reading) -> None:
        """Check the loop and the expressions of a step.

        Anything that its condition proves also holds in its task, and in its loop unless the condition is about the
        items.
        """
        position = Position(roots=scopes.CONDITION, graph=graph, reader=number, at_the_end=graph is self.file.last)
        proven, when, is_loop = _NOTHING, step.values.get("when"), loops.is_loop(step)
        if loops.is_decided_for_each_item(step):
            position = replace(position, item=self._check_loop(number, step, position, _NOTHING))
        if when:
            # If `item` is misspelled, nothing else in the condition tells that it is about the items.
            readable = replace(position, item=ANY) if is_loop and position.item is None else position
            proven = self.check_condition(when, readable)
            self._refuse_constant(when)
        if is_loop and position.item is None:
            position = replace(position, item=self._check_loop(number, step, position, proven))
        self.check_retry(step)
        if "task" not in step.values:
            return
        task = step.values["task"].values
        own = [*([when] if when else ()), *(one for _, one in expressions_of(task))]
        if is_loop and not loops.reads_items(own):
            said = "nothing in this step reads `item`, so all of its items run the same job"
            self.file.report.warn(step.node.entries["forEach"].key, said, "write `${{ item }}` where the job needs it")
        if self.file.report.expressions:
            self.check_steps_read([*own, *loops.expressions_of_loop(step)], "a step")
            in_task = replace(position, roots=scopes.TASK)
            for path, value in expressions_of(task):
                if path == ("args",):
                    self._check_args(value, in_task, proven)
                else:
                    # A null leaves the field out. Entries of `args` may have any type.
                    self.check_value(value, in_task, proven, None if path[0] == "args" else or_null(TEXT))
            warn_of_shell(task.get("args"), self.file.report)

    def _check_loop(self, number: int, step: Reading, position: Position, proven: frozenset[Path]) -> Type:
        """Check a step's `forEach` and `maxParallel`. Return the type of its items."""
        report = self.file.report
        most, lists = step.values.get("maxParallel"), step.values.get("forEach")
        if isinstance(most, Embedded):
            self.check_value(most, replace(position, without_item="`maxParallel`"), proven, INT)
            limit = self._evaluate_constant(most)
            if isinstance(limit, int) and not 1 <= limit <= MAX_ITEMS:
                remedy = f"write a whole number from 1 to {MAX_ITEMS:,}"
                report_fault(most, 0, f"`maxParallel` cannot be `{limit}`", remedy, report)
        if lists is None:
            return ANY
        within = replace(position, without_item="`forEach`, which lists the items", is_list=True)
        types: dict[str, Type] = {}
        known: dict[str, list[Any]] = {}
        for name, value in lists.items():
            types[name] = ANY
            if isinstance(value, Embedded):
                types[name] = self._check_list(f"forEach.{name}" if name else "forEach", value, within, proven)
                items = self._evaluate_constant(value)
                known |= {name: items} if isinstance(items, list) else {}
            elif not isinstance(value, Invalid):
                types[name], known[name] = loops.type_of_values(value), value
        of, count = loops.item_type(types), loops.check_items(step, known, report)
        if count is not None and not position.graph.can_be_skipped(number):
            self.sure_loops.append((step, count))
        if "id" in step.values:
            self.item_types[step.values["id"]] = of
        return of

    def _check_list(self, path: str, value: Embedded, position: Position, proven: frozenset[Path]) -> Type:
        """Check an expression that must return a list. Return its item type."""
        of = self.check_value(value, position, proven)
        if isinstance(of, OrNull):
            # Reports that the list may be missing.
            of = self.check_value(value, position, proven, ListOf(ANY))
        if isinstance(of, ListOf):
            return of.item
        if of != ANY:
            remedy = "write `range(…)` to list the numbers below it" if of == INT else "write a list expression"
            report_fault(value, 0, f"{code(path)} must be a list, but this is {describe(of)}", remedy, self.file.report)
        return ANY

    def _evaluate_constant(self, value: Embedded) -> Any:
        """Return the JSON value of a constant that is cheap to compute."""
        lone = value.template.lone
        if lone is None or reads(lone.expression):
            return None
        try:
            return write_value(evaluate(lone.expression, {}, zone=self.file.zone, budget=self.budget))
        except EvaluationError as error:
            if self.budget.left >= 0:
                report_fault(value, lone.offset + error.at, error.message, error.suggestion, self.file.report)
            return None

    def check_retry(self, policies: Reading | None) -> None:
        """Check the condition of a retry policy."""
        retry = policies.values.get("retry") if policies else None
        if retry and (when := retry.values.get("when")):
            self.check_condition(when, Position(roots=scopes.RETRY, graph=self.file.main))

    def check_group(self, concurrency: Reading | None) -> None:
        """Check the expression that computes the group of a run."""
        group = concurrency.values.get("group") if concurrency else None
        if isinstance(group, Embedded):
            position = Position(roots=scopes.GROUP, graph=self.file.main, without_item="`concurrency.group`")
            of = self.check_value(group, position, _NOTHING)
            inner = of.of if isinstance(of, OrNull) else of
            if isinstance(of, OrNull):
                said = f"`concurrency.group` may be null{f', {of.reason}' if of.reason else ''}"
                report_fault(group, group.begin, said, "write `… ?? 'none'`", self.file.report)
            elif isinstance(inner, ListOf | MapOf):
                said = f"`concurrency.group` must be a single value, but this is {describe(inner)}"
                report_fault(group, group.begin, said, "use `join` or `json`", self.file.report)

    def check_condition(self, value: Embedded, position: Position) -> frozenset[Path]:
        """Check a condition. Return the paths that it proves are not null."""
        checked = check_template(value.template, self._scope(value, position, _NOTHING), expected=BOOL)
        self._report(value, checked.faults)
        return checked.proves

    def check_value(
        self, value: Embedded, position: Position, proven: frozenset[Path], expected: Type | None = None
    ) -> Type:
        """Check a value and return its type.

        A value that may be missing for a known reason, such as a skipped step, counts as a fault even where null is
        allowed, since the author may not have thought of that.
        """
        scope = self._scope(value, position, proven)
        checked = check_template(value.template, scope)
        if not checked.faults and expected is not None:
            checked = check_template(value.template, scope, expected=expected)
        self._report(value, checked.faults)
        return ANY if checked.faults else checked.type

    def check_steps_read(self, values: Iterable[Embedded], reader: str) -> None:
        """Report `reader` if it reads the results of too many steps."""
        seen: set[str] = set()
        for value in sorted(values, key=lambda one: (one.node.line, one.node.column)):
            for placeholder in value.template.placeholders:
                for path, at in places_of_reads(placeholder.expression):
                    seen |= {path[1]} if path[0] == "steps" and len(path) > 1 else set()
                    if len(seen) > MAX_STEPS_READ:
                        said = f"the expressions of {reader} may read the results of at most {MAX_STEPS_READ} steps"
                        remedy = "use files to share data between jobs"
                        report_fault(value, placeholder.offset + at, said, remedy, self.file.report)
                        return

    def _check_args(self, value: Embedded, position: Position, proven: frozenset[Path]) -> None:
        of = self.check_value(value, position, proven)
        inner = of.of if isinstance(of, OrNull) else of
        if inner != ANY and not isinstance(inner, ListOf | MapOf):
            said = f"`args` must be a list or a map, but this is {describe(of)}"
            report_fault(value, 0, said, "write a list that contains the expression", self.file.report)

    def _scope(self, value: Embedded, position: Position, proven: frozenset[Path]) -> scopes.Scope:
        expressions = [placeholder.expression for placeholder in value.template.placeholders]
        self.read.update(*map(reads, expressions))
        return scope_of(expressions, position, self.file, proven)

    def _report(self, value: Embedded, faults: Sequence[scopes.Fault]) -> None:
        for fault in faults:
            report_fault(value, fault.at, fault.message, fault.suggestion, self.file.report)

    def _refuse_constant(self, when: Embedded) -> None:
        (placeholder,) = when.template.placeholders
        if reads(placeholder.expression):
            return
        try:
            holds = evaluate(placeholder.expression, {}, zone=self.file.zone, budget=Budget(STEPS_OF_CONSTANTS))
        except EvaluationError:
            return
        if isinstance(holds, bool):
            remedy = "remove it" if holds else "remove the step"
            said = f"this condition is always {'true' if holds else 'false'}, because it reads no values"
            report_fault(when, when.begin, said, remedy, self.file.report)


def _read_outputs(read: Mapping[str, tuple[Scalar, Node]], report: Report) -> Iterator[tuple[str, Embedded]]:
    for name, (_, node) in read.items():
        value = None
        if isinstance(node, Scalar) and OPENING in node.text:
            report.via = node.alias
            value = read_embedded(node, report)
            report.via = None
        if isinstance(value, Embedded):
            yield name, value
        elif not isinstance(node, Scalar) or OPENING not in node.text:
            subject = code(f"outputs.{name}")
            report.add(node, f"{subject} must be an expression", 'write it as `"${{ steps.list.outputs.rows }}"`')
