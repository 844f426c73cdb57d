"""Every error of the library, in one tree. Adapters translate at the border; nothing outside raises a foreign error."""

from __future__ import annotations


class AtomWorkflowsError(Exception):
    """The root of the tree."""


# -- the ports -------------------------------------------------------------------------------------------------------


class StoreError(AtomWorkflowsError):
    """A Store call did not do what was asked."""


class AlreadyExists(StoreError, FileExistsError):
    """A document to be created exists."""


class Conflict(StoreError):
    """A guard no longer held, so nothing was written. Read again, decide again."""


class NotStorable(StoreError, ValueError):
    """What was to be written can never be: too large, or of a shape that the store does not hold."""


class StoreUnavailable(StoreError, ConnectionError):
    """The store gave no answer in time. A commit may or may not have happened."""


class BusUnavailable(AtomWorkflowsError, ConnectionError):
    """A message was not accepted in time, or its topic does not exist."""


class TaskRunnerError(AtomWorkflowsError):
    """A Task Runner call gave no usable answer."""


class JobRefused(TaskRunnerError):
    """A submission was refused for good: it started nothing, and the same request can never succeed."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the Task Runner refused the job with HTTP {status}: {text}")
        self.status = status
        self.text = text


class JobConflict(JobRefused):
    """The Task Runner answered 409: this submission started nothing, but an earlier one with its key may have.

    `retry_after_s` is the server's own wish (Retry-After), in seconds, if it sent one.
    """

    def __init__(self, status: int, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(status, text)
        self.retry_after_s = retry_after_s


class CredentialUnusable(JobRefused):
    """No request can be sent: what was configured can never make a token, or may not be sent to that address."""

    def __init__(self, reason: str) -> None:
        TaskRunnerError.__init__(self, reason)
        self.status = 0
        self.text = reason


class JobUnknown(TaskRunnerError, LookupError):
    """The Task Runner does not know the job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the Task Runner does not know job {job_id}")
        self.job_id = job_id


class TaskRunnerUnavailable(TaskRunnerError, ConnectionError):
    """The Task Runner gave no answer of the contract, and what it was asked for may have been carried out.

    `status` is that of the answer, if there was one; `retry_after_s` is the server's own wish (Retry-After), in
    seconds, if it sent one.
    """

    def __init__(self, reason: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s


class RequestNotAccepted(TaskRunnerUnavailable):
    """A request that nothing can have come of: there was no connection, or the Task Runner asked to come later.

    `is_busy` says that the Task Runner is there, and has no room at the moment (429).
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None, is_busy: bool = False) -> None:
        super().__init__(reason, retry_after_s=retry_after_s)
        self.is_busy = is_busy


class SourceError(AtomWorkflowsError):
    """A workflow file could not be read."""


class SourceNotFound(SourceError, FileNotFoundError):
    """The object, or that generation of it, does not exist."""


class SourceForbidden(SourceError, PermissionError):
    """The bucket may not be read."""


class SourceTooLarge(SourceError, ValueError):
    """The object is larger than any workflow file may be."""


class SourceUnavailable(SourceError, ConnectionError):
    """The storage gave no answer in time."""


class NewerVersion(AtomWorkflowsError):
    """A newer version wrote it, in a form that this one would misread: it is to be left to that one."""

    def __init__(self, what: str, schema: int, known: int) -> None:
        super().__init__(
            f"{what} was written by a newer version: its schema is {schema}, and this one reads up to {known}"
        )
        self.schema = schema
        self.known = known


# -- what a user can do wrong ----------------------------------------------------------------------------------------


class MalformedEvent(AtomWorkflowsError, ValueError):
    """An event that can never be handled; it is kept as a dead letter and acknowledged."""


class RunNotFound(AtomWorkflowsError, LookupError):
    """There is no run of that id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}; `atom-workflows runs list` shows the runs")
        self.run_id = run_id


class RunStateError(AtomWorkflowsError, ValueError):
    """The run is not in a state in which that can be done."""


class DefinitionUnusable(AtomWorkflowsError, ValueError):
    """The stored definition of a half-seeded run is gone, damaged, or not valid for this version."""


class SettingsError(AtomWorkflowsError, ValueError):
    """An environment variable does not hold what it should."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"{name} is {value!r}; it must be {expected}")
        self.name = name


# -- what no history can produce -------------------------------------------------------------------------------------


class TransitionError(AtomWorkflowsError, LookupError):
    """The transition table has no such row: a defect, or a document that somebody else wrote."""

    def __init__(self, kind: str, state: str, event: str) -> None:
        super().__init__(f"a {kind} in state {state} cannot {event}")
        self.kind = kind
        self.state = state
        self.event = event
