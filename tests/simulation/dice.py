"""Chance that is the same every time."""

from __future__ import annotations

import random


def dice(*seed: object) -> random.Random:
    """Chance of its own for this seed, the same in every process."""
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - no secret: it is to be repeated
