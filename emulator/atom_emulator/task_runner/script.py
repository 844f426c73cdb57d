"""The mock Task Runner's script: immutable values, and the choice of the rule that applies to a job.

A script is an ordered list of rules; the first rule whose conditions all hold decides. A job that no rule
matches behaves as `Script.default` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TERMINAL_STATES: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})

FOREVER: Final = 0
"""The value of `Fault.times` for a fault that is never used up."""


class FaultKind(StrEnum):
    """The ways to spoil an answer. `STATUS` is an HTTP error, or a success with a status other than 200."""

    STATUS = "status"
    DROP = "drop"
    """The connection is closed without an answer."""
    HTML = "html"
    NOT_JSON = "not-json"
    EMPTY = "empty"
    WRONG_SHAPE = "wrong-shape"


class Loss(StrEnum):
    """The loss of jobs that were accepted: they are unknown afterwards."""

    NEVER = "never"
    ONCE = "once"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One spoilt answer, or several in a row. `status` also applies to garbage pages.

    With `accepted` the request is still carried out, but its answer is corrupted, as if it had been lost in transit.
    """

    kind: FaultKind = FaultKind.STATUS
    status: int = 200
    retry_after_s: float | None = None
    times: int = 1
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The effect of a request to stop a job: it is CANCELLED after `after_s`.

    With `ignored` the request is accepted, but the job then never ends. With a `fault`, each request gets that answer.
    """

    after_s: float = 0.0
    ignored: bool = False
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """The behavior of jobs. Durations are in seconds, as in the script's file.

    A `duration_s` of None means the server's default; with 0, the submission is answered with the job's final state.
    Fault lists are used up per step of a run, one fault per call. `outputs` and `reasons` have one entry per attempt,
    in order; the last one also applies to all later attempts. Jobs that succeed return the outputs, and all others
    end with the reason. With `notifies`, a job that does not end at once is reported when it ends.
    """

    duration_s: float | None = None
    synchronous: bool = False
    states: tuple[str, ...] = ("RUNNING",)
    fail_times: int = 0
    always_fail: bool = False
    message: str | None = None
    outputs: tuple[Mapping[str, Any] | None, ...] = ()
    reasons: tuple[str | None, ...] = ()
    submit_errors: tuple[Fault, ...] = ()
    status_errors: tuple[Fault, ...] = ()
    stop_errors: tuple[Fault, ...] = ()
    stop: Stop = Stop()
    logs_url: str | None = None
    notifies: bool = False
    lose_job: Loss = Loss.NEVER
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A behavior and the jobs to which it applies. A condition that is None or empty always holds.

    `step` is a glob on `job_name`, on the step's id or on the label `step`, `image` is a glob on `imageUri`, and
    `engine` is a glob on `engine`. As a `step`, `train[3]` is one item of a loop, and `train` is each of them. `where`
    is the rule's place in its script, with which problems begin.
    """

    step: str | None = None
    image: str | None = None
    engine: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    behavior: Behavior = Behavior()
    where: str = field(default="", compare=False)

    def matches(self, job: Mapping[str, Any], step_id: str = "") -> bool:
        """Return True if this rule applies to a submitted job.

        `step_id` is the id of the step or item, if it is known.
        """
        labels = job.get("labels") or {}
        # An item is named as users see it, without the number of its expansion; its brackets are no pattern.
        item = step_id.partition("~")[0]
        names = (str(job.get("job_name", "")), str(labels.get("step", "")), item, item.partition("[")[0])
        if self.step is not None and not any(name == self.step or fnmatchcase(name, self.step) for name in names):
            return False
        if self.image is not None and not fnmatchcase(str(job.get("imageUri") or ""), self.image):
            return False
        if self.engine is not None and not fnmatchcase(str(job.get("engine") or ""), self.engine):
            return False
        return all(labels.get(name) == value for name, value in self.labels.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The rules, in order.

    With `idempotent`, a submission with a repeated `Idempotency-Key` is answered with the first one's job.
    """

    rules: tuple[Rule, ...] = ()
    default: Behavior = Behavior()
    idempotent: bool = True

    def behavior_for(self, job: Mapping[str, Any], step_id: str = "") -> Behavior:
        """Return the behavior of the first rule that matches the job, else the default."""
        return next((rule.behavior for rule in self.rules if rule.matches(job, step_id)), self.default)
