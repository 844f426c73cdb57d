"""Read filters and numbers from a request's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import request

from atom_client.errors import Misuse
from atom_client.text import name_of
from atom_client.views.run_list import RunFilter, RunOrder
from atom_client.views.since import since_of
from atom_workflows.core.states import RunState

if TYPE_CHECKING:
    from datetime import datetime

_STATES: Final = tuple(state.value for state in RunState)
_LONGEST_TEXT: Final = 300
_ORDERS: Final = tuple(order.value for order in RunOrder)


def wanted_runs(now: datetime) -> RunFilter:
    """Return the filter that the request's arguments specify."""
    given = request.args
    states = [one.upper() for one in given.getlist("state")]
    if unknown := [one for one in states if one not in _STATES]:
        raise Misuse(f"runs have no state {name_of(unknown[0])}; the states are {', '.join(_STATES)}")
    if (order := given.get("sort", RunOrder.CREATED.value)) not in _ORDERS:
        raise Misuse(f"runs cannot be sorted by {name_of(order)}, only by {', '.join(_ORDERS)}")
    labels = [one.partition("=") for one in given.getlist("label")]
    if bad := ["".join(one) for one in labels if not (one[0].strip() and one[1])]:
        raise Misuse(f"{name_of(bad[0])} is not a label; write NAME=VALUE")
    return RunFilter(
        states=[RunState(one) for one in dict.fromkeys(states)],
        workflow=given.get("workflow", "").strip(),
        labels={name.strip(): value for name, _, value in labels},
        since=since_of(given["since"], now, name="`Created since`") if given.get("since", "").strip() else None,
        id_begins=given.get("id", "").strip(),
        text=given.get("q", "").strip()[:_LONGEST_TEXT],
        order=RunOrder(order),
    )


def number_of(name: str, default: int, *, most: int) -> int:
    """Return a number from the request, between 1 and `most`."""
    text = request.args.get(name, str(default))
    number = read_number(text, most=most)
    if number is None:
        raise Misuse(f"`{name}` is {name_of(text)}; write a number from 1 to {most:,}")
    return number


def read_number(text: str, *, most: int) -> int | None:
    """Return the number in a text, or None if it has none from 1 to `most`."""
    # Python refuses to read thousands of digits, even zeros.
    digits = text.lstrip("0")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= len(str(most))
    return int(digits) if is_number and int(digits) <= most else None
