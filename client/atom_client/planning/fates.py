"""The possible verdicts of a plan."""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What would happen to a step or item if every job succeeded."""

    RUNS = "runs"
    SKIPPED = "skipped"
    DEPENDS = "depends"
    # One of its expressions cannot be evaluated.
    FAILS = "fails"
    BLOCKED = "blocked"
