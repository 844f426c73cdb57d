"""Tokens are found in long texts as in short ones, and in time that grows with the text alone."""

from __future__ import annotations

import random
import re
import time
from typing import Final

from atom_workflows.adapters.task_runner.masking import WITHHELD, mask_tokens

PLAINLY: Final = re.compile(r"\b(?:eyJ[\w-]{8,}\.[\w.~+/=-]+|ya29\.[\w-]{8,})")
SPLIT_PLAINLY: Final = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}|ya29\.[\w-]{16,}")
PARTS: Final = ("eyJ", "ya29.", ".", "-", "a", "a" * 8, " ", "~", "_", "=", "é", "a" * 16)


def mask_plainly(text: str) -> str:
    """Return what the rule says in its shortest form, which is too slow for long texts."""
    masked = PLAINLY.sub("(token)", text)
    return WITHHELD if SPLIT_PLAINLY.search("".join(masked.split())) else masked


def test_a_jwt_is_masked_wherever_it_begins() -> None:
    """Each JWT and access token is masked or withheld as the short form of the rule says."""
    dice = random.Random(1)  # noqa: S311 (the same texts each time)
    texts = ["".join(dice.choices(PARTS, k=dice.randint(1, 9))) for _ in range(20_000)]
    assert [text for text in texts if mask_tokens(text, ()) != mask_plainly(text)] == []
    assert sum(mask_plainly(text) != text for text in texts) > 1_000


def test_no_text_takes_quadratic_time() -> None:
    """Texts of many beginnings of tokens are searched in a moment, though each may go on to the end."""
    began = time.process_time()
    for part in ("eyJ-", "eyJ", "ya29.", "\\", "<", "&#", "%25", "-eyJaaaaaaaa"):
        text = part * (300_000 // len(part))
        assert mask_tokens(text, ["a token of some length"]) == text
    assert time.process_time() - began < 20
