"""What is certain at the time a step runs.

This covers which earlier steps may be read, and which of them have succeeded. Sets of steps are integers with one bit
per step, so that even a chain of ten thousand steps takes only megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, reduce
from operator import and_
from typing import Final

from atom_workflows.core.workflow import Trigger
from atom_workflows.expressions.types import ANY, Type
from atom_workflows.language.loops import gather, is_decided_for_each_item, is_loop
from atom_workflows.language.nodes import Fields, Items, Reading

_MOST_STEPS_SEEN: Final = 100
"""The maximum number of steps searched for the cause of a skip."""

_STOPPED_BY_FAILURE: Final = (Trigger.NO_FAILURE, Trigger.ALL_SUCCEEDED)


class StepGraph:
    """The steps in one part of the file.

    A step in a cycle is treated as running after all other steps, whose outputs are treated as certain to exist. The
    same applies to a step whose dependencies or trigger have been reported as invalid, since nothing certain can be
    said about it until they are corrected, and to all steps that depend on such steps.
    """

    def __init__(self, steps: Sequence[Reading]) -> None:
        self.steps = steps
        self.position: dict[str, int] = {}
        for number, step in enumerate(steps):
            if isinstance(step.values.get("id"), str):
                self.position.setdefault(step.values["id"], number)
        self.dependencies = [
            [self.position[node.text] for node in step.values.get("dependsOn", ()) if node.text in self.position]
            for step in steps
        ]
        self._is_unclear = [self._has_unclear_order(number) for number in range(len(steps))]
        self._outputs: dict[int, Mapping[str, Type]] = {}
        self.everything = (1 << len(steps)) - 1

    def _has_unclear_order(self, number: int) -> bool:
        step = self.steps[number]
        if any(name in step.node.entries and name not in step.values for name in ("dependsOn", "trigger")):
            return True
        written = step.node.get("dependsOn")
        count = len(written.items) if isinstance(written, Items) else int(written is not None)
        return len(self.dependencies[number]) < count

    def is_behind(self, reader: int, read: int) -> bool:
        """Return True if the second step ends before the first one begins."""
        return bool(self._facts[0][reader] >> read & 1)

    def is_sure(self, reader: int, read: int) -> bool:
        """Return True if the second step's outputs exist whenever the first runs."""
        return bool(self._facts[1][reader] >> read & 1)

    def can_be_skipped(self, number: int) -> bool:
        """Return True if the step may be skipped by choice."""
        return self._facts[2][number]

    def is_sure_at_the_end(self, number: int) -> bool:
        """Return True if the step's outputs exist in every run that succeeds."""
        return not self.can_be_skipped(number) and not self.allows_failure(number)

    def allows_failure(self, number: int) -> bool:
        """Return True if the step may fail without affecting other steps."""
        return self.steps[number].values.get("allowFailure") is True

    def trigger(self, number: int) -> Trigger:
        """Return the step's trigger."""
        return Trigger(self.steps[number].values.get("trigger", Trigger.NO_FAILURE))

    def outputs(self, number: int) -> Mapping[str, Type]:
        """Return the types of the step's outputs.

        The outputs of a loop are lists.
        """
        if number not in self._outputs:
            step = self.steps[number]
            node = step.node.get("outputs")
            # Those that have been reported as invalid may have any type.
            written: dict[str, Type] = dict.fromkeys(node.entries, ANY) if isinstance(node, Fields) else {}
            declared = written | {name: of for name, (_, of) in step.values.get("outputs", {}).items()}
            self._outputs[number] = gather(step, declared) if is_loop(step) else declared
        return self._outputs[number]

    def explain(self, reader: int | None, read: int) -> tuple[str, str]:
        """Explain why a step's outputs may be missing, and name any remedy.

        The remedy is one that does not require a default value. Without a `reader`, the outputs are read after all
        steps have ended.
        """
        step = self.steps[read]
        name = f"`{step.values['id']}`"
        if reader is not None and self.trigger(reader) not in _STOPPED_BY_FAILURE:
            return f"because this step also runs if {name} did not succeed", ""
        if self.allows_failure(read):
            return f"because {name} may fail (line {step.at('allowFailure').line})", ""
        if not self.can_be_skipped(read):
            return f"because {name} might not have succeeded", ""
        cause = next(self._causes_of_skip(read), read)
        where = self.steps[cause].at("when" if self._has_condition(cause) else "trigger")
        behind = "" if cause == read else f", which follows `{self.steps[cause].values.get('id', '')}`,"
        # Where branches join, the trigger would skip the reader whenever one of them was not taken.
        direct = reader is not None and [one for one in self.dependencies[reader] if self.can_be_skipped(one)] == [read]
        remedy = "`trigger: all-succeeded`" if direct else ""
        return f"because {name}{behind} may be skipped (line {where.line})", remedy

    def _has_condition(self, number: int) -> bool:
        """Return True if a condition may skip the whole step.

        An invalid condition of a loop does not count, since it might be meant for each of its items.
        """
        step = self.steps[number]
        is_for_items = is_decided_for_each_item(step) or (is_loop(step) and "when" not in step.values)
        return "when" in step.node.entries and not is_for_items

    def _causes_of_skip(self, number: int) -> Iterator[int]:
        """Yield the steps that can cause the step to be skipped.

        These have a condition or a trigger. The nearest come first.
        """
        seen, pending = {number}, [number]
        while pending and len(seen) < _MOST_STEPS_SEEN:
            step = pending.pop(0)
            if self._has_condition(step) or "trigger" in self.steps[step].node.entries:
                yield step
            for before in self.dependencies[step]:
                if before not in seen and self.can_be_skipped(before):
                    seen.add(before)
                    pending.append(before)

    @cached_property
    def _facts(self) -> tuple[list[int], list[int], list[bool]]:
        count = len(self.steps)
        behind, sure = [self.everything] * count, [self.everything] * count
        has_condition = [self._has_condition(number) for number in range(count)]
        skippable = list(has_condition)
        # The steps that must have succeeded if a step ended without a failure, even if it was skipped.
        unfailed = [self.everything] * count
        for number in self._in_order():
            dependencies, trigger = self.dependencies[number], self.trigger(number)
            behind[number] = _union(behind[one] | 1 << one for one in dependencies)
            before = [skippable[one] for one in dependencies]
            skippable[number] = (
                has_condition[number]
                or trigger is Trigger.ANY_FAILED
                or (trigger is Trigger.ALL_SUCCEEDED and any(before))
                or (trigger is Trigger.NO_FAILURE and bool(before) and all(before))
            )
            stops = trigger in _STOPPED_BY_FAILURE
            own = 1 << number if not skippable[number] and not self.allows_failure(number) else 0
            unfailed[number] = own | (_union(unfailed[one] for one in dependencies) if stops else 0)
            sure[number] = 0
            if stops and dependencies:
                ran = {one: sure[one] | (0 if self.allows_failure(one) else 1 << one) for one in dependencies}
                certain = [one for one in dependencies if trigger is Trigger.ALL_SUCCEEDED or not skippable[one]]
                at_least = _union(ran[one] for one in certain) if certain else reduce(and_, ran.values())
                sure[number] = at_least | _union(unfailed[one] for one in dependencies)
        return behind, sure, skippable

    def _in_order(self) -> Iterator[int]:
        """Yield each step after all the steps that it depends on.

        Steps that are in a cycle or whose order is unclear are left out, and so are those that depend on them.
        """
        dependents: list[list[int]] = [[] for _ in self.steps]
        remaining = [len(dependencies) for dependencies in self.dependencies]
        for number, dependencies in enumerate(self.dependencies):
            for one in dependencies:
                dependents[one].append(number)
        ready = [number for number, count in enumerate(remaining) if not count and not self._is_unclear[number]]
        while ready:
            number = ready.pop()
            yield number
            for dependent in dependents[number]:
                remaining[dependent] -= 1
                if not remaining[dependent] and not self._is_unclear[dependent]:
                    ready.append(dependent)


def _union(sets: Iterable[int]) -> int:
    result = 0
    for one in sets:
        result |= one
    return result
