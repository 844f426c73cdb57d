"""Answer the contract's calls and Batch's notices in the runner function.

A notice says that a job has ended, and becomes a hint to the coordinator. Since a job's own account may publish
notices, a notice is not trusted: it only says which job to look at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol

from atom_workflows import log
from atom_workflows.errors import BodyTooLarge, BusUnavailable, GoogleUnavailable, MalformedEvent
from atom_workflows.handlers.delivery import Answer, drop, json_answer, lower_names
from atom_workflows.handlers.entry import RequestBody, read_request_body
from atom_workflows.messages.envelope import ReceivedEvent, read_event
from atom_workflows.messages.internal import JobEnded, job_ended_message
from atom_workflows.ports import Message
from atom_workflows.runner.cloud.batch_engine import BatchEngine
from atom_workflows.runner.cloud.batch_requests import TERMINAL_STATES
from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.job_ids import Engine
from atom_workflows.runner.cloud.service import CloudRunner, ContractAnswer
from atom_workflows.runner.cloud.times import read_time
from atom_workflows.web_pages import explain_refusal

MAX_JOB_BODY: Final = 4 * 1024 * 1024
"""The maximum size of a submission, equal to that of a workflow file."""

MAX_NOTICE_BODY: Final = 64 * 1024

PATIENCE: Final = timedelta(minutes=1)
"""How long a notice is redelivered while its job does not appear to have ended."""

_JOB_NAME: Final = re.compile(
    r"projects/[^/]+/locations/(?P<region>[a-z]+-[a-z]+[0-9]{1,2})/jobs/(?P<name>aw-[0-9a-f]{40})"
)
_ACKNOWLEDGE: Final[Answer] = ("", HTTPStatus.NO_CONTENT, {})
_REDELIVER: Final[Answer] = ("", HTTPStatus.SERVICE_UNAVAILABLE, {})


class Request(RequestBody, Protocol):
    """The parts of a Flask request used here."""

    @property
    def method(self) -> str:
        """The method in upper case."""

    @property
    def path(self) -> str:
        """The path, which begins with a slash."""

    @property
    def args(self) -> Mapping[str, str]:
        """The first value of each query parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerServices:
    """The services that the runner function uses."""

    settings: CloudSettings
    runner: CloudRunner
    batch: BatchEngine
    publish: Callable[[Sequence[Message]], None]
    now: Callable[[], datetime]

    # Removes what ended jobs left behind; may do nothing, and never raises.
    sweep: Callable[[], None]


def answer_call(services: RunnerServices, headers: Mapping[str, str], request: Request) -> Answer:
    """Handle a request to the runner function."""
    lowered, hosts = lower_names(headers), services.settings.hosts
    with log.tracing(headers, services.settings.project):
        if reason := explain_refusal(lowered, hosts, advice=f"WORKFLOW_HOSTS allows {', '.join(hosts)}"):
            log.warning("request.refused", f"refused because {reason}")
            return json_answer(HTTPStatus.FORBIDDEN, {"message": reason})
        match request.method, request.path:
            case "POST", "/job":
                return _submit(services, headers, request)
            case "GET", "/jobstatus":
                return _show(services, request.args)
            case "DELETE", "/job":
                return _logged("job.stop", services.runner.stop(request.args.get("job_id", "")))
            case "POST", "/":
                return _notice(services, lowered, request)
        return json_answer(HTTPStatus.NOT_FOUND, {"message": f"no such endpoint: {request.method} {request.path:.100}"})


def _show(services: RunnerServices, args: Mapping[str, str]) -> Answer:
    """Answer a request for a job's status, or a lookup by key."""
    if key := args.get("key"):
        return _logged("job.lookup", services.runner.look_up(key))
    return _logged("job.status", services.runner.status(args.get("job_id", "")))


def _submit(services: RunnerServices, headers: Mapping[str, str], request: Request) -> Answer:
    try:
        body = read_request_body(request, MAX_JOB_BODY)
    except BodyTooLarge as error:
        return json_answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"message": str(error)})
    answer = services.runner.submit(headers, body)
    # Only Batch sends notices, which lead to sweeps otherwise. In a full region no submission succeeds until a sweep
    # makes room.
    if answer.job_id.startswith(Engine.CLOUD_RUN) or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        services.sweep()
    return _logged("job.submit", answer)


def _notice(services: RunnerServices, headers: Mapping[str, str], request: Request) -> Answer:
    """Publish a hint for the job that a notice names.

    If publishing fails, the notice is redelivered.
    """
    try:
        event = read_event(headers, read_request_body(request, MAX_NOTICE_BODY))
    except MalformedEvent as error:
        return drop(error)
    message = event.message if isinstance(event, ReceivedEvent) else None
    if message is None:
        return drop(MalformedEvent("the request contains no Pub/Sub message"))
    found = _JOB_NAME.fullmatch(message.attributes.get("JobName", ""))
    if found is None or message.attributes.get("NewJobState") not in TERMINAL_STATES:
        log.debug("notice.ignored", "the notice does not report that a job of this Task Runner has ended")
        return _ACKNOWLEDGE
    try:
        if key := services.batch.ended_key(found["region"], found["name"]):
            services.publish([job_ended_message(JobEnded(idempotency_key=key))])
            log.info("notice.passed_on", f"reported the end of {key}", job=found["name"])
        # A notice without a readable time counts as old.
        elif (sent := read_time(message.published_at)) is not None and services.now() - sent < PATIENCE:
            return _REDELIVER
    except (GoogleUnavailable, BusUnavailable) as error:
        log.warning("notice.failed", f"will be delivered again: {error}")
        return _REDELIVER
    services.sweep()
    return _ACKNOWLEDGE


def _logged(action: str, answer: ContractAnswer) -> Answer:
    """Log a response, and return it in the function's format."""
    job: Mapping[str, Any] = answer.body.get("job", {})
    text = f"{job.get('jobId')} is {job.get('state')}" if job else str(answer.body.get("message", ""))
    if answer.body.get("jobId", "") is None:
        job, text = answer.body, f"there is no job with the key {answer.body['key']}"
    write = log.info if job and action != "job.status" else log.debug if job else log.warning
    write(action, f"HTTP {int(answer.status)}: {text}")
    body, status, headers = json_answer(HTTPStatus(answer.status), answer.body)
    if answer.retry_after_s:
        headers = {**headers, "Retry-After": str(answer.retry_after_s)}
    return body, status, headers
