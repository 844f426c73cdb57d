"""`start`: ask a platform for a run, by a message, and tell the run's id before it is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import click

from atom_workflows.cli.as_json import dumped
from atom_workflows.cli.connection import connected, platform_of
from atom_workflows.cli.failures import Misuse
from atom_workflows.cli.local import PlatformChoice, check_url
from atom_workflows.cli.output import Output
from atom_workflows.cli.place import environment, with_place
from atom_workflows.cli.run import Running, RunOptions, refused, run_to_end
from atom_workflows.cli.sources import BUCKET_PREFIX, RunRequest, request_for
from atom_workflows.cli.text import counted, name_of
from atom_workflows.cli.validate import tell_warnings
from atom_workflows.documents import run_path, run_record
from atom_workflows.errors import MalformedEvent, StoreError
from atom_workflows.handlers.bodies import MAX_START_BODY
from atom_workflows.parsing.problems import InvalidWorkflow
from atom_workflows.ports import Message
from atom_workflows.start_events import read_start_event

_LARGEST_MESSAGE: Final = MAX_START_BODY * 3 // 4 - 4_096
"""What is pushed is in base64, beside what Pub/Sub adds to the message."""


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
    body = _checked(request.message_body(options.task_runner_url))
    if options.key is not None:
        _require_the_same(request, options)
    if options.wait:
        return _followed(request, options)
    connected(environment()).bus.publish([Message(topic="start", body=body)])
    _tell(request, options)
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


def _checked(body: dict[str, Any]) -> Mapping[str, Any]:
    """The message, if the start function can take it: it is read here as it will be there."""
    try:
        read_start_event(body, event_id="0")
    except MalformedEvent as error:
        raise Misuse(f"the start function would not take that: {error}") from error
    size = len(json.dumps(body, ensure_ascii=False).encode())
    if size > _LARGEST_MESSAGE:
        raise Misuse(
            f"the message would have {size:,} bytes, and the start function takes {_LARGEST_MESSAGE:,}; "
            "upload the file to a bucket and start it by its path"
        )
    return body


def _require_the_same(request: RunRequest, options: StartOptions) -> None:
    """Refuse a key that has started another workflow; say so if it has started this one."""
    try:
        document = connected(environment()).store.get([run_path(request.run_id)])[0]
    except StoreError:
        return  # Who may start runs need not be allowed to read them.
    if document is None:
        return
    run = run_record(document)
    if request.definition is not None and run.digest not in {"", sha256(request.definition.encode()).hexdigest()}:
        raise Misuse(
            f"--key {name_of(options.key)} has started run {run.id} of another {name_of(request.workflow_path)}, "
            "or of this one before "
            "it was changed; give each run a key of its own"
        )
    click.echo(f"Run {run.id} was started with this key before, so none is started now.", err=True)


def _followed(request: RunRequest, options: StartOptions) -> int:
    choice = PlatformChoice(task_runner_url=options.task_runner_url)
    followed = RunOptions(source=options.source, choice=choice, as_json=options.as_json, timeout_s=options.timeout_s)
    running = Running(environment=platform_of(environment()))
    return run_to_end(running, request, followed, Output(aside=options.as_json))


def _tell(request: RunRequest, options: StartOptions) -> None:
    if options.as_json:
        click.echo(dumped({"run": request.run_id, "key": request.run_key, "workflow_path": request.workflow_path}))
        return
    size = f", {counted(len(request.step_ids), 'step')}" if request.step_ids else ""
    click.echo(f"Asked for run {request.run_id} of {name_of(options.source)}{size}.")
    click.echo(f"Look at it: `{with_place(f'runs show {request.run_id}')}`")
