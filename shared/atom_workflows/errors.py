"""All errors of the library, in one tree.

Adapters translate the errors of client libraries, so that those never reach other code. Only `InvalidWorkflow` is
defined elsewhere, alongside the problems that it lists (language/problems.py).
"""

from __future__ import annotations

from typing import NamedTuple


class AtomWorkflowsError(Exception):
    """The base class of all errors of this library."""


class Remedy(NamedTuple):
    """What to do instead, worded for the command line and for HTTP."""

    command: str
    http: str


class NotAllowed(AtomWorkflowsError, ValueError):
    """What a person asked for is not possible.

    `by_http` is the error's text for HTTP callers. It differs from the command line's text if there is a remedy.
    """

    def __init__(self, reason: str, *, remedy: Remedy | None = None) -> None:
        super().__init__(reason if remedy is None else f"{reason}; {remedy.command}")
        self.by_http = reason if remedy is None else f"{reason}; {remedy.http}"


class SelectionError(AtomWorkflowsError, ValueError):
    """The steps or items that a person chose cannot be run again.

    `name` is the step that does not exist, or "".
    """

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


class MarkError(NotAllowed):
    """A step cannot be marked as succeeded or skipped.

    `name` is the step that does not exist, or "".
    """

    def __init__(self, reason: str, name: str = "", *, remedy: Remedy | None = None) -> None:
        super().__init__(reason, remedy=remedy)
        self.name = name


# -- the ports -------------------------------------------------------------------------------------------------------


class StoreError(AtomWorkflowsError):
    """A Store call failed."""


class AlreadyExists(StoreError, FileExistsError):
    """A document to be created already exists."""


class Conflict(StoreError):
    """A guard no longer held, so nothing was written. Read the document again, and decide again."""


class NotStorable(StoreError, ValueError):
    """The store can never hold the document.

    It is too large, or contains a value of an unsupported type.
    """


class StoreUnavailable(StoreError, ConnectionError):
    """The store did not respond in time. A commit may or may not have taken effect."""


class BusUnavailable(AtomWorkflowsError, ConnectionError):
    """A message was not accepted in time, or its topic does not exist."""


class TaskRunnerError(AtomWorkflowsError):
    """A call to a Task Runner did not succeed."""


class JobRefused(TaskRunnerError):
    """A submission was refused permanently.

    It started nothing, and the same request can never succeed.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the Task Runner refused the job with HTTP {status}: {text}")
        self.status = status
        self.text = text


class JobConflict(JobRefused):
    """HTTP 409 from the Task Runner.

    This call started nothing, but an earlier one with the same key may have.

    `retry_after_s` is the server's Retry-After in seconds, if it sent one.
    """

    def __init__(self, status: int, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(status, text)
        self.retry_after_s = retry_after_s


class CredentialUnusable(JobRefused):
    """No request can be sent with the configured credential.

    The credential can never yield a token, or must not be sent to the Task Runner's address.
    """

    def __init__(self, reason: str) -> None:
        TaskRunnerError.__init__(self, reason)
        self.status = 0
        self.text = reason


class JobUnknown(TaskRunnerError, LookupError):
    """The Task Runner does not know the job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the Task Runner does not know job {job_id}")
        self.job_id = job_id


class LookupUnsupported(TaskRunnerError, NotImplementedError):
    """The Task Runner does not support finding a job by its key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TaskRunnerUnavailable(TaskRunnerError, ConnectionError):
    """The Task Runner gave no usable response, but may have acted.

    `status` is the HTTP status of the response, if there was one; `retry_after_s` is the server's Retry-After in
    seconds, if it sent one.
    """

    def __init__(self, reason: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s


class RequestNotAccepted(TaskRunnerUnavailable):
    """The Task Runner did nothing.

    There was no connection, or the Task Runner asked for a later retry. `is_busy` is True if it responded that it has
    no capacity at the moment (HTTP 429).
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None, is_busy: bool = False) -> None:
        super().__init__(reason, retry_after_s=retry_after_s)
        self.is_busy = is_busy


class SourceError(AtomWorkflowsError):
    """A workflow file could not be read."""


class SourceNotFound(SourceError, FileNotFoundError):
    """The object, or the requested generation of it, does not exist."""


class SourceForbidden(SourceError, PermissionError):
    """Reading from the bucket is not permitted."""


class SourceTooLarge(SourceError, ValueError):
    """The object is larger than any workflow file may be."""


class SourceUnavailable(SourceError, ConnectionError):
    """The storage did not respond in time."""


class NewerVersion(AtomWorkflowsError):
    """A newer version wrote data that this version would misread. Leave the data to the newer version."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} was written by a newer version: {reason}")


# -- what a user can do wrong ----------------------------------------------------------------------------------------


class JsonTooDeep(AtomWorkflowsError, ValueError):
    """JSON is nested too deeply."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it is nested too deeply: it has more than {most} levels of lists and objects")
        self.most = most


class JsonTooLarge(AtomWorkflowsError, ValueError):
    """JSON has too many values."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it contains more than {most:,} values")
        self.most = most


class MalformedEvent(AtomWorkflowsError, ValueError):
    """An event can never be handled. It is kept as a dead letter and acknowledged."""


class NotJson(MalformedEvent):
    """A request's body was not declared to be JSON. Forms and scripts on other web pages cannot declare this."""

    def __init__(self, content_type: str) -> None:
        super().__init__(f"a start request needs the header Content-Type: application/json, not {content_type!r:.80}")
        self.content_type = content_type


class BodyTooLarge(MalformedEvent):
    """A request's body is larger than the function could ever need. `message_id` is empty if the id is not known."""

    def __init__(self, size: str, most: int, message_id: str) -> None:
        super().__init__(
            f"the request is {size} bytes long; the function accepts up to {most:,}, so none of it was read or kept"
        )
        self.message_id = message_id


class HintNotHandled(AtomWorkflowsError):
    """A hint cannot be handled yet and should be redelivered.

    It came too early, or there are too many hints.
    """


class RunNotFound(AtomWorkflowsError, LookupError):
    """No run has the given id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}; `atom-workflows runs list` shows the runs")
        self.run_id = run_id


class RunStateError(NotAllowed):
    """The run's state does not allow what was requested."""


class RunContended(RunStateError):
    """The run kept changing during the update; the request should be repeated."""


class DefinitionUnusable(AtomWorkflowsError, ValueError):
    """The stored definition of a partly seeded run cannot be used.

    It is missing, damaged, or not valid in this version.
    """


class SettingsError(AtomWorkflowsError, ValueError):
    """An environment variable has an invalid value."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"{name} is {value!r}; it must be {expected}")
        self.name = name


# -- expressions -----------------------------------------------------------------------------------------------------


class ExpressionError(AtomWorkflowsError, ValueError):
    """An expression, a type or a value has a fault. `suggestion` is empty if there is no advice."""

    def __init__(self, message: str, *, suggestion: str = "") -> None:
        # Messages quote names and text from users, which may contain line breaks or control characters.
        message, suggestion = ("".join(c if c.isprintable() else "?" for c in text) for text in (message, suggestion))
        super().__init__(f"{message}; {suggestion}" if suggestion else message)
        self.message = message
        self.suggestion = suggestion


class ExpressionSyntaxError(ExpressionError):
    """A string is not a valid expression. `at` is the offset of the fault in the string."""

    def __init__(self, message: str, at: int, suggestion: str = "") -> None:
        super().__init__(message, suggestion=suggestion)
        self.at = at


class EvaluationError(ExpressionError):
    """An expression cannot be evaluated. `at` is the offset of the part at fault."""

    def __init__(self, message: str, at: int, suggestion: str = "") -> None:
        super().__init__(message, suggestion=suggestion)
        self.at = at


class MissingMember(EvaluationError, LookupError):
    """A list or map does not have the requested member."""


class OverBudget(EvaluationError):
    """An expression takes too many steps or produces too large a value."""


class TypeNotationError(ExpressionError):
    """The notation of a type is not valid."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message, suggestion=suggestion)


class ValueMismatch(ExpressionError):
    """A value does not match its type. `path` names the part at fault, such as `[3].name`; "" means the whole value."""

    def __init__(self, path: str, message: str, suggestion: str = "") -> None:
        super().__init__(message, suggestion=suggestion)
        self.path = path


class InvalidParams(AtomWorkflowsError, ValueError):
    """The given parameters do not match the workflow's declarations. `problems` has a sentence for each problem."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class CronError(AtomWorkflowsError, ValueError):
    """A cron expression cannot be used. The message completes a sentence about it; the suggestion may be empty."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(f"{message}; {suggestion}" if suggestion else message)
        self.message = message
        self.suggestion = suggestion


class ScheduleNotFound(AtomWorkflowsError, LookupError):
    """The file has no schedules to pause or resume. None were ever uploaded, or the file was deleted."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} has no schedules in this deployment; upload the file, or run `schedules list` to see all schedules"
        )
        self.path = path


# -- the Task Runners in this repository -----------------------------------------------------------------------------


class RequestRefused(AtomWorkflowsError, ValueError):
    """A submission can never succeed. The message says why, for the HTTP 400 response."""


class OutputsUnusable(AtomWorkflowsError, ValueError):
    """The file with a job's outputs cannot be used. The message says why, and what to do instead."""


class GoogleUnavailable(AtomWorkflowsError, ConnectionError):
    """A Google API gave no usable response.

    `nothing_sent` is True if the request was never sent, so that it cannot have had an effect.
    """

    def __init__(self, reason: str, *, nothing_sent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.nothing_sent = nothing_sent


class NotNow(AtomWorkflowsError):
    """A Task Runner did nothing and can do nothing at the moment. `retry_after_s` says when to ask again."""

    def __init__(self, reason: str, *, retry_after_s: int, is_busy: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.is_busy = is_busy


class JobNotFound(AtomWorkflowsError, LookupError):
    """A Task Runner does not know a job with this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id}")
        self.job_id = job_id


# -- what should never happen ----------------------------------------------------------------------------------------


class TransitionError(AtomWorkflowsError, LookupError):
    """The transition table has no matching row.

    There is a defect, or someone else wrote the document.
    """

    def __init__(self, kind: str, state: str, event: str) -> None:
        super().__init__(f"a {kind} in state {state} cannot {event}")
        self.kind = kind
        self.state = state
        self.event = event
