"""Count, sum and average the results of a query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from atom_emulator.firestore.paths import FieldPath, look_up
from atom_emulator.firestore.writes import Record


class AggregationKind(StrEnum):
    """The kinds of aggregates."""

    COUNT = "count"
    SUM = "sum"
    AVERAGE = "avg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """One aggregate. SUM and AVERAGE use `field`; COUNT may stop at `up_to`."""

    kind: AggregationKind
    field: FieldPath = ()
    up_to: int | None = None


def aggregate(wanted: Aggregation, found: Sequence[Record]) -> int | float | None:
    """Return the aggregate.

    Values that are not numbers are ignored. The average of no values is None.
    """
    if wanted.kind is AggregationKind.COUNT:
        return len(found) if wanted.up_to is None else min(len(found), wanted.up_to)
    values = [value for record in found if type(value := look_up(record.fields, wanted.field)) in (int, float)]
    if wanted.kind is AggregationKind.SUM:
        total = sum(values)
        # A sum of integers is an integer unless it overflows 64 bits.
        return float(total) if type(total) is int and not -(1 << 63) <= total < 1 << 63 else total
    return math.fsum(values) / len(values) if values else None
