"""The expressions of drawn workflows: how a file writes them. What they mean is for the oracle to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

from atom_workflows.core.states import StepState

MODES = ("full", "delta")
"""The values of the one parameter that drawn workflows declare, `mode`; the first is its default."""

MISSING = -1
"""The number that is read of a step without outputs, where a file gives one."""


# -- conditions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModeIs:
    """The run was started in that mode."""

    mode: str

    def __str__(self) -> str:
        return f"params.mode == '{self.mode}'"


@dataclass(frozen=True, slots=True)
class IsMore:
    """The step's number is above the limit; without outputs, it counts as `MISSING`."""

    step: str
    than: int

    def __str__(self) -> str:
        return f"(steps.{self.step}.outputs.n ?? {MISSING}) > {self.than}"


@dataclass(frozen=True, slots=True)
class HasNumber:
    """The step has outputs."""

    step: str

    def __str__(self) -> str:
        return f"has(steps.{self.step}.outputs.n)"


@dataclass(frozen=True, slots=True)
class HasEnded:
    """The step is in that state."""

    step: str
    state: StepState

    def __str__(self) -> str:
        return f"steps.{self.step}.state == '{self.state}'"


@dataclass(frozen=True, slots=True)
class Divides:
    """The step's number is a small one. If it is 0, which it counts as without outputs, there is no answer."""

    step: str

    def __str__(self) -> str:
        return f"6 // (steps.{self.step}.outputs.n ?? 0) > 1"


@dataclass(frozen=True, slots=True)
class MainIs:
    """The main part of the run ended in that state."""

    state: str

    def __str__(self) -> str:
        return f"run.state == '{self.state}'"


@dataclass(frozen=True, slots=True)
class MoreFailures:
    """More main steps failed than that."""

    than: int

    def __str__(self) -> str:
        return f"run.failureCount > {self.than}"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    of: Condition

    def __str__(self) -> str:
        return f"not ({self.of})"


@dataclass(frozen=True, slots=True)
class Both:
    """The one and the other; the second is asked for only if the first holds."""

    first: Condition
    second: Condition

    def __str__(self) -> str:
        return f"({self.first}) and ({self.second})"


@dataclass(frozen=True, slots=True)
class Either:
    """The one or the other; the second is asked for only if the first does not hold."""

    first: Condition
    second: Condition

    def __str__(self) -> str:
        return f"({self.first}) or ({self.second})"


@dataclass(frozen=True, slots=True)
class MoreFailed:
    """More items of the loop failed than that."""

    step: str
    than: int

    def __str__(self) -> str:
        return f"steps.{self.step}.counts.failed > {self.than}"


@dataclass(frozen=True, slots=True)
class ItemIsMore:
    """The item, or its part of that name, is above the limit; null counts as `MISSING`."""

    name: str
    than: int

    def __str__(self) -> str:
        return f"({_item(self.name)} ?? {MISSING}) > {self.than}"


@dataclass(frozen=True, slots=True)
class IndexIs:
    """The item is the one at that place."""

    index: int

    def __str__(self) -> str:
        return f"index == {self.index}"


@dataclass(frozen=True, slots=True)
class ItemDivides:
    """The item is a small number. If it is 0 or null, there is no answer."""

    name: str

    def __str__(self) -> str:
        return f"6 // ({_item(self.name)} ?? 0) > 1"


def _item(name: str) -> str:
    return f"item.{name}" if name else "item"


OfItem: TypeAlias = ItemIsMore | IndexIs | ItemDivides
Fact: TypeAlias = ModeIs | IsMore | HasNumber | HasEnded | Divides | MainIs | MoreFailures | MoreFailed | OfItem
Condition: TypeAlias = Fact | Not | Both | Either


def names_item(condition: Condition) -> bool:
    """Return True if the condition is decided for each item."""
    match condition:
        case Not(of):
            return names_item(of)
        case Both(first, second) | Either(first, second):
            return names_item(first) or names_item(second)
    return isinstance(condition, OfItem)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """The failures that are tried again: of these kinds, or for these reasons. One that `is_broken` has no answer."""

    kinds: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    is_broken: bool = False

    def __str__(self) -> str:
        if self.is_broken:
            return "int(failure.reason) > 0"
        kinds = f"failure.kind in {list(self.kinds)}"
        return f"{kinds} or failure.reason in {list(self.reasons)}" if self.reasons else kinds


# -- values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mode:
    """The mode of the run, within a text."""

    def __str__(self) -> str:
        return "in mode ${{ params.mode }}"


@dataclass(frozen=True, slots=True)
class Number:
    """The step's number, or `MISSING`."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ steps.{self.step}.outputs.n ?? {MISSING} }}}}"


@dataclass(frozen=True, slots=True)
class Job:
    """The job that returned the step's outputs."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ steps.{self.step}.outputs.job ?? 'none' }}}}"


@dataclass(frozen=True, slots=True)
class State:
    """The step's state."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ steps.{self.step}.state }}}}"


@dataclass(frozen=True, slots=True)
class Quotient:
    """A number that does not exist if the step's number is 0 or missing."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ 6 // (steps.{self.step}.outputs.n ?? 0) }}}}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The number of the attempt."""

    def __str__(self) -> str:
        return "${{ step.attempt }}"


@dataclass(frozen=True, slots=True)
class Last:
    """How the attempt before this one failed, and why."""

    def __str__(self) -> str:
        return "${{ (step.last.kind ?? 'none') + ' ' + (step.last.reason ?? '') }}"


@dataclass(frozen=True, slots=True)
class MainState:
    """The state in which the main part of the run ended."""

    def __str__(self) -> str:
        return "${{ run.state }}"


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of the loop's items, in order."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ steps.{self.step}.outputs.n ?? [] }}}}"


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of the loop's items, in order."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ steps.{self.step}.outputs.job ?? [] }}}}"


@dataclass(frozen=True, slots=True)
class Ended:
    """The numbers of the loop's items: in total, and of those that ended in each way."""

    step: str

    def __str__(self) -> str:
        counts = (f"${{{{ steps.{self.step}.counts.{name} }}}}" for name in ("total", "succeeded", "failed", "skipped"))
        return "/".join(counts)


@dataclass(frozen=True, slots=True)
class Item:
    """The item, or its part of that name; null counts as `MISSING`."""

    name: str

    def __str__(self) -> str:
        return f"${{{{ {_item(self.name)} ?? {MISSING} }}}}"


@dataclass(frozen=True, slots=True)
class Index:
    """The place of the item in its list."""

    def __str__(self) -> str:
        return "${{ index }}"


@dataclass(frozen=True, slots=True)
class ItemQuotient:
    """A number that does not exist if the item is 0 or null."""

    name: str

    def __str__(self) -> str:
        return f"${{{{ 6 // ({_item(self.name)} ?? 0) }}}}"


Value: TypeAlias = (
    Mode
    | Number
    | Job
    | State
    | Quotient
    | Attempt
    | Last
    | MainState
    | Numbers
    | Jobs
    | Ended
    | Item
    | Index
    | ItemQuotient
)


# -- lists -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """A list in the file itself."""

    items: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"${{{{ {['null' if one is None else one for one in self.items]} }}}}".replace("'", "")


@dataclass(frozen=True, slots=True)
class UpTo:
    """The numbers from 0 up to the step's number, without it; none if it has no outputs."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ range(steps.{self.step}.outputs.n ?? 0) }}}}"


@dataclass(frozen=True, slots=True)
class UpToQuotient:
    """The numbers up to a quotient that does not exist if the step's number is 0 or missing."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ range(6 // (steps.{self.step}.outputs.n ?? 0)) }}}}"


@dataclass(frozen=True, slots=True)
class Gathered:
    """The numbers of another loop's items; none if it has no outputs."""

    step: str

    def __str__(self) -> str:
        return f"${{{{ steps.{self.step}.outputs.n ?? [] }}}}"


Source: TypeAlias = Written | UpTo | UpToQuotient | Gathered


def steps_read(of: Condition | Value | Source) -> Iterator[str]:
    """Yield the steps that a condition, value or list reads."""
    for field in fields(of):
        part = getattr(of, field.name)
        if field.name == "step":
            yield part
        elif not isinstance(part, str | int | tuple):
            yield from steps_read(part)
