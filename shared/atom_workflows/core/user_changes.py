"""What people did to runs or schedules: who, when, what and why.

The latest of these changes are kept in the changed document, and are written by the commit that changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

MOST_CHANGES: Final = 20
"""How many changes a document keeps; older ones are dropped."""

LONGEST_ACTOR: Final = 200
LONGEST_WORDS: Final = 500
"""The maximum lengths, in characters, of `actor`, and of `what` and `why`."""


class UserChange(NamedTuple):
    """A change that a person requested, directly or through a program.

    `what` is the command as typed, without the run, such as `retry --from load`, or `retry as RUN` if a new run keeps
    steps of this one. `why` is the reason that the person gave, or "".
    """

    at: datetime
    actor: str
    what: str
    why: str = ""


def with_change(earlier: Sequence[UserChange], latest: UserChange) -> tuple[UserChange, ...]:
    """Return the changes to keep once another one has been made.

    The strings of `latest` were written by users. They are reduced to one line and to their maximum lengths, and
    characters that no store can encode are replaced; but code that prints them has to remove the characters that a
    terminal would interpret.
    """
    kept = UserChange(
        at=latest.at,
        actor=_shorten(latest.actor, LONGEST_ACTOR),
        what=_shorten(latest.what, LONGEST_WORDS),
        why=_shorten(latest.why, LONGEST_WORDS),
    )
    return (*earlier, kept)[-MOST_CHANGES:]


def _shorten(text: str, limit: int) -> str:
    line = " ".join(text[: limit * 2].encode("utf-8", "replace").decode().split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
