"""Start a run from a file or a bucket, or preview it.

The message is the same as that of `start`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from flask import Blueprint, Response

from atom_client.console.actions import read_run_to_change
from atom_client.console.app import answer, this_console
from atom_client.console.files import TIME_FIELD, examine, read_scheduled
from atom_client.console.given import Given
from atom_client.errors import Failure, Misuse
from atom_client.planning.earlier_start import find_earlier_start, started_before_line
from atom_client.planning.params import GivenParams, pairs_of
from atom_client.planning.repairs import find_own_file, text_of
from atom_client.planning.requests import (
    GivenFile,
    RunRequest,
    check_message,
    request_for_file,
    request_for_object,
    require_object,
    warn_of_group,
)
from atom_client.text import name_of
from atom_client.views.param_forms import as_typed
from atom_client.views.queries import read_run
from atom_client.views.schedules import doubts_about_time
from atom_workflows.errors import (
    AtomWorkflowsError,
    InvalidParams,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
    SourceUnavailable,
)
from atom_workflows.expressions.types import Type
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.ports import Message

starts = Blueprint("starts", __name__)

Read = TypeVar("Read")


@starts.post("/start")
def start() -> Response:
    """Publish the start message, or say what it would start."""
    given = Given()
    asked = _Asked(given)
    if given.flag("dry_run"):
        return answer({**asked.shown(), "dry_run": True})
    request = asked.request()
    if request is None:
        raise Failure("the run cannot be started as requested; the preview shows why")
    if asked.path:
        given.require_seen(asked.generation, name_of(asked.path))
    body = request.message_body(None)
    services = this_console().services
    earlier = find_earlier_start(services.store, request, check_message(body), names_options=False)
    if not earlier.is_started:
        services.bus.publish([Message(topic="start", body=body)])
    said = f"Requested run {request.run_id}{request.size}."
    if earlier.is_started:
        said = started_before_line(request.run_id)
    ids = {"run_id": request.run_id, "run": request.run_id, "key": request.run_key}
    return answer({**ids, "started_before": earlier.is_started, "lines": [said]})


@starts.get("/starts/<run_id>")
def look_for_run(run_id: str) -> Response:
    """Say whether the platform has begun the run with exactly this id.

    Reads only one document, since a page asks repeatedly after a start.
    """
    return answer({"run_id": run_id, "has_begun": read_run(this_console().services.store, run_id) is not None})


@starts.get("/runs/<run_id>/start")
def show_again(run_id: str) -> Response:
    """Respond with what a run was given, for starting its file again.

    Its key, its time and any defaulted parameters are left out.
    """
    services, run = this_console().services, read_run_to_change(run_id)
    path = "" if run.source.get("inline") else str(run.source.get("path", ""))
    found: dict[str, Any] = {"run_id": run.id, "path": path or None, "file": None, "problem": None}
    kinds: dict[str, Type] = {}
    try:
        if path:
            content, _ = services.source.read(path, None)
        else:
            own = find_own_file(services, run, advice="choose or paste the file")
            content = own.content
            found["file"] = {"name": own.name.rpartition("/")[2], "text": text_of(content, own.name)}
        kinds = {param.name: param.type for param in parse_workflow(content, filename=path).params}
    except InvalidWorkflow:
        # The preview says what is wrong with it.
        pass
    except (Misuse, AtomWorkflowsError) as error:
        found["problem"] = None if path else str(error)
    given = {name: value for name, value in run.params.items() if name not in run.defaulted}
    texts = {name: as_typed(value, kinds.get(name)) for name, value in given.items()}
    labels = [f"{name}={value}" for name, value in run.labels.items()]
    return answer({**found, "params": texts, "labels": labels})


class _Asked:
    """What the form asks for.

    Problems are collected with the names of the fields that they concern.
    """

    def __init__(self, given: Given) -> None:
        self._given = given
        self.problems: list[dict[str, str]] = []
        self.notes: list[str] = []
        self.generation = ""
        self.path = given.text("path").strip()
        self.file = self._read("path", self._read_object) if self.path else given.file()
        self.params = GivenParams(texts=given.named_texts("params"))
        self.labels = self._read("labels", lambda: pairs_of("the label", given.texts("labels"))) or {}
        self.examined: dict[str, Any] | None = None
        self.scheduled_at: datetime | None = None
        if self.file is not None:
            self.examined = self._examine(self.file)
        elif not self.path:
            self._add("file", "choose a workflow file, paste one, or give the path of one in a bucket")

    def shown(self) -> dict[str, Any]:
        """Return the preview."""
        request, lines = self.request(), list[str]()
        ids: dict[str, Any] = {"run_id": None, "key": None}
        if request is not None:
            ids = {"run_id": request.run_id, "key": request.run_key}
            earlier = self._read("key", lambda: self._find_earlier(request))
            lines = [earlier or f"This starts run {request.run_id}{request.size}."]
            lines += [*self.notes, *warn_of_group(request), *request.warnings]
            if (at := request.scheduled_at) is not None:
                now = this_console().services.clock.now()
                lines += doubts_about_time(at, at, None, now, name=TIME_FIELD)
        return {
            **ids,
            "check": self.examined,
            "problems": self.problems,
            "lines": lines,
            "can_start": request is not None and not self.problems,
            "seen": self.generation,
        }

    def request(self) -> RunRequest | None:
        """Return the request for the run, or None if it has problems."""
        if self.problems or (self.file is None and not self.path):
            return None
        key = self._given.text("key").strip() or None
        try:
            request = self._request(key)
        except (InvalidWorkflow, InvalidParams):
            # The examination of the file says what is wrong.
            return None
        if self.examined is None:
            self._read_time(None)
        request = replace(request, scheduled_at=self.scheduled_at, no_queue=self._given.flag("no_queue"))
        event = self._read("request", lambda: check_message(request.message_body(None)))
        return None if event is None else request

    def _request(self, key: str | None) -> RunRequest:
        if self.file is None:
            return request_for_object(self.path, key, params=self.params, labels=self.labels)
        read = request_for_file(self.file, key, params=self.params, labels=self.labels)
        if not self.path:
            return read
        # The functions read the file themselves: the generation that the preview is about.
        return replace(read, workflow_path=self.path, definition=None, generation=self.generation)

    def _read_object(self) -> GivenFile | None:
        require_object(self.path)
        try:
            content, self.generation = this_console().services.source.read(self.path, None)
        except (SourceNotFound, SourceTooLarge) as error:
            raise Misuse(str(error)) from error
        except SourceForbidden:
            self.notes.append(f"This console may not read {name_of(self.path)}, so only the platform will check it.")
            return None
        except SourceUnavailable as error:
            self.notes.append(f"The file cannot be read from here ({error}), so only the platform will check it.")
            return None
        return GivenFile(content=content, name=self.path)

    def _examine(self, file: GivenFile) -> dict[str, Any]:
        found = examine(file, self.params, start_at=self._read_time)
        if found["findings"] and not found["valid"]:
            self._add("file", "the file has problems")
        for problem in found["param_problems"]:
            self._add("params", problem["message"])
        return found

    def _read_time(self, zone: str | None) -> datetime | None:
        text = self._given.text("scheduled_at")
        self.scheduled_at = self._read("scheduled_at", lambda: read_scheduled(text, zone))
        return self.scheduled_at

    def _find_earlier(self, request: RunRequest) -> str:
        event = check_message(request.message_body(None))
        earlier = find_earlier_start(this_console().services.store, request, event, names_options=False)
        return started_before_line(request.run_id) if earlier.is_started else ""

    def _read(self, field: str, read: Callable[[], Read]) -> Read | None:
        """Return what `read` returns, or add its error to the problems."""
        try:
            return read()
        except Misuse as error:
            self._add(field, error.message)
            return None

    def _add(self, field: str, message: str) -> None:
        self.problems.append({"field": field, "message": message})
