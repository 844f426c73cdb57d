"""docs/explanation/chaos.md and the command that writes it."""

from __future__ import annotations

import pytest

from chaos.__main__ import main
from chaos.page import PAGE, with_report
from chaos.tally import Fault, never_struck


def test_a_report_takes_the_place_of_the_last_one() -> None:
    """A new report replaces the last one of its kind and nothing else."""
    page = PAGE.read_text(encoding="utf-8")
    first = with_report(page, "google", ["one", r"two \1"])
    second = with_report(first, "google", ["three"])
    assert "<!-- google -->\n```\none\ntwo \\1\n```\n<!-- end -->" in first
    assert second == first.replace("one\ntwo \\1\n", "three\n")
    assert first.partition("<!-- google")[0] == page.partition("<!-- google")[0]


def test_a_page_without_a_place_for_the_report_is_an_error() -> None:
    """A report is never lost in silence."""
    with pytest.raises(ValueError, match=r"chaos\.md has 0 places for the report on google, not one"):
        with_report("no markers", "google", ["one"])


def test_the_page_reports_good_storms() -> None:
    """Both reports show every kind of fault and no problem."""
    page = PAGE.read_text(encoding="utf-8")
    for emulators in ("embedded", "google"):
        _, _, rest = page.partition(f"<!-- {emulators} -->\n")
        text = rest.partition("<!-- end -->")[0]
        assert all(f" {fault}: " in text and f" 0 {fault}" not in text for fault in Fault)
        assert "\n       0 problems\n" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--seconds", "0"], "--seconds must be between 1 and 86400"),
        (["--seconds", "nan"], "--seconds must be between 1 and 86400"),
        (["--runs", "3"], "--runs must be between 13, one of each shape, and 500"),
        (["--runs", "many"], "invalid int value: 'many'"),
        (["--emulators", "both"], "invalid choice: 'both'"),
    ],
)
def test_a_storm_that_proves_nothing_is_not_played(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that could prove nothing is refused."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_faults_that_never_struck_are_reported() -> None:
    """A kind of fault that was never counted is reported."""
    counts = dict.fromkeys(((fault, "there") for fault in Fault if fault is not Fault.CUT), 1)
    assert never_struck(counts) == [Fault.CUT]
