"""The implementations of the functions. All are pure; each is called only with values of its parameters' types."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from atom_workflows.errors import EvaluationError, ValueMismatch
from atom_workflows.expressions import times
from atom_workflows.expressions.arithmetic import require_64_bits
from atom_workflows.expressions.budget import MAX_ITEMS, Budget
from atom_workflows.expressions.formats import format_moment
from atom_workflows.expressions.frozen import Frozen
from atom_workflows.expressions.kinds import ANY
from atom_workflows.expressions.order import key_of, sort_keys
from atom_workflows.expressions.values import Value, read_value, write_value


class Context(Frozen):
    """The context of a call: its budget, time zone and offset.

    The time zone determines when days begin.
    """

    budget: Budget
    zone: str
    at: int

    def error(self, message: str, suggestion: str = "") -> EvaluationError:
        """Return the error for a call that cannot be evaluated."""
        return EvaluationError(message, self.at, suggestion)


# -- numbers and texts -----------------------------------------------------------------------------------------------

_INT: Final = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_MAX_JSON_DEPTH: Final = 32


def to_int(context: Context, value: str | float) -> Value:
    """Convert text to a whole number, or drop a number's fraction."""
    if not isinstance(value, str):
        return require_64_bits(int(value), context.at)
    if not _INT.fullmatch(value.strip()):
        raise context.error(f"`{value:.40}` is not a whole number")
    return require_64_bits(int(value), context.at)


def to_number(context: Context, value: str | float) -> Value:
    """Convert text to a number."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _INT.fullmatch(text):
        return require_64_bits(int(text), context.at)
    if not _NUMBER.fullmatch(text):
        raise context.error(f"`{value:.40}` is not a number")
    return require_64_bits(float(text), context.at)


def to_json(context: Context, value: Value) -> str:
    """Convert a value to JSON text."""
    context.budget.require_characters(context.budget.require_result(value, context.at), context.at)
    text = json.dumps(write_value(value), ensure_ascii=False, separators=(",", ":"))
    return context.budget.require_text(text, context.at)


def from_json(context: Context, text: str) -> Value:
    """Parse JSON text."""
    context.budget.require_characters(len(text), context.at)
    depth = 0
    for token in _JSON_TOKEN.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth > _MAX_JSON_DEPTH:
            raise context.error(f"the JSON is nested too deeply: more than {_MAX_JSON_DEPTH} levels of lists and maps")
    try:
        value = read_value(json.loads(text), ANY)
    except ValueError as error:
        if isinstance(error, ValueMismatch):
            why = f"its value {error!s:.200}"
        else:
            # Python does not read a number of thousands of digits, though it is JSON.
            why = "it is not JSON" if isinstance(error, json.JSONDecodeError) else "a number in it has too many digits"
        raise context.error(f"`fromJson` cannot read this text: {why}") from error
    context.budget.require_result(value, context.at)
    return value


def lower(context: Context, text: str) -> str:
    """Return the text in lower case."""
    return context.budget.require_text(text.lower(), context.at)


def upper(context: Context, text: str) -> str:
    """Return the text in upper case."""
    return context.budget.require_text(text.upper(), context.at)


def trim(context: Context, text: str) -> str:
    """Return the text without leading and trailing whitespace."""
    return context.budget.require_text(text.strip(), context.at)


def split(context: Context, text: str, separator: str) -> list[str]:
    """Split the text at each separator."""
    if not separator:
        raise context.error("the separator is empty")
    context.budget.charge_text(text, context.at)
    parts = text.split(separator, MAX_ITEMS)
    context.budget.require_items(len(parts), context.at)
    return parts


def join(context: Context, texts: list[str], separator: str) -> str:
    """Join the strings with a separator between them."""
    context.budget.require_characters(sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0), context.at)
    return context.budget.require_text(separator.join(texts), context.at)


def replace(context: Context, text: str, old: str, new: str) -> str:
    """Replace each occurrence of `old` in the text."""
    if not old:
        raise context.error("the text to be replaced is empty")
    context.budget.charge_text(text, context.at)
    context.budget.require_characters(len(text) + text.count(old) * (len(new) - len(old)), context.at)
    return context.budget.require_text(text.replace(old, new), context.at)


def starts_with(context: Context, text: str, start: str) -> bool:
    """Return True if the text begins with `start`."""
    context.budget.charge_text(start, context.at)
    return text.startswith(start)


def ends_with(context: Context, text: str, end: str) -> bool:
    """Return True if the text ends with `end`."""
    context.budget.charge_text(end, context.at)
    return text.endswith(end)


# -- lists -----------------------------------------------------------------------------------------------------------


def add_up(context: Context, numbers: list[int | float]) -> Value:
    """Return the sum of the numbers."""
    # One by one, as each partial sum must fit in 64 bits; Python's own integers have no limit.
    total: int | float = 0
    for number in numbers:
        total = require_64_bits(total + number, context.at)
    return total


def smallest(context: Context, items: list[Any]) -> Value:
    """Return the smallest number, earliest time or first string in sort order."""
    keys = sort_keys(items, context.budget, context.at)
    if not keys:
        raise context.error("an empty list has no `min`", "write `min(xs) if len(xs) > 0 else value`")
    smallest: Value = items[min(range(len(keys)), key=keys.__getitem__)]
    return smallest


def largest(context: Context, items: list[Any]) -> Value:
    """Return the largest number, latest time or last string in sort order."""
    keys = sort_keys(items, context.budget, context.at)
    if not keys:
        raise context.error("an empty list has no `max`", "write `max(xs) if len(xs) > 0 else value`")
    largest: Value = items[max(range(len(keys)), key=keys.__getitem__)]
    return largest


def sort(context: Context, items: list[Any]) -> list[Any]:
    """Return the items in ascending order."""
    context.budget.require_items(len(items), context.at)
    # One comparison while sorting costs about a quarter of a step.
    keys = sort_keys(items, context.budget, context.at, looks=1 + len(items).bit_length() // 4)
    return [items[number] for number in sorted(range(len(keys)), key=keys.__getitem__)]


def unique(context: Context, items: list[Any]) -> list[Any]:
    """Return the items without duplicates, keeping the first of each."""
    context.budget.require_items(len(items), context.at)
    first: dict[object, Any] = {}
    for item in items:
        first.setdefault(key_of(item, context.budget, context.at), item)
    return list(first.values())


def count_up(context: Context, *bounds: int) -> list[int]:
    """Return whole numbers as Python's `range` does."""
    if bounds[2:] == (0,):
        raise context.error("the step of a range must not be 0")
    numbers = range(*bounds)
    # `len` fails for a range of 2**63 items or more, and the bounds may be that far apart.
    if numbers and abs(numbers[-1] - numbers[0]) // abs(numbers.step) >= MAX_ITEMS:
        context.budget.require_items(MAX_ITEMS + 1, context.at)
    context.budget.require_items(len(numbers), context.at)
    return list(numbers)


# -- times -----------------------------------------------------------------------------------------------------------


def read_moment(text: str, zone: str = "UTC") -> date | datetime:
    """Read a date or an instant. Raises ValueError."""
    return times.read_date(text) if len(text) == len("2026-01-31") else times.read_instant(text, zone)


def read_instant(text: str, zone: str = "UTC") -> datetime:
    """Read an instant. Raises ValueError."""
    return times.read_instant(text, zone)


def read_any_time(text: str, zone: str = "UTC") -> date | datetime | time:
    """Read a time of day, a date or an instant. Raises ValueError."""
    return times.read_time(text) if text[2:3] == ":" else read_moment(text, zone)


def _date_of(context: Context, moment: str | date) -> date:
    """Return the local date."""
    if isinstance(moment, str):
        moment = read_moment(moment, context.zone)
    return times.to_zone(moment, context.zone).date() if isinstance(moment, datetime) else moment


def day(context: Context, moment: str | date, number: int = 0) -> date:
    """Return the local date, shifted by a number of days."""
    try:
        return _date_of(context, moment) + timedelta(days=number)
    except OverflowError:
        raise context.error("the day is outside the calendar, which runs from year 1 to year 9999") from None


def add(context: Context, instant: str | datetime, duration: str | timedelta) -> datetime:
    """Add a duration to an instant."""
    start = times.read_instant(instant, context.zone) if isinstance(instant, str) else instant
    length = times.read_duration(duration) if isinstance(duration, str) else duration
    try:
        return times.to_utc(start) + length
    except OverflowError:
        raise context.error("the time is out of range: the year must be from 1 to 9999") from None


def write_format(context: Context, moment: str | date | time, pattern: str) -> str:
    """Format a date or time according to a pattern."""
    context.budget.charge(len(pattern), context.at)
    if isinstance(moment, str):
        moment = read_any_time(moment, context.zone)
    if isinstance(moment, datetime):
        moment = times.to_zone(moment, context.zone)
    return context.budget.require_text(format_moment(moment, pattern), context.at)


def days(context: Context, start: str | date, end: str | date) -> int:
    """Return the number of local days from one date to another."""
    return (_date_of(context, end) - _date_of(context, start)).days
