"""Types, their notation, and reading and writing their values.

This is the part of the package that other packages use.
"""

from __future__ import annotations

from atom_workflows.expressions.kinds import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    GS_URI,
    INSTANT,
    INT,
    NULL,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    MapOf,
    OrNull,
    Scalar,
    Type,
    Unavailable,
    Words,
    describe,
    or_null,
)
from atom_workflows.expressions.notation import read_type, write_type
from atom_workflows.expressions.values import Value, read_value, write_value

__all__ = [
    "ANY", "BOOL", "DATE", "DURATION", "GS_URI", "INSTANT", "INT", "NULL", "NUMBER", "TEXT", "TIME", "ListOf", "MapOf",
    "OrNull", "Scalar", "Type", "Unavailable", "Value", "Words", "describe", "or_null", "read_type", "read_value",
    "write_type", "write_value",
]  # fmt: skip
