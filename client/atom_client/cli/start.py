"""`start`: ask a platform for a run, by a message, and tell the run's id before it is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import click

from atom_client.cli.local import PlatformChoice, check_url
from atom_client.cli.output import Output
from atom_client.cli.platform import connected, platform_of
from atom_client.cli.run import Running, RunOptions, refused, run_to_end
from atom_client.cli.sources import BUCKET_PREFIX, RunRequest, request_for
from atom_client.cli.validate import tell_warnings
from atom_client.deployment import environment, with_place
from atom_client.errors import Misuse
from atom_client.text import counted, name_of
from atom_client.views.as_json import dumped
from atom_workflows.coordinator.start import difference
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, run_record
from atom_workflows.errors import MalformedEvent, StoreError
from atom_workflows.handlers.entry import MAX_START_BODY
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.start import StartRequested, read_start_event
from atom_workflows.ports import Message

_LARGEST_MESSAGE: Final = MAX_START_BODY * 3 // 4 - 4_096
"""What is pushed is in base64, beside what Pub/Sub adds to the message."""

_DIFFERENCES: Final = {
    "params": "with other params (--param)",
    "labels": "with other labels (--label)",
    "tr_url": "with another Task Runner (--tr-url)",
}
"""What a run was started with otherwise than is asked for now; for anything else it is the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """What the user asked for; `labels` and `params` as `name=value`."""

    source: str
    key: str | None = None
    labels: Sequence[str] = ()
    params: Sequence[str] = ()
    task_runner_url: str | None = None
    wait: bool = False
    timeout_s: float | None = None
    as_json: bool = False


def start_run(options: StartOptions) -> int:
    """Publish the start message, and with `wait` follow the run to its end; the exit code."""
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout is for --wait; give both, or leave --timeout out")
    try:
        request = _request(options)
    except InvalidWorkflow as error:
        return refused(error, as_json=options.as_json)
    tell_warnings(request.warnings)
    body = request.message_body(options.task_runner_url)
    event = _checked(body)
    is_known = False if options.key is None else _find_the_same(request, event, options)
    if options.wait:
        return _followed(request, options, is_known=is_known)
    connected(environment()).bus.publish([Message(topic="start", body=body)])
    _tell(request, options, is_known=is_known)
    return 0


def _request(options: StartOptions) -> RunRequest:
    if options.task_runner_url is not None:
        check_url(options.task_runner_url)
    if options.key is not None and not options.key.strip():
        raise Misuse("--key is empty; give a text that names this run and no other, or leave it out")
    if options.source.startswith(BUCKET_PREFIX):
        require_object(options.source)
    request = request_for(options.source, options.key)
    return replace(request, labels=_pairs("--label", options.labels), params=_pairs("--param", options.params))


def require_object(path: str) -> tuple[str, str]:
    """The bucket and the object's name in a path; refuses a path without one of them."""
    bucket, _, name = path.removeprefix(BUCKET_PREFIX).partition("/")
    if not path.startswith(BUCKET_PREFIX) or not bucket or not name:
        raise Misuse(
            f"{name_of(path)} is not a path of the form gs://BUCKET/OBJECT, such as gs://BUCKET/workflows/nightly.yaml"
        )
    return bucket, name


def _pairs(option: str, written: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Misuse(f"{option} is {text!r:.100}; it must be NAME=VALUE")
        if name in pairs:
            raise Misuse(f"{option} names {name!r:.100} twice; leave one out")
        pairs[name] = value
    return pairs


def _checked(body: Mapping[str, Any]) -> StartRequested:
    """Return what the message asks for, read here as the start function will read it."""
    try:
        event = read_start_event(body, event_id="0")
    except MalformedEvent as error:
        raise Misuse(f"the start function would not take that: {error}") from error
    size = len(json.dumps(body, ensure_ascii=False).encode())
    if size > _LARGEST_MESSAGE:
        raise Misuse(
            f"the message would have {size:,} bytes, and the start function takes {_LARGEST_MESSAGE:,}; "
            "upload the file to a bucket and start it by its path"
        )
    return cast("StartRequested", event)  # It has no `type`, and so is no RunSeedRequested.


def _find_the_same(request: RunRequest, event: StartRequested, options: StartOptions) -> bool | None:
    """Return True if the key has started this run before, None if that cannot be read.

    Refuse a key that has started another one. An INVALID run does not count: the next start takes its place.
    """
    try:
        document = connected(environment()).store.get([run_path(request.run_id)])[0]
    except StoreError:
        return None  # Who may start runs need not be allowed to read them.
    if document is None or (run := run_record(document)).state is RunState.INVALID:
        return False
    if what := difference(run, event):
        file = f"of another {name_of(request.workflow_path)}, or of this one before it was changed"
        raise Misuse(
            f"--key {name_of(options.key)} has started run {run.id} {_DIFFERENCES.get(what, file)}; "
            "give each run a key of its own"
        )
    click.echo(f"Run {run.id} was started with this key before, so none is started now.", err=True)
    return True


def _followed(request: RunRequest, options: StartOptions, *, is_known: bool | None) -> int:
    choice = PlatformChoice(task_runner_url=options.task_runner_url)
    followed = RunOptions(
        source=options.source,
        choice=choice,
        as_json=options.as_json,
        timeout_s=options.timeout_s,
        more_json={"started_before": is_known},
    )
    running = Running(environment=platform_of(environment()))
    return run_to_end(running, request, followed, Output(aside=options.as_json))


def _tell(request: RunRequest, options: StartOptions, *, is_known: bool | None) -> None:
    if options.as_json:
        told = {"run": request.run_id, "key": request.run_key, "workflow_path": request.workflow_path}
        click.echo(dumped({**told, "started_before": is_known}))
        return
    size = f", {counted(len(request.step_ids), 'step')}" if request.step_ids else ""
    click.echo(f"Asked for run {request.run_id} of {name_of(options.source)}{size}.")
    click.echo(f"Look at it: `{with_place(f'runs show {request.run_id}')}`")
