"""HTTP checks of the functions and of the Task Runner.

Only the platform may call the functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin

from atom_client.doctor.findings import Finding, ok, unknown, wrong
from atom_client.doctor.pubsub import PUSHED, Expected, SetUp
from atom_workflows.adapters.http import fetch_status
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.id_tokens import audience_in
from atom_workflows.adapters.task_runner.tokens import audience_of, tokens_for
from atom_workflows.errors import JobRefused, JobUnknown, TaskRunnerUnavailable
from atom_workflows.settings import Settings

_JOB: Final = "atom-workflows-doctor"
"""The id of a job that does not exist on any Task Runner, so that a query about it changes nothing."""

_CLOSED: Final[Mapping[int, str]] = {
    401: "refuses calls without a token",
    403: "refuses calls without a token",
    404: "cannot be called from outside",
}
_REFUSED: Final = frozenset({401, 403})

_NO_EVENT: Final = "/robots.txt"
"""A path that functions-framework handles itself; a request for any other path would be logged as a broken event."""

_OF_RUNNER: Final[Mapping[str, str]] = {"batch-notices": "runner"}
"""Maps the topic to the function of a deployment's own Task Runner."""

_FOR_ANOTHER: Final = "to check the token of `local up --tr-url`, set WORKFLOW_TR_AUTH_JWT; otherwise, ignore this"
_SERVER_ERROR: Final = 500
_NOT_FOUND: Final = 404
_FORM: Final = (
    "give the Task Runner's own address; docs/reference/task-runner.md defines the response for an unknown job"
)


def function_findings(there: SetUp, expected: Expected) -> Iterator[Finding]:
    """Check each function that events are pushed to.

    On a local platform, each must respond; in a deployment, none may accept a call without a token.
    """
    topic_of = {function: topic for topic, function in reversed({**PUSHED, **_OF_RUNNER}.items())}
    for function, topic in reversed(topic_of.items()):
        found = there.subscription(topic)
        if found is None or not found.endpoint:
            continue
        about, endpoint = f"function {function}", found.endpoint
        try:
            # In a deployment, the function itself must deny access to all callers.
            status = fetch_status(urljoin(endpoint, _NO_EVENT) if expected.is_local else endpoint)
        except TaskRunnerUnavailable as error:
            yield wrong(about, f"{endpoint} does not respond ({error.reason})", expected.fix_all)
            continue
        if expected.is_local:
            yield ok(about, f"{endpoint} responds")
        elif status in _CLOSED:
            yield ok(about, f"it exists and {_CLOSED[status]}")
        else:
            name, project = f"{expected.settings.topic_prefix}{function}", expected.settings.project
            close = (
                f"gcloud run services remove-iam-policy-binding {name} --project={project} "
                f"--region={expected.region} --member=allUsers --role=roles/run.invoker"
            )
            yield wrong(about, f"anyone can call {endpoint}: it returned HTTP {status} without a token", close)


def task_runner_findings(url: str, expected: Expected) -> Iterator[Finding]:
    """Check that the Task Runner responds and accepts the token.

    The token is created with this machine's credentials.
    """
    about = "Task Runner"
    if not url:
        yield unknown(about, "its URL is not known, as no run has been started yet", "give --tr-url")
        return
    try:
        status = fetch_status(f"{url.rstrip('/')}/jobstatus?job_id={_JOB}")
    except TaskRunnerUnavailable as error:
        fix = "start it, or give the functions the right URL"
        if expected.is_local:
            yield wrong(about, f"{url} does not respond ({error.reason})", fix)
        else:
            # A Task Runner may be reachable only from its own network.
            yield unknown(about, f"{url} does not respond to requests from this machine ({error.reason})", fix)
        return
    if status >= _SERVER_ERROR:
        yield wrong(about, f"{url} returns HTTP {status}", "check the Task Runner's log")
        return
    yield ok(about, f"{url} {'refuses calls without a token' if status in _REFUSED else 'responds'}")
    if expected.is_local and status in _REFUSED and not expected.settings.task_runner_token:
        # `local up` prints no secret, and a token of Google's would mean nothing to a Task Runner on this machine.
        yield unknown("token", "this shell does not know it; only the functions of the local platform do", _FOR_ANOTHER)
        return
    yield _check_token(url, expected.settings)


def _check_token(url: str, settings: Settings) -> Finding:
    about = "token"
    tokens = tokens_for(replace(settings, task_runner_url=url))
    try:
        token = tokens.token_for(url)
    except (JobRefused, TaskRunnerUnavailable) as error:
        # The functions use their own identity, for which this machine cannot create tokens.
        return unknown(about, f"no token can be created on this machine ({error})")
    if token is None:
        detail = "no token is sent, because WORKFLOW_TR_AUTH_JWT is none"
    else:
        audience, meant = audience_in(token), settings.task_runner_audience or audience_of(url)
        if audience not in {"", meant}:
            return wrong(about, f"it was issued for {audience}, not for {meant}", f"set WORKFLOW_TR_AUDIENCE={meant}")
        detail = f"it was issued for {audience}" if audience else "it names no audience"
    try:
        TaskRunnerClient(tokens).status(url, _JOB)
    except JobUnknown:
        pass  # The response was about the job, so the token was accepted.
    except TaskRunnerUnavailable as error:
        if error.status == _NOT_FOUND:
            # If this Task Runner lost a job, the job would be polled until its timeout.
            return wrong(about, f"{detail}, but the response may not be from the Task Runner: {error}", _FORM)
        return wrong(about, f"{detail}, but: {error}", "docs/how-to/tokens.md explains each refusal")
    return ok(about, f"{detail}, and the Task Runner accepts it")
