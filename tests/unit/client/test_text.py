"""What is printed is safe and short."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_client.text import clean, cut_middle, lasted, listing, one_line


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("a\x00b\x08c\x7fd", "abcd"),
        ("\x1bcreset", "reset"),
        ("a\u202eb", "ab"),
        ("a\u061cb\u2028c\u2066d\u206ae\ufff9f", "abcdef"),
        ("\x1b\x1b[31m[2J", "[2J"),
        ("\x1b]0;never closed", ""),
        ("half \ud83d", "half "),
        ("grüße 日本 🎉", "grüße 日本 🎉"),
        ("a\r\nb\tc", "a\nb\tc"),
    ],
)
def test_nothing_printed_moves_the_cursor(written: str, printed: str) -> None:
    """Escapes and control characters are left out, and letters of every script stay."""
    assert clean(written) == printed


def test_one_line_is_one_line() -> None:
    """A message with line breaks does not break a table."""
    assert one_line(" a\r\n\tb\n\n c\x1b[K ") == "a b c"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0451, "45 ms"),
        (1, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.9, "1 h 00 min"),
        (7_800, "2 h 10 min"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    """A duration is written with two figures or two units."""
    assert lasted(timedelta(seconds=seconds)) == text


def test_no_duration_is_nothing() -> None:
    """A run or step that has not ended has no duration."""
    assert lasted(None) == ""


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "`a`"), (["a", "b"], "`a` and `b`"), (["a", "b", "c"], "`a`, `b` and `c`")],
)
def test_names_are_listed_as_in_a_sentence(names: list[str], text: str) -> None:
    """Names are listed with an `and` before the last one."""
    assert listing(names) == text


def test_long_lists_are_cut() -> None:
    """A long list shows its first names and counts the others."""
    assert listing([str(i) for i in range(1_005)], most=2) == "`0`, `1` and 1,003 more"


def test_a_name_is_cut_in_the_middle() -> None:
    """A name that is too long keeps its beginning and its end, and has exactly the length."""
    assert cut_middle("short", 5) == "short"
    assert cut_middle("load-partition-17", 10) == "load-…n-17"
    assert cut_middle("load-partition-17", 10, mark="...") == "load...-17"
