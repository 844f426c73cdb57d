"""Interpret a Task Runner's responses, according to docs/reference/task-runner.md.

Nothing here reads from a connection, so tests can try any response in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from atom_workflows.adapters.task_runner.answer_body import (
    MAX_ANSWER_BYTES,
    MAX_READ_BYTES,
    AnswerBody,
    read_answer_body,
)
from atom_workflows.adapters.task_runner.masking import mask_tokens
from atom_workflows.core.outcomes import MAX_MESSAGE_LENGTH, clip, has_ended
from atom_workflows.core.outputs import MAX_REASON_LENGTH, JobOutputs
from atom_workflows.errors import (
    JobConflict,
    JobRefused,
    JobUnknown,
    LookupUnsupported,
    RequestNotAccepted,
    TaskRunnerUnavailable,
)
from atom_workflows.ports import MAX_JOB_ID, JobAnswer, StopAnswer

MAX_QUOTED_TEXT: Final = 500
MAX_JOB_STATE: Final = 100
"""Events quote states in sentences, and a string in an event may be at most 2,000 characters long."""

MAX_LOGS_URL: Final = 2_000

MAX_RETRY_AFTER_S: Final = 86_400.0
"""One day, since a server may send a number too large for any clock to represent."""

_NOT_TO_BE_STORED: Final = (
    "its outputs contain a token, such as the one with which the Task Runner was called, and tokens are not stored: "
    "return the name of a secret instead"
)

_TAG: Final = re.compile(r"<[^<>]*>")

_LOGS_URL: Final = re.compile(r"""https?://[^\s/?#@\\"'<>`]+(?:[/?#][^\s\\"'<>`]*)?""", re.IGNORECASE)
"""An address without user info, which can disguise the destination, and without characters that end a link."""


class Meaning(StrEnum):
    """The meaning of the HTTP status in the response to a submission."""

    ANSWERED = "answered"
    REFUSED = "refused"
    CONFLICT = "conflict"
    NOT_ACCEPTED = "not accepted"
    UNKNOWN = "unknown"


_BUSY: Final = 429
_UNAVAILABLE: Final = 503
_BY_STATUS: Final[Mapping[int, Meaning]] = {
    # By definition (RFC 9110, 15.4.8 and 15.4.9), nothing was done. Any other redirect may be a web framework's way of
    # showing the result of a request that it carried out.
    307: Meaning.NOT_ACCEPTED,
    308: Meaning.NOT_ACCEPTED,
    # According to RFC 9110, the request did not arrive in full, but gateways also send this when a Task Runner took too
    # long.
    408: Meaning.UNKNOWN,
    409: Meaning.CONFLICT,
    # RFC 8470: the server is unwilling to process the request now.
    425: Meaning.NOT_ACCEPTED,
    _BUSY: Meaning.NOT_ACCEPTED,
    # Gateways send this when a call was abandoned on its way.
    499: Meaning.UNKNOWN,
}

_UNKNOWN_JOB: Final = frozenset({404, 410})
_NO_SUCH_CALL: Final = frozenset({405, 501})
_DENIED: Final = frozenset({401, 403})
_PATH: Final = "/jobstatus"
_STOP_PATH: Final = re.compile(r"/job(?![\w/.-])")
_LEAST_NAME: Final = 4
"""A shorter id may occur in any text by chance, just as 404 occurs in most error pages."""


def meaning_of(status: int, *, has_retry_after: bool = False) -> Meaning:
    """Return what a response to a submission means, judging by its status."""
    if 200 <= status < 300:  # noqa: PLR2004 (HTTP's classes)
        return Meaning.ANSWERED
    if status == _UNAVAILABLE and has_retry_after:
        return Meaning.NOT_ACCEPTED
    return _BY_STATUS.get(status, Meaning.REFUSED if 400 <= status < 500 else Meaning.UNKNOWN)  # noqa: PLR2004 (HTTP's classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response as it was received. `said` is text that may be shown, and `job` is the job in it, if there is one.

    `names_no_job` is True if this is the response that the contract defines for an unknown job.
    """

    status: int
    said: str
    job: JobAnswer | None = None
    names_no_job: bool = False
    retry_after_s: float | None = None
    body: AnswerBody = field(repr=False)


def receive_answer(
    status: int,
    headers: Mapping[str, str],
    pieces: Iterator[bytes],
    *,
    tokens: Sequence[str] = (),
    job_id: str = "",
) -> Answer:
    """Read a response.

    The tokens are removed from everything that may be shown. Raises any error that occurs while a piece is read.
    """
    is_ok = meaning_of(status) is Meaning.ANSWERED
    most = MAX_READ_BYTES if is_ok else MAX_ANSWER_BYTES
    body = read_answer_body(pieces, headers.get("Content-Type", ""), most_bytes=most)
    job = _parse_job(body, tokens) if is_ok else None
    said = ""
    if job is None:
        said = plain_text(body.message or body.text) or "nothing"
        if 300 <= status < 400 and "Location" in headers:  # noqa: PLR2004 (HTTP's classes)
            said = f"it redirects to {headers['Location']}, and redirects are not followed"
        said = _mask_and_cut(said, tokens, MAX_QUOTED_TEXT)
    return Answer(
        status=status,
        said=said,
        job=job,
        names_no_job=status in _UNKNOWN_JOB and _names_no_job(body, job_id),
        retry_after_s=_parse_retry_after(headers) if "Retry-After" in headers else None,
        body=body,
    )


def read_submission(answer: Answer) -> JobAnswer:
    """Return the job in the response to a submission.

    Raises an error for each of the other three results; see `ports.TaskRunner.submit`.
    """
    meaning = meaning_of(answer.status, has_retry_after=answer.retry_after_s is not None)
    if meaning is Meaning.REFUSED:
        raise JobRefused(answer.status, answer.said)
    if meaning is Meaning.CONFLICT:
        raise JobConflict(answer.status, answer.said, retry_after_s=answer.retry_after_s)
    if meaning is Meaning.NOT_ACCEPTED:
        is_busy = answer.status == _BUSY
        raise RequestNotAccepted(_explain(answer), retry_after_s=answer.retry_after_s, is_busy=is_busy)
    return _require_job(answer)


def read_status(answer: Answer, job_id: str) -> JobAnswer:
    """Return the job in the response to a status call.

    Raises `JobUnknown` or `TaskRunnerUnavailable`.
    """
    if answer.names_no_job:
        raise JobUnknown(job_id)
    return _require_job(answer)


def read_stop(answer: Answer, job_id: str) -> StopAnswer:
    """Return the Task Runner's response to a request to stop a job.

    Raises `RequestNotAccepted` or `TaskRunnerUnavailable`.
    """
    meaning = meaning_of(answer.status, has_retry_after=answer.retry_after_s is not None)
    if meaning is Meaning.ANSWERED:
        return StopAnswer.STOPPING
    if answer.status in _NO_SUCH_CALL or (answer.status in _UNKNOWN_JOB and _quotes_delete(answer, job_id)):
        return StopAnswer.CANNOT
    if answer.names_no_job and not _STOP_PATH.search(answer.body.text):
        return StopAnswer.GONE
    if meaning is Meaning.NOT_ACCEPTED:
        is_busy = answer.status == _BUSY
        raise RequestNotAccepted(_explain(answer), retry_after_s=answer.retry_after_s, is_busy=is_busy)
    raise TaskRunnerUnavailable(_explain(answer), status=answer.status, retry_after_s=answer.retry_after_s)


def read_lookup(answer: Answer, key: str) -> JobAnswer | None:
    """Return the job found by a lookup, or None if none exists.

    Only a response that repeats the key counts: a Task Runner that does not know the parameter ignores it, and may
    answer with anything. Raises `LookupUnsupported` or `TaskRunnerUnavailable`.
    """
    meaning = meaning_of(answer.status, has_retry_after=answer.retry_after_s is not None)
    if meaning is Meaning.ANSWERED and answer.body.key == key:
        job = answer.job
        if job is not None and (job.job_id or has_ended(job.state)):
            return job
        if job is None and answer.body.has_null_id:
            return None
    if meaning is Meaning.ANSWERED and answer.body.is_scanned:
        # The part of the response that was not read may repeat the key.
        reason = f"the key and its job were not found in the Task Runner's response (HTTP {answer.status}), which is"
        raise TaskRunnerUnavailable(f"{reason} too long or nested too deeply to be read in full", status=answer.status)
    has_no_such_call = meaning in {Meaning.REFUSED, Meaning.CONFLICT} or answer.status in _NO_SUCH_CALL
    if meaning is Meaning.ANSWERED or (has_no_such_call and answer.status not in _DENIED):
        raise LookupUnsupported(_explain(answer))
    raise TaskRunnerUnavailable(_explain(answer), status=answer.status, retry_after_s=answer.retry_after_s)


def _require_job(answer: Answer) -> JobAnswer:
    if answer.job is None:
        raise TaskRunnerUnavailable(_explain(answer), status=answer.status, retry_after_s=answer.retry_after_s)
    return answer.job


def _explain(answer: Answer) -> str:
    if meaning_of(answer.status) is Meaning.ANSWERED:
        text = f"the Task Runner's response does not follow the contract (HTTP {answer.status}): {answer.said}"
        return text if len(answer.body.text) < MAX_ANSWER_BYTES else f"{text} … (more than {MAX_ANSWER_BYTES} bytes)"
    which = (
        ", but not in the way that the contract specifies for an unknown job" if answer.status in _UNKNOWN_JOB else ""
    )
    return f"the Task Runner responded with HTTP {answer.status}{which}: {answer.said}"


def plain_text(text: str) -> str:
    """Return the text of a response that may be a web page.

    Cloud Run sends web pages when it refuses requests.
    """
    return " ".join(_TAG.sub(" ", text).split())


def _names_no_job(body: AnswerBody, job_id: str) -> bool:
    """Return True if the Task Runner itself reports an unknown job.

    Such a response is a JSON object without a job, or text that names the job. If the path is unknown, a proxy,
    gateway or web framework responds with a page, with text that lacks the job's id, or with nothing. Some of these
    responses quote the path.
    """
    if _PATH in body.text or _parse_state(body):
        return False
    is_page = body.text.lstrip()[:1] == "<"
    is_named = len(job_id) >= _LEAST_NAME and re.search(rf"(?<!\w){re.escape(job_id)}(?!\w)", body.text) is not None
    return body.is_object or (is_named and not is_page)


def _quotes_delete(answer: Answer, job_id: str) -> bool:
    """Return True if the response says that DELETE is not supported.

    Some web frameworks respond with HTTP 404 instead of 405, and quote the method. Proxies and gateways do not.
    """
    return "DELETE" in answer.body.text.replace(job_id, "")


def _parse_state(body: AnswerBody) -> str:
    """Return the state of the job that a response describes.

    Returns "" if there is none.
    """
    state = None if body.job is None else body.job.get("state")
    return state.strip() if isinstance(state, str) else ""


def _parse_job(body: AnswerBody, tokens: Sequence[str]) -> JobAnswer | None:
    """Return the job that a response describes, if it has a state."""
    state = _parse_state(body)
    if body.job is None or not state:
        return None
    message = body.job.get("message")
    if message is None:
        message = ""
    elif not isinstance(message, str):
        try:
            message = json.dumps(message, ensure_ascii=False)
        except RecursionError:
            message = ""
    outputs, reason = JobOutputs(), None
    if has_ended(state):
        outputs, reason = body.outputs, body.job.get("reason")
        # Unlike a message, outputs are not masked: steps that read a masked output would mistake it for the one that
        # the job returned. A name quoted in their own problem is checked as well.
        shown = outputs.text or outputs.problem
        if mask_tokens(shown, tokens) != shown:
            outputs = JobOutputs(problem=_NOT_TO_BE_STORED)
    return JobAnswer(
        job_id=_parse_id(body.job.get("jobId"), tokens),
        state=_mask_and_cut(state, tokens, MAX_JOB_STATE),
        # One character more than is kept shows that the message is cut.
        message=clip(_mask_and_cut(message, tokens, MAX_MESSAGE_LENGTH + 1)),
        outputs=outputs.text,
        outputs_problem=outputs.problem,
        reason=_mask_and_cut(" ".join(reason.split()), tokens, MAX_REASON_LENGTH) if isinstance(reason, str) else "",
        logs_url=_parse_logs_url(body.job["logsUrl"], tokens) if "logsUrl" in body.job else "",
        notifies=body.job.get("notifies") is True,
    )


def _parse_id(value: Any, tokens: Sequence[str]) -> str:
    """Return a job's id as text, or "" if it is unusable.

    It must be a string or a number that can be stored unchanged: an id that was cut, masked or corrected would identify
    a different job, or no job at all.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value)
    is_usable = len(text) <= MAX_JOB_ID and text == _drop_surrogates(text) and mask_tokens(text, tokens) == text
    return text if is_usable else ""


def _parse_logs_url(value: Any, tokens: Sequence[str]) -> str:
    """Return the address of a job's log.

    Returns "" if the address is not safe to open. It is never corrected, since a changed address would lead elsewhere.
    """
    if not isinstance(value, str) or len(value) > MAX_LOGS_URL or not _LOGS_URL.fullmatch(value):
        return ""
    try:
        has_host = bool(urlsplit(value).hostname)
    except ValueError:
        return ""
    # Printable characters exclude those that control a terminal or the direction of text.
    return value if has_host and value.isprintable() and mask_tokens(value, tokens) == value else ""


def _mask_and_cut(text: str, tokens: Sequence[str], most: int) -> str:
    """Remove the tokens from the text and cut it to `most` characters.

    Cutting may leave part of a token, so the result is masked again.
    """
    if not text:
        return text
    whole = mask_tokens(_drop_surrogates(text[: 3 * most]), tokens)
    return whole if len(whole) <= most else mask_tokens(whole[:most], tokens)[:most]


def _drop_surrogates(text: str) -> str:
    """Replace unpaired surrogates.

    JSON can express them, but they can be neither stored nor logged.
    """
    return text.encode("utf-8", "replace").decode()


def _parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the number of seconds that a Retry-After header asks for.

    The header may hold a number or a date; the result is None if it holds neither.
    """
    text = headers["Retry-After"].strip()
    try:
        seconds = float(text)
    except ValueError:
        # Measured by the server's own clock if the response has a date.
        there = _parse_date(headers.get("Date", "")) or datetime.now(UTC)
        until = _parse_date(text)
        return None if until is None else min(max((until - there).total_seconds(), 0.0), MAX_RETRY_AFTER_S)
    return min(seconds, MAX_RETRY_AFTER_S) if 0 <= seconds < float("inf") else None


def _parse_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
