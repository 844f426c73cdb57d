"""What a look at a platform found: one line each, with the command that mends what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from atom_client.errors import Refusal, explanation, refusal_of
from atom_client.text import clip, counted, one_line

_LONGEST: Final = 600


class Verdict(StrEnum):
    """What was found; UNKNOWN is what could not be looked at."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `mend` is a command, or what to do where no one command mends it."""

    about: str
    verdict: Verdict
    told: str
    mend: str = ""

    def line(self) -> str:
        """The finding for people."""
        mend = f" Mend: {self.mend}" if self.mend else ""
        return f"{self.verdict:8}{one_line(f'{self.about}: {clip(self.told, _LONGEST)}.{mend}')}"

    def as_fields(self) -> dict[str, Any]:
        """The finding for programs."""
        return {"verdict": self.verdict.value, "about": self.about, "told": self.told, "mend": self.mend}


def ok(about: str, told: str) -> Finding:
    """A thing that is as it should be."""
    return Finding(about=about, verdict=Verdict.OK, told=told)


def wrong(about: str, told: str, mend: str) -> Finding:
    """A thing that is not."""
    return Finding(about=about, verdict=Verdict.WRONG, told=told, mend=mend)


def unknown(about: str, told: str, mend: str = "") -> Finding:
    """A thing that could not be looked at."""
    return Finding(about=about, verdict=Verdict.UNKNOWN, told=told, mend=mend)


Look = Callable[[], Iterable[Finding]]


def looked(about: str, look: Look) -> Iterator[Finding]:
    """What a look finds; an error that has a cause outside the program ends it, and is a finding itself."""
    try:
        yield from look()
    except Exception as error:
        told = explanation(error)
        if told is None:
            raise
        # Who may not look does not know whether it is wrong; neither does who gets no answer.
        may_be_well = refusal_of(error) in {None, Refusal.FORBIDDEN}
        yield Finding(about=about, verdict=Verdict.UNKNOWN if may_be_well else Verdict.WRONG, told=told.rstrip("."))


def summary(findings: Sequence[Finding]) -> str:
    """How it stands, in a sentence."""
    by = {verdict: sum(one.verdict is verdict for one in findings) for verdict in Verdict}
    is_one = by[Verdict.WRONG] == 1
    found = f"{counted(by[Verdict.WRONG], 'thing')} {'is' if is_one else 'are'} wrong"
    found = found if by[Verdict.WRONG] else "Nothing is wrong"
    left = f"; {counted(by[Verdict.UNKNOWN], 'thing')} could not be looked at" if by[Verdict.UNKNOWN] else ""
    return f"{found}{left}."
