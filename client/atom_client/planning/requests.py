"""Requests for runs: start messages, checked before they are published."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from atom_client.errors import Misuse
from atom_client.text import counted, name_of
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.messages.fields import SCHEDULED_SCHEMA

if TYPE_CHECKING:
    from datetime import datetime

    from atom_client.planning.params import GivenParams
    from atom_workflows.core.workflow import JsonValue, Workflow
    from atom_workflows.messages.start import StartRequested

BUCKET_PREFIX: Final = "gs://"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A request for a run.

    A file that was not read here has no `workflow`.
    """

    workflow_path: str
    run_key: str
    # The generation of the object; without it, the newest one is started.
    generation: str = ""
    definition: str | None = None
    workflow: Workflow | None = None
    warnings: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    # The time as of which the run is started, if that is not now.
    scheduled_at: datetime | None = None
    no_queue: bool = False

    @property
    def step_ids(self) -> tuple[str, ...]:
        """The ids of the steps in file order.

        Empty if the file was not read here.
        """
        return () if self.workflow is None else tuple(step.id for step in self.workflow.all_steps)

    @property
    def run_id(self) -> str:
        """The id that the start function will give the run."""
        return run_id_for(self.workflow_path, "key", self.run_key)

    @property
    def size(self) -> str:
        """The ending of a sentence, such as `, 3 steps`.

        Empty if the file was not read here.
        """
        return f", {counted(len(self.step_ids), 'step')}" if self.step_ids else ""

    def message_body(self, task_runner_url: str | None) -> dict[str, Any]:
        """Return the start message."""
        optional: dict[str, Any] = {
            "definition": self.definition,
            "generation": self.generation,
            "tr_url": task_runner_url,
            "labels": dict(self.labels),
            "params": dict(self.params),
            "no_queue": self.no_queue,
        }
        if self.scheduled_at is not None:
            # A function that does not know the field must not start the run as of now.
            optional |= {"scheduled_at": self.scheduled_at.isoformat(), "schema": SCHEDULED_SCHEMA}
        return {
            "workflow_path": self.workflow_path,
            "run_key": self.run_key,
            **{name: value for name, value in optional.items() if value},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFile:
    """A workflow file: its content, and its names in runs and messages."""

    content: bytes
    name: str
    shown: str = ""


def request_for_object(
    path: str, run_key: str | None = None, *, params: GivenParams | None = None, labels: Mapping[str, str] | None = None
) -> RunRequest:
    """Return the request for a run of a file in a bucket.

    The file is not read here.
    """
    values = params.without_file() if params else {}
    return RunRequest(workflow_path=path, run_key=run_key or uuid.uuid4().hex, labels=labels or {}, params=values)


def request_for_file(
    file: GivenFile,
    run_key: str | None = None,
    *,
    params: GivenParams | None = None,
    labels: Mapping[str, str] | None = None,
    env_names: Collection[str] | None = None,
) -> RunRequest:
    """Return the request for a run, including the file itself.

    Without a key, the request is for a new run. `env_names` are the names that the platform sets for `env`, if known.
    Raises `InvalidWorkflow` or `InvalidParams` with every problem.
    """
    from atom_client.planning.params import checked_params, provisional_run, warn_of_params  # noqa: PLC0415 (see below)
    from atom_client.views.task_warnings import warn_of_tasks  # noqa: PLC0415 (see below)
    from atom_workflows.language.parser import parse_workflow  # noqa: PLC0415 (not needed for a bucket's file)

    shown, labels = file.shown or file.name, labels or {}
    workflow = parse_workflow(file.content, filename=shown, env_names=env_names)
    request = RunRequest(
        warnings=(*workflow.warnings, *warn_of_tasks(workflow, file=shown)),
        workflow_path=file.name,
        run_key=run_key or uuid.uuid4().hex,
        definition=file.content.decode("utf-8-sig"),
        workflow=workflow,
        labels=labels,
    )
    if params is None:
        return request
    run = provisional_run(workflow, labels=labels, run_id=request.run_id)
    warnings = (*request.warnings, *warn_of_params(params, workflow))
    return replace(request, params=checked_params(params, workflow, run), warnings=warnings)


def warn_of_group(request: RunRequest) -> Iterator[str]:
    """Warn that `concurrency` counts local and uploaded files separately."""
    if request.workflow is not None and request.workflow.concurrency is not None:
        file = name_of(request.workflow_path)
        yield (
            f"`concurrency` counts this run together with runs of any local file named {file}, in any folder, but not "
            "with runs of an uploaded file; to count it with runs of an uploaded file, start gs://BUCKET/OBJECT"
        )


def check_message(body: Mapping[str, Any]) -> StartRequested:
    """Check the message exactly as the start function will check it."""
    from atom_workflows.errors import MalformedEvent  # noqa: PLC0415 (only to start a run)
    from atom_workflows.handlers.entry import MAX_START_BODY  # noqa: PLC0415 (see above)
    from atom_workflows.messages.start import read_start_event  # noqa: PLC0415 (see above)

    # Pub/Sub pushes a message in base64 and adds fields, so the pushed request is larger than the message.
    largest = MAX_START_BODY * 3 // 4 - 4_096
    try:
        event = read_start_event(body, event_id="0")
    except MalformedEvent as error:
        raise Misuse(f"the start function would refuse this: {error}") from error
    size = len(json.dumps(body, ensure_ascii=False).encode())
    if size > largest:
        raise Misuse(
            f"the message would be {size:,} bytes long, but the start function accepts at most {largest:,}; "
            "upload the file to a bucket and start it from there"
        )
    return cast("StartRequested", event)  # The body has no `type`, so it is not a RunSeedRequested.


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
