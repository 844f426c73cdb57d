"""The findings of a platform's checks, with fixes for problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from atom_client.errors import Refusal, explain, refusal_of
from atom_client.text import clip, counted, one_line

_LONGEST: Final = 600


class Verdict(StrEnum):
    """The result of a check.

    UNKNOWN means that the check could not be carried out.
    """

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of checking one thing.

    `detail` says what was found. `fix` is a command, or advice if no single command fixes the problem.
    """

    about: str
    verdict: Verdict
    detail: str
    fix: str = ""

    def line(self) -> str:
        """Return the finding as a line of text for users."""
        fix = f" Fix: {self.fix}" if self.fix else ""
        return f"{self.verdict:8}{one_line(f'{self.about}: {clip(self.detail, _LONGEST)}.{fix}')}"

    def as_fields(self) -> dict[str, Any]:
        """Return the finding as fields for JSON output."""
        return {"verdict": self.verdict.value, "about": self.about, "detail": self.detail, "fix": self.fix}


def ok(about: str, detail: str) -> Finding:
    """Return a finding that something is in order."""
    return Finding(about=about, verdict=Verdict.OK, detail=detail)


def wrong(about: str, detail: str, fix: str) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(about=about, verdict=Verdict.WRONG, detail=detail, fix=fix)


def unknown(about: str, detail: str, fix: str = "") -> Finding:
    """Return a finding that something could not be checked."""
    return Finding(about=about, verdict=Verdict.UNKNOWN, detail=detail, fix=fix)


Check = Callable[[], Iterable[Finding]]


def run_check(about: str, check: Check) -> Iterator[Finding]:
    """Yield what a check finds.

    An error with a cause outside the program ends the check and is itself reported as a finding.
    """
    try:
        yield from check()
    except Exception as error:
        detail = explain(error)
        if detail is None:
            raise
        # Without permission or without a response, the check cannot know whether something is wrong.
        may_be_well = refusal_of(error) in {None, Refusal.FORBIDDEN}
        yield Finding(about=about, verdict=Verdict.UNKNOWN if may_be_well else Verdict.WRONG, detail=detail.rstrip("."))


def summary(findings: Sequence[Finding]) -> str:
    """Sum up the findings in a sentence."""
    by = {verdict: sum(one.verdict is verdict for one in findings) for verdict in Verdict}
    is_one = by[Verdict.WRONG] == 1
    found = f"{counted(by[Verdict.WRONG], 'thing')} {'is' if is_one else 'are'} wrong"
    found = found if by[Verdict.WRONG] else "Nothing is wrong"
    left = f"; {counted(by[Verdict.UNKNOWN], 'thing')} could not be checked" if by[Verdict.UNKNOWN] else ""
    return f"{found}{left}."
