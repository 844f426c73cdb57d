"""The workflow that a user names (a file, stdin or an object in a bucket), checked before anything is started."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from atom_client.errors import Misuse
from atom_client.text import counted, name_of
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.language.limits import MAX_FILE_BYTES
from atom_workflows.messages.fields import SCHEDULED_SCHEMA

if TYPE_CHECKING:
    from datetime import datetime

    from atom_client.cli.params import GivenParams
    from atom_workflows.core.workflow import JsonValue, Workflow

STDIN: Final = "-"
STDIN_NAME: Final = "stdin.yaml"
BUCKET_PREFIX: Final = "gs://"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A request for a run. For a file in a bucket, `workflow` is None, and `definition` and `warnings` are empty."""

    workflow_path: str
    run_key: str
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
        """The ids of the steps in file order; empty if the file was not read here."""
        return () if self.workflow is None else tuple(step.id for step in self.workflow.all_steps)

    @property
    def run_id(self) -> str:
        """The id that the start function will give the run."""
        return run_id_for(self.workflow_path, "key", self.run_key)

    @property
    def size(self) -> str:
        """The ending of a sentence, such as `, 3 steps`; it is empty if the file was not read here."""
        return f", {counted(len(self.step_ids), 'step')}" if self.step_ids else ""

    def message_body(self, task_runner_url: str | None) -> dict[str, Any]:
        """Return the start message."""
        optional: dict[str, Any] = {
            "definition": self.definition,
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


def request_for(
    source: str,
    run_key: str | None = None,
    *,
    params: GivenParams | None = None,
    labels: Mapping[str, str] | None = None,
    env_names: Collection[str] | None = None,
) -> RunRequest:
    """Return the request for a run of the given file.

    Without a key, the request is for a new run. `env_names` are the names that the platform sets for `env`, if known.
    Raises `InvalidWorkflow` or `InvalidParams` with every problem, and `Failure` for an unreadable file.
    """
    run_key, labels = run_key or uuid.uuid4().hex, labels or {}
    if source.startswith(BUCKET_PREFIX):
        return RunRequest(
            workflow_path=source, run_key=run_key, labels=labels, params=params.without_file() if params else {}
        )
    from atom_client.cli.params import checked_params, provisional_run  # noqa: PLC0415 (see below)
    from atom_client.views.task_warnings import warn_of_tasks  # noqa: PLC0415 (see above)
    from atom_workflows.language.parser import parse_workflow  # noqa: PLC0415 (not needed for a bucket's file)

    content = content_of(source)
    workflow = parse_workflow(content, filename=shown_name(source), env_names=env_names)
    request = RunRequest(
        warnings=(*workflow.warnings, *warn_of_tasks(workflow, file=shown_name(source))),
        workflow_path=STDIN_NAME if source == STDIN else Path(source).name,
        run_key=run_key,
        definition=content.decode("utf-8-sig"),
        workflow=workflow,
        labels=labels,
    )
    if params is None:
        return request
    run = provisional_run(workflow, labels=labels, run_id=request.run_id)
    return replace(request, params=checked_params(params, workflow, run))


def shown_name(source: str) -> str:
    """Return a file's name as shown in messages."""
    return "<stdin>" if source == STDIN else source


def content_of(source: str, *, what: str = "the name of the workflow file") -> bytes:
    """Read a file, stopping once it is too large.

    Error messages refer to `source` as `what`. Raises `Failure` if it cannot be read.
    """
    most = MAX_FILE_BYTES + 1  # A device or a pipe may never end.
    if source == STDIN:
        return sys.stdin.buffer.read(most)
    if not source:
        raise Misuse(f"{what} is empty")
    try:
        with Path(source).open("rb") as file:
            return file.read(most)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        advice = "" if what.startswith("--") else ". Name a workflow file."
        raise Misuse(f"{name_of(source)} cannot be read: {reason}{advice}") from error
    except ValueError as error:  # The name contains a null character.
        raise Misuse(f"{name_of(source)!r} is not a file name: {error}") from error


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
