"""The mock's HTTP interface: the contract's calls, and extra endpoints for tests.

Endpoints for tests: `GET /_log` (JSON lines), `GET /_counters`, `POST /_reset`, `PUT /_script` (YAML or JSON).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qs

from atom_emulator.http_protocol import Request, Response
from atom_emulator.task_runner.script import FaultKind
from atom_emulator.task_runner.script_file import InvalidScript, parse_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from atom_emulator.task_runner.call_log import CallLog
    from atom_emulator.task_runner.jobs import Answer, Jobs
    from atom_emulator.task_runner.script import Fault

_OK: Final = 200
_CALLS: Final = {"POST": "submit", "GET": "status", "DELETE": "stop"}
"""The names of the contract's calls by their methods."""

_WITHOUT_BODY: Final = frozenset({204, 205, 304})

_GARBAGE: Final = {
    FaultKind.HTML: Response(_OK, b"<html><body><h1>Service starting</h1></body></html>", "text/html"),
    FaultKind.NOT_JSON: Response(_OK, b'{"job": {"state": "RUNN'),
    FaultKind.EMPTY: Response(_OK, b""),
    FaultKind.WRONG_SHAPE: Response(_OK, b'{"status": "ok", "job": "started"}'),
}


FindRefusal: TypeAlias = "Callable[[Mapping[str, str]], tuple[int, str] | None]"
"""Returns the status and the reason with which a call with these headers is refused, or None if it is allowed."""


def allow_all(_headers: Mapping[str, str]) -> None:
    """Allow every call."""


class TaskRunnerService:
    """Answers requests. `now` returns seconds that never go back. `on_change` is called when a call changed a job."""

    def __init__(
        self,
        jobs: Jobs,
        log: CallLog,
        *,
        now: Callable[[], float] = time.monotonic,
        find_refusal: FindRefusal = allow_all,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._jobs = jobs
        self._log = log
        self._now = now
        self._find_refusal = find_refusal
        self._on_change = on_change
        self._counters: Counter[str] = Counter()
        self._routes: dict[tuple[str, str], Callable[[Request, str], Response]] = {
            ("POST", "/job"): self._submit,
            ("GET", "/jobstatus"): self._status,
            ("DELETE", "/job"): self._stop,
            ("GET", "/_log"): self._get_log,
            ("GET", "/_counters"): self._get_counters,
            ("POST", "/_reset"): self._reset,
            ("PUT", "/_script"): self._replace_script,
        }

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        path, _, query = request.target.partition("?")
        route = self._routes.get((request.method, path))
        if route is None:
            return _json_response(404, {"message": f"no such endpoint: {request.method} {path}"})
        refused = None if path.startswith("/_") else self._find_refusal(request.headers)
        return self._refuse(_CALLS[request.method], *refused) if refused else route(request, query)

    def _refuse(self, call: str, status: int, reason: str) -> Response:
        self._counters[f"{call} {status}"] += 1
        self._log.add(time=datetime.now(UTC).isoformat(), call=call, authorized=False, status=status, refused=reason)
        return _json_response(status, {"message": reason})

    def _submit(self, request: Request, _query: str) -> Response:
        try:
            job = json.loads(request.body)
        except ValueError:
            job = None
        key = request.headers.get("idempotency-key")
        answer = self._jobs.submit(job, key, self._now())
        self._on_change()
        fields = job if isinstance(job, dict) else {}
        self._record(
            "submit",
            request,
            answer,
            job_name=fields.get("job_name"),
            labels=fields.get("labels"),
            idempotency_key=key,
        )
        return encode_answer(answer)

    def _status(self, request: Request, query: str) -> Response:
        if key := _value_in(query, "key"):
            answer = self._jobs.look_up(key, self._now())
            self._record("lookup", request, answer, idempotency_key=key)
            return encode_answer(answer)
        answer = self._jobs.status(_value_in(query, "job_id"), self._now())
        self._record("status", request, answer)
        return encode_answer(answer)

    def _stop(self, request: Request, query: str) -> Response:
        answer = self._jobs.stop(_value_in(query, "job_id"), self._now())
        self._on_change()
        self._record("stop", request, answer)
        return encode_answer(answer)

    def _record(self, call: str, request: Request, answer: Answer, **fields: Any) -> None:
        fault = answer.fault
        outcome = fault.kind if fault is not None and fault.kind is not FaultKind.STATUS else answer.status
        self._counters[call] += 1
        self._counters[f"{call} {outcome}"] += 1
        self._log.add(
            time=datetime.now(UTC).isoformat(),
            call=call,
            **fields,
            authorized="authorization" in request.headers,
            status=answer.status,
            state=answer.state,
            job_id=answer.job_id,
            fault=fault.kind if fault else None,
        )

    def _get_log(self, _request: Request, _query: str) -> Response:
        return Response(_OK, self._log.lines().encode(), "application/x-ndjson")

    def _get_counters(self, _request: Request, _query: str) -> Response:
        return _json_response(_OK, dict(sorted(self._counters.items())))

    def _reset(self, _request: Request, _query: str) -> Response:
        self._jobs.reset()
        self._log.clear()
        self._counters.clear()
        return _json_response(_OK, {})

    def _replace_script(self, request: Request, _query: str) -> Response:
        try:
            self._jobs.script = parse_script(request.body.decode())
        except (InvalidScript, UnicodeDecodeError) as error:
            return _json_response(400, {"message": str(error)})
        return _json_response(_OK, {})


def _value_in(query: str, name: str) -> str:
    return parse_qs(query).get(name, [""])[0]


def encode_answer(answer: Answer) -> Response:
    """Encode an answer for the wire."""
    fault = answer.fault
    is_success = 200 <= answer.status < 300 and (fault is None or fault.kind is FaultKind.STATUS)  # noqa: PLR2004 - HTTP
    if is_success and answer.status not in _WITHOUT_BODY:
        looked_up = {"key": answer.key} if answer.key else {}
        if looked_up and not answer.state:
            return _json_response(answer.status, {**looked_up, "jobId": None}, delay_s=answer.delay_s)
        job: dict[str, Any] = {"state": answer.state, "jobId": answer.job_id, "message": answer.message}
        job |= {} if answer.outputs is None else {"outputs": answer.outputs}
        job |= {} if answer.reason is None else {"reason": answer.reason}
        job |= {} if answer.logs_url is None else {"logsUrl": answer.logs_url}
        job |= {"notifies": True} if answer.notifies else {}
        return _json_response(answer.status, {**looked_up, "job": job}, delay_s=answer.delay_s)
    if fault is not None:
        return _encode_fault(fault, answer.delay_s)
    return _json_response(answer.status, {"message": answer.message}, delay_s=answer.delay_s)


def _encode_fault(fault: Fault, delay_s: float) -> Response:
    if fault.kind is FaultKind.DROP:
        return Response(0, b"", delay_s=delay_s, drop=True)
    if fault.kind is FaultKind.STATUS:
        headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
        body = json.dumps({"message": f"HTTP {fault.status} as the script says"}).encode()
        if fault.status in _WITHOUT_BODY:
            body = b""
        return Response(fault.status, body, headers=headers, delay_s=delay_s)
    garbage = _GARBAGE[fault.kind]
    return Response(fault.status, garbage.body, garbage.content_type, delay_s=delay_s)


def _json_response(status: int, document: Any, *, delay_s: float = 0.0) -> Response:
    return Response(status, json.dumps(document).encode(), delay_s=delay_s)
