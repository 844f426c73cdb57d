"""`start`: request a run by sending a message to a platform, and print the run's id before the run exists."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, cast

import click

from atom_client.cli.local import PlatformChoice, check_url
from atom_client.cli.output import Output
from atom_client.cli.params import pairs_of, print_param_problems, read_given
from atom_client.cli.platform import connect_services, names_local_platform, platform_of
from atom_client.cli.run import Running, RunOptions, print_problems, run_to_end, warn_of_programs_on_platform
from atom_client.cli.sources import BUCKET_PREFIX, RunRequest, request_for
from atom_client.cli.validate import print_warnings
from atom_client.deployment import environment, with_place
from atom_client.errors import Misuse
from atom_client.text import name_of
from atom_client.views.as_json import json_text
from atom_client.views.queries import read_run
from atom_client.views.schedules import doubts_about_time
from atom_workflows.coordinator.start import difference
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.errors import InvalidParams, MalformedEvent, StoreError
from atom_workflows.expressions.times import find_zone, to_utc
from atom_workflows.handlers.entry import MAX_START_BODY
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.start import StartRequested, read_start_event
from atom_workflows.ports import Message
from atom_workflows.settings import from_environment
from atom_workflows.task_runner_urls import shown_url

_LARGEST_MESSAGE: Final = MAX_START_BODY * 3 // 4 - 4_096
"""Pub/Sub pushes a message in base64 and adds fields, so the pushed request is larger than the message."""

_DIFFERENCES: Final = {
    "params": "with different params (--param)",
    "labels": "with different labels (--label)",
    "tr_url": "with a different Task Runner (--tr-url)",
    "scheduled_at": "as of a different time (--at)",
    "no_queue": "with a different --no-queue setting",
}
"""How a run that was already started with a key can differ from the request. Any other difference is in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The options that the user gave.

    `labels` and `params` have the form `name=value`, and `params_file` may be stdin.
    """

    source: str
    key: str | None = None
    labels: Sequence[str] = ()
    params: Sequence[str] = ()
    params_file: str | None = None
    task_runner_url: str | None = None
    at: datetime | None = None
    wait: bool = False
    timeout_s: float | None = None
    no_queue: bool = False
    as_json: bool = False


def start_run(options: StartOptions) -> int:
    """Publish the start message and return the exit code.

    With `wait`, follow the run to its end.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    try:
        request = _request(options)
    except InvalidWorkflow as error:
        return print_problems(error, as_json=options.as_json)
    except InvalidParams as error:
        return print_param_problems(error, options.source, as_json=options.as_json)
    print_warnings((*request.warnings, *_warn_of_group(request)))
    warn_of_programs_on_platform(request.workflow)
    body = request.message_body(options.task_runner_url)
    earlier = _find_earlier(request, _checked(body), options)
    if options.wait:
        return _start_and_follow(request, options, earlier)
    connect_services(environment()).bus.publish([Message(topic="start", body=body)])
    if options.as_json:
        requested = {"run": request.run_id, "key": request.run_key, "workflow_path": request.workflow_path}
        click.echo(json_text({**requested, "started_before": earlier.is_started}))
    else:
        click.echo(f"Requested run {request.run_id} of {name_of(options.source)}{request.size}.")
        click.echo(f"To view it: `{with_place(f'runs show {request.run_id}')}`")
    return 0


def _request(options: StartOptions) -> RunRequest:
    if options.task_runner_url is not None:
        check_url(options.task_runner_url)
        place = environment()
        settings = from_environment(place)
        # A user may have exported only the emulators' addresses; in that case, the platform itself decides.
        is_listed = names_local_platform(place) and settings.task_runner_url
        if is_listed and not settings.may_use_task_runner(options.task_runner_url):
            url = shown_url(options.task_runner_url)
            raise Misuse(
                f"the local platform uses a different Task Runner than --tr-url {url}. Leave out --tr-url, or start a "
                f"platform that uses it: `atom-workflows local up --tr-url={shlex.quote(url)}`"
            )
    if options.key is not None and not options.key.strip():
        raise Misuse("--key is empty; give a key that identifies only this run, or leave --key out")
    if options.source.startswith(BUCKET_PREFIX):
        require_object(options.source)
    given = read_given(options.params, options.params_file, source=options.source)
    request = request_for(options.source, options.key, params=given, labels=pairs_of("--label", options.labels))
    return replace(request, scheduled_at=_as_of(options.at, request), no_queue=options.no_queue)


def _warn_of_group(request: RunRequest) -> Iterator[str]:
    """Warn that `concurrency` counts local and uploaded files separately."""
    if request.workflow is not None and request.workflow.concurrency is not None:
        file = name_of(request.workflow_path)
        yield (
            f"`concurrency` counts this run with those started from a local file named {file}, in any folder, but not "
            "with those of an uploaded file; to have it counted with those, start gs://BUCKET/OBJECT"
        )


def _as_of(at: datetime | None, request: RunRequest) -> datetime | None:
    """Return the run's scheduled time in UTC, if one was given."""
    if at is None:
        return None
    zone = None if request.workflow is None else request.workflow.timezone
    if at.tzinfo is None and zone is None:
        raise Misuse(
            "--at needs an offset such as Z or +01:00, as the timezone of a file in a bucket is not known here"
        )
    try:
        instant = to_utc(at if at.tzinfo or zone is None else at.replace(tzinfo=find_zone(zone)))
    except ValueError as error:
        raise Misuse(f"--at is {at.isoformat()}: {error}") from error
    print_warnings(list(doubts_about_time(at, instant, zone, datetime.now(UTC))))
    return instant


def require_object(path: str) -> tuple[str, str]:
    """Split a path into its bucket and its object.

    Rejects a path that lacks either.
    """
    bucket, _, name = path.removeprefix(BUCKET_PREFIX).partition("/")
    if not path.startswith(BUCKET_PREFIX) or not bucket or not name:
        raise Misuse(
            f"{name_of(path)} is not a path of the form gs://BUCKET/OBJECT, such as gs://BUCKET/workflows/nightly.yaml"
        )
    return bucket, name


def _checked(body: Mapping[str, Any]) -> StartRequested:
    """Check the message exactly as the start function will check it."""
    try:
        event = read_start_event(body, event_id="0")
    except MalformedEvent as error:
        raise Misuse(f"the start function would refuse this: {error}") from error
    size = len(json.dumps(body, ensure_ascii=False).encode())
    if size > _LARGEST_MESSAGE:
        raise Misuse(
            f"the message would be {size:,} bytes long, but the start function accepts at most {_LARGEST_MESSAGE:,}; "
            "upload the file to a bucket and start it from there"
        )
    return cast("StartRequested", event)  # The body has no `type`, so it is not a RunSeedRequested.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """The result of earlier starts with the same key.

    `is_started` is None if the run cannot be read. An INVALID run does not count as started: the next start replaces
    it.
    """

    is_started: bool | None = False
    invalid: RunRecord | None = None


def _find_earlier(request: RunRequest, event: StartRequested, options: StartOptions) -> _Earlier:
    """Look up the run that the key has already started.

    Rejects a key that belongs to a different run.
    """
    if options.key is None:
        return _Earlier()
    try:
        run = read_run(connect_services(environment()).store, request.run_id)
    except StoreError:
        return _Earlier(is_started=None)  # A user who may start runs may lack permission to read them.
    if run is None:
        return _Earlier()
    if run.state is RunState.INVALID:
        return _Earlier(invalid=run)
    if what := difference(run, event):
        file = f"of a different {name_of(request.workflow_path)}, or of this file before it was changed"
        raise Misuse(
            f"--key {name_of(options.key)} has already started run {run.id} {_DIFFERENCES.get(what, file)}; "
            "give each run its own key"
        )
    click.echo(f"Run {run.id} was already started with this key, so no new run is started.", err=True)
    return _Earlier(is_started=True)


def _start_and_follow(request: RunRequest, options: StartOptions, earlier: _Earlier) -> int:
    run_options = RunOptions(
        source=options.source,
        choice=PlatformChoice(task_runner_url=options.task_runner_url),
        as_json=options.as_json,
        timeout_s=options.timeout_s,
        superseded=earlier.invalid,
        more_json={"started_before": earlier.is_started},
    )
    running = Running(environment=platform_of(environment()))
    return run_to_end(running, request, run_options, Output(aside=options.as_json))
