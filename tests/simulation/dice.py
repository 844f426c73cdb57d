"""Chance that is the same every time."""

from __future__ import annotations

import random


def dice(*seed: object) -> random.Random:
    """Return random numbers that depend on the seed alone.

    They are the same in every process.
    """
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - no secret: it is to be repeated
