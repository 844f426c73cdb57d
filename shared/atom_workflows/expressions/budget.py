"""Limits on what an expression may cost.

Costs are counted, not timed, so that an expression either always fails or never does.
"""

from __future__ import annotations

from typing import Final

from atom_workflows.errors import OverBudget
from atom_workflows.expressions.values import Value

MAX_STEPS: Final = 100_000
MAX_TEXT_BYTES: Final = 64 * 1024
MAX_ITEMS: Final = 10_000
MAX_RESULT_DEPTH: Final = 100
CHARACTERS_A_STEP: Final = 64
"""The number of characters that count as one evaluation step. This limits the strings in one evaluation to a few
million characters."""

_BYTES_A_CHARACTER: Final = 4


class Budget:
    """Counts the steps of one or more evaluations that share a limit."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def charge(self, steps: int, at: int) -> None:
        """Charge for steps before they are taken. Raises OverBudget."""
        self.left -= steps
        if self.left < 0:
            message = f"the expression takes more than {MAX_STEPS:,} evaluation steps"
            raise OverBudget(message, at, "have a step compute this")

    def charge_text(self, text: str, at: int) -> None:
        """Charge for reading a string once."""
        self.charge(1 + len(text) // CHARACTERS_A_STEP, at)

    def require_characters(self, count: int, at: int) -> None:
        """Charge for a string of `count` characters; refuse one over the limit."""
        if count > MAX_TEXT_BYTES:
            raise OverBudget("the text would be larger than 64 KiB", at, "have a step write it to a file")
        self.charge(1 + count // CHARACTERS_A_STEP, at)

    def require_text(self, text: str, at: int) -> str:
        """Return a newly built string if it is not too large."""
        self.require_characters(len(text), at)
        if len(text) * _BYTES_A_CHARACTER > MAX_TEXT_BYTES and not text.isascii():
            self.require_characters(len(text.encode(errors="surrogatepass")), at)
        return text

    def require_items(self, count: int, at: int) -> None:
        """Charge for a list of `count` items; refuse one over the limit."""
        if count > MAX_ITEMS:
            raise OverBudget(f"the list would have more than {MAX_ITEMS:,} items", at, "have a step compute this")
        self.charge(1 + count, at)

    def require_result(self, value: Value, at: int) -> int:
        """Charge for each part of a value.

        Return the number of characters in it.

        A list may contain the same list many times over, which costs no memory until the value is written out.
        """
        characters = 0
        level: list[object] = [value]
        for _ in range(MAX_RESULT_DEPTH):
            self.charge(len(level), at)
            below: list[object] = []
            for part in level:
                if isinstance(part, str):
                    characters += len(part)
                    self.charge(len(part) // CHARACTERS_A_STEP, at)
                elif isinstance(part, list):
                    self.charge(len(part), at)
                    below += part
                elif isinstance(part, dict):
                    self.charge(len(part), at)
                    below += part.keys()
                    below += part.values()
            if not below:
                return characters
            level = below
        raise OverBudget("the value is nested too deeply", at)
