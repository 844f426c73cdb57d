"""Answer the contract's calls: submit, status, stop and lookup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeAlias

from atom_workflows.errors import AtomWorkflowsError, GoogleUnavailable, JobNotFound, NotNow, RequestRefused
from atom_workflows.runner.cloud.job_ids import Engine, Place, read_place
from atom_workflows.runner.reports import JobReport, refusal, to_lookup_response, unknown_job
from atom_workflows.runner.request import JobRequest, read_request, split_key

ENGINES: Final[Mapping[str, Engine]] = {
    "": Engine.BATCH,
    "batch": Engine.BATCH,
    "cloud-run": Engine.CLOUD_RUN,
}
"""The values of a task's `engine`. Any other value is refused, since it is meant for another Task Runner."""

NOT_SENT_RETRY_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractAnswer:
    """The status, JSON body and Retry-After time of a response."""

    status: int
    body: Mapping[str, Any]
    retry_after_s: int = 0

    @property
    def job_id(self) -> str:
        """The id of the job in the response, or ""."""
        return str(self.body.get("job", {}).get("jobId", ""))


class RunsJobs(Protocol):
    """A service that runs jobs.

    Each call may raise `RequestRefused`, `NotNow`, `JobNotFound` or `GoogleUnavailable`.
    """

    def submit(self, request: JobRequest, now: datetime) -> JobReport:
        """Create the job, or find the one with the same key."""
        ...

    def status(self, place: Place, now: datetime) -> JobReport:
        """Return the job's state."""
        ...

    def stop(self, place: Place, now: datetime) -> JobReport:
        """Ask for the job to be stopped, and return its state."""
        ...

    def look_up(self, key: str, now: datetime) -> JobReport | None:
        """Return the job with this key, or None if none is visible.

        A key does not say when its job was created, so a job that is too new to be visible seems not to exist.
        """
        ...

    def take_key(self, key: str, now: datetime) -> JobReport:
        """Create a placeholder, or find the job with this key.

        Raises `NotNow` if a job has the key but is too new to be visible. Afterwards, no submission with this key
        starts a job on this engine.
        """
        ...


Response: TypeAlias = Callable[[], tuple[int, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class CloudRunner:
    """The Task Runner. `now` returns the current time."""

    engines: Mapping[Engine, RunsJobs]
    now: Callable[[], datetime]

    def submit(self, headers: Mapping[str, str], body: bytes) -> ContractAnswer:
        """Handle `POST /job`."""

        def submitted() -> tuple[int, dict[str, Any]]:
            request = read_request(headers, body)
            engine = ENGINES.get(request.engine.lower())
            if engine is None:
                known = " or ".join(filter(None, ENGINES))
                raise RequestRefused(
                    f"engine is {request.engine!r:.100}, but must be {known} on this Task Runner; Batch is the default"
                )
            report = self.engines[engine].submit(request, self.now())
            # An expression may have named another engine when the key's job was submitted.
            return (self._find(request.key) if report.is_placeholder else report).to_response()

        return _answer(submitted)

    def status(self, job_id: str) -> ContractAnswer:
        """Handle `GET /jobstatus`."""

        def shown() -> tuple[int, dict[str, Any]]:
            place = read_place(job_id)
            return self.engines[place.engine].status(place, self.now()).to_response()

        return _answer(shown)

    def stop(self, job_id: str) -> ContractAnswer:
        """Handle `DELETE /job`."""

        def stopped() -> tuple[int, dict[str, Any]]:
            place = read_place(job_id)
            return self.engines[place.engine].stop(place, self.now()).to_response()

        return _answer(stopped)

    def look_up(self, key: str) -> ContractAnswer:
        """Handle `GET /jobstatus` with a key.

        The key does not show which engine runs the job, so all engines are queried. If none shows a job, the key is
        reserved on each of them, so that no job can appear later. This is safe because a key is looked up only after
        its attempt has ended.
        """

        def found() -> tuple[int, dict[str, Any]]:
            try:
                split_key(key)
            except RequestRefused:
                return to_lookup_response(key, None)  # No submission can have such a key.
            return to_lookup_response(key, self._find(key))

        return _answer(found)

    def _find(self, key: str) -> JobReport:
        """Return the key's job, or a placeholder if no engine has one.

        A placeholder is returned once the key is reserved on all engines. Raises `NotNow` or `GoogleUnavailable` if no
        engine shows a job, but one of them may have one. The key is then reserved on the other engines, so that a
        repeated submission cannot start another job there.
        """
        engines, now = self.engines.values(), self.now()
        shown = [_ask(engine.look_up, key, now) for engine in engines]
        if job := _job_among(shown):
            return job
        taken = [known or _ask(engine.take_key, key, now) for engine, known in zip(engines, shown, strict=True)]
        if job := _job_among(taken):
            return job
        for one in taken:
            if isinstance(one, AtomWorkflowsError):
                raise one
        return next(one for one in taken if isinstance(one, JobReport))


def _ask(
    call: Callable[[str, datetime], JobReport | None], key: str, now: datetime
) -> JobReport | NotNow | GoogleUnavailable | None:
    """Return an engine's answer, or the error that it raised.

    An error is not raised here, since another engine may know the job.
    """
    try:
        return call(key, now)
    except (NotNow, GoogleUnavailable) as error:
        return error


def _job_among(answers: Iterable[object]) -> JobReport | None:
    """Return the first report about a job that is not a placeholder."""
    return next((one for one in answers if isinstance(one, JobReport) and not one.is_placeholder), None)


def _answer(respond: Response) -> ContractAnswer:
    """Return the response that the contract defines for the result or error."""
    try:
        status, body = respond()
    except RequestRefused as error:
        status, body = refusal(str(error))
    except JobNotFound as error:
        status, body = unknown_job(error.job_id)
    except NotNow as error:
        status = HTTPStatus.TOO_MANY_REQUESTS if error.is_busy else HTTPStatus.SERVICE_UNAVAILABLE
        return ContractAnswer(status=status, body={"message": error.reason}, retry_after_s=error.retry_after_s)
    except GoogleUnavailable as error:
        if error.nothing_sent:
            said = {"message": error.reason}
            return ContractAnswer(status=HTTPStatus.SERVICE_UNAVAILABLE, body=said, retry_after_s=NOT_SENT_RETRY_S)
        # Without Retry-After, this says that the request may have had an effect.
        status, body = HTTPStatus.BAD_GATEWAY, {"message": error.reason}
    return ContractAnswer(status=status, body=body)
