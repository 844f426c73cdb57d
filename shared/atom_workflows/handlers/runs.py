"""Handle requests to show, cancel or retry runs, or mark steps.

The start function serves these to anyone who may start runs; Cloud Run has already checked that. A dispatcher makes
the changes: a request that changes a run is answered with 202 once its command is published.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.run_commands import accept_command, read_run
from atom_workflows.coordinator.run_status import VERSION, run_status
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import (
    AtomWorkflowsError,
    BusUnavailable,
    MalformedEvent,
    MarkError,
    NewerVersion,
    NotAllowed,
    RunNotFound,
    RunStateError,
    SelectionError,
    StoreUnavailable,
)
from atom_workflows.handlers.delivery import Answer, json_answer
from atom_workflows.handlers.entry import RUNS_PATH
from atom_workflows.messages.fields import (
    ID,
    read_count,
    read_json_body,
    read_optional_flag,
    read_optional_object,
    read_optional_text,
    read_step_id,
    read_step_ids,
    require_storable,
    require_text,
    show,
)
from atom_workflows.messages.internal import CANCEL, MARK, RETRY, RunCommand

MAX_BODY: Final = 128 * 1024
"""Room for a reason of at most `MAX_REASON` characters, a hundred step ids or the outputs of a step, and a few short
fields. Escaped as ASCII, outputs may take up three times as many bytes as their limit allows."""

MAX_REASON: Final = 500
MAX_ACTOR: Final = 200
UNNAMED: Final = "an HTTP caller"
"""The actor on a local platform, where callers are not verified."""

_PARTS_OF_TOKEN: Final = 3
_MAX_TOKEN: Final = 16 * 1024
_PRINTABLE: Final = re.compile(r"[ -~]+")
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    CANCEL: frozenset({"reason", "now", "retries"}),
    RETRY: frozenset({"reason", "from", "only", "failed", "retries"}),
    MARK: frozenset({"reason", "step", "as", "outputs", "retries"}),
}
_ROUTES: Final = "GET /runs/RUN, POST /runs/RUN/cancel, POST /runs/RUN/retry and POST /runs/RUN/mark"

_STATUS: Final[Mapping[type[AtomWorkflowsError], HTTPStatus]] = {
    RunNotFound: HTTPStatus.NOT_FOUND,
    RunStateError: HTTPStatus.CONFLICT,
    SelectionError: HTTPStatus.CONFLICT,
    MarkError: HTTPStatus.CONFLICT,
    MalformedEvent: HTTPStatus.BAD_REQUEST,
    NewerVersion: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    BusUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Refused(Exception):
    """A request refused with this status, for this reason."""

    def __init__(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def on_run_request(services: Services, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> Answer:
    """Handle a request whose path begins with `/runs`.

    The names in `headers` are in lower case. The status is 200 or 202 or, with the reason, 400, 401, 404, 405, 409, 415
    or 503.
    """
    try:
        run_id, command = read_route(method, path)
        actor = require_caller(services, headers)
        if not command:
            return json_answer(HTTPStatus.OK, run_status(read_run(services, run_id)))
        options = read_options(command, headers, raw)
        seen = options.pop("retries")
        accept_command(services, RunCommand(run_id, command, retries=0, actor=actor, **options), retries=seen)
    except Refused as refused:
        text, status, answered = _refuse(refused.status, refused)
        return text, status, {**answered, **refused.headers}
    except tuple(_STATUS) as error:
        return _refuse(next(status for kind, status in _STATUS.items() if isinstance(error, kind)), error)
    location = f"{RUNS_PATH}/{run_id}"
    body = {"version": VERSION, "run_id": run_id, "command": command, "status_path": location}
    text, status, answered = json_answer(HTTPStatus.ACCEPTED, body)
    return text, status, {**answered, "Location": location}


def read_route(method: str, path: str) -> tuple[str, str]:
    """Return the run and the command that a request names.

    The command is "" if the run is only to be shown.
    """
    run_id, _, command = path.removeprefix(RUNS_PATH).removeprefix("/").partition("/")
    if not ID.fullmatch(run_id) or (command and command not in _FIELDS):
        raise Refused(HTTPStatus.NOT_FOUND, f"there is nothing at {path!r:.80}; the valid requests are {_ROUTES}")
    allowed = "POST" if command else "GET"
    if method != allowed:
        reason = f"{path!r:.80} accepts only {allowed} requests, not {method!r:.20}; the valid requests are {_ROUTES}"
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, reason, Allow=allowed)
    return run_id, command


def require_caller(services: Services, headers: Mapping[str, str]) -> str:
    """Return the caller's name for the record of a run's changes."""
    if not services.settings.verifies_callers:
        return UNNAMED
    if caller := verified_caller(headers):
        return caller
    reason = "the request has no identity token that names its sender: add the header Authorization: Bearer TOKEN"
    raise Refused(HTTPStatus.UNAUTHORIZED, reason, WWW_Authenticate="Bearer")


def verified_caller(headers: Mapping[str, str]) -> str:
    """Return the caller's e-mail address, or "" if no token names one.

    Cloud Run has already verified the token and removed its signature. If a request has both headers, Cloud Run looks
    only at `X-Serverless-Authorization`, so `Authorization` could say anything.
    """
    header = headers.get("x-serverless-authorization") or headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != _PARTS_OF_TOKEN or len(token) > _MAX_TOKEN:
        return ""
    try:
        claims = read_json_body(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (MalformedEvent, ValueError):
        return ""
    if not isinstance(claims, Mapping):
        return ""
    email, subject = claims.get("email"), claims.get("sub")
    named = email if claims.get("email_verified") is True else subject and f"account {subject}"
    if not isinstance(named, str) or len(named) > MAX_ACTOR or not _PRINTABLE.fullmatch(named):
        return ""
    return named


def read_options(command: str, headers: Mapping[str, str], raw: bytes) -> dict[str, Any]:
    """Read a command's options from its request body, which may be empty."""
    if raw and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # Forms on web pages cannot declare this.
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a request body needs the header Content-Type: application/json"
        )
    body = read_json_body(raw) if raw else {}
    if not isinstance(body, Mapping):
        raise MalformedEvent(f"the body of a {command} must be a JSON object, not {show(body)}")
    if unknown := sorted(body.keys() - _FIELDS[command]):
        # Without the field, the command might do something other than what the caller wants.
        known = ", ".join(sorted(_FIELDS[command]))
        raise MalformedEvent(f"a {command} has no field {show(unknown[0])}; its fields are {known}")
    return {
        "reason": require_storable("reason", read_optional_text(body, "reason", longest=MAX_REASON) or ""),
        "now": read_optional_flag(body, "now"),
        "first": read_step_ids(body, "from"),
        "only": read_step_ids(body, "only"),
        "failed": read_optional_flag(body, "failed"),
        "retries": None if body.get("retries") is None else read_count(body, "retries"),
        **(_read_mark(body) if command == MARK else {}),
    }


def _read_mark(body: Mapping[str, Any]) -> dict[str, str]:
    needed = {"step": 'the id of a step or of an item, such as "each[2]"', "as": '"succeeded" or "skipped"'}
    for name, expected in needed.items():
        value = body.get(name)
        if not isinstance(value, str) or not value:
            found = "is missing" if value is None else f"is {show(value)}"
            raise MalformedEvent(f"a mark's field {name} {found}; it must be {expected}")
    outputs = read_optional_object(body, "outputs")
    text = json.dumps(outputs, ensure_ascii=False, separators=(",", ":")) if outputs else ""
    return {"step": read_step_id(body, "step"), "state": require_text(body, "as"), "outputs": text}


def _refuse(status: HTTPStatus, reason: Exception) -> Answer:
    text = reason.by_http if isinstance(reason, NotAllowed) else str(reason)
    log.info("request.refused", text, status=int(status))
    return json_answer(status, {"error": text})
