"""The rows of the report: one for each rule of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from atom_client.runner_check.session import Followed, NotCalled
from atom_client.text import counted
from atom_workflows.errors import TaskRunnerError

NO_JOB: Final = "no job could be submitted"
NO_ID: Final = "the response to the submission reports a job that has ended but has no id"


class Verdict(StrEnum):
    """The result of checking a rule."""

    OK = "ok"
    FAILED = "failed"
    # The rule is optional, and the Task Runner does not make use of it.
    UNSUPPORTED = "not supported"
    # The rule could not be checked, because of another failure or for lack of an option.
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A rule and whether the Task Runner follows it.

    `detail` says what was seen and, after a failure, what to change.
    """

    rule: str
    verdict: Verdict
    detail: str

    def as_fields(self) -> dict[str, Any]:
        """Return the row as fields for JSON output."""
        return {"rule": self.rule, "verdict": self.verdict.value, "detail": self.detail}


@dataclass(slots=True)
class Seen:
    """Results of the required checks that the optional ones use.

    They say how each of the two jobs ended, if it did.
    """

    takes_jobs: bool = False
    success: Followed | None = None
    failure: Followed | None = None


def ok(rule: str, detail: str) -> Row:
    """Return a row for a rule that is followed."""
    return Row(rule=rule, verdict=Verdict.OK, detail=detail)


def failed(rule: str, detail: str) -> Row:
    """Return a row for a rule that is broken."""
    return Row(rule=rule, verdict=Verdict.FAILED, detail=detail)


def not_answered(rule: str, error: TaskRunnerError, advice: str = "") -> Row:
    """Return a row for a rule whose call failed or was skipped."""
    if isinstance(error, NotCalled):
        return unchecked(rule, f"{error}")
    return failed(rule, f"{error}; {advice}" if advice else f"{error}")


def unsupported(rule: str, detail: str) -> Row:
    """Return a row for an optional rule that is not supported."""
    return Row(rule=rule, verdict=Verdict.UNSUPPORTED, detail=detail)


def unchecked(rule: str, detail: str) -> Row:
    """Return a row for a rule that could not be checked."""
    return Row(rule=rule, verdict=Verdict.UNCHECKED, detail=detail)


def summarize(rows: Sequence[Row]) -> str:
    """Sum up the report in a sentence."""
    # Without a job, there is nothing to hold against the contract: the address or the token may be wrong.
    if [row.verdict for row in rows[:2]] == [Verdict.FAILED, Verdict.UNCHECKED]:
        return "The first submission failed, so nothing else could be checked."
    failures = sum(row.verdict is Verdict.FAILED for row in rows)
    skipped = sum(row.verdict is Verdict.UNCHECKED for row in rows)
    found = f"{counted(failures, 'rule')} of the contract {'is' if failures == 1 else 'are'} broken"
    found = found if failures else "The Task Runner follows the contract"
    return f"{found}; {counted(skipped, 'rule')} could not be checked." if skipped else f"{found}."
