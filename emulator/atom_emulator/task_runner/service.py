"""The mock's HTTP interface: the contract's two calls, and side doors for tests.

Side doors: `GET /_log` (JSON lines), `GET /_counters`, `POST /_reset`, `PUT /_script` (YAML or JSON).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qs

from atom_emulator.task_runner.http_protocol import Request, Response
from atom_emulator.task_runner.script import FaultKind
from atom_emulator.task_runner.script_file import InvalidScript, parse_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from atom_emulator.task_runner.call_log import CallLog
    from atom_emulator.task_runner.jobs import Answer, Jobs
    from atom_emulator.task_runner.script import Fault

_OK: Final = 200
_WITHOUT_BODY: Final = frozenset({204, 205, 304})

_GARBAGE: Final = {
    FaultKind.HTML: Response(_OK, b"<html><body><h1>Service starting</h1></body></html>", "text/html"),
    FaultKind.NOT_JSON: Response(_OK, b'{"job": {"state": "RUNN'),
    FaultKind.EMPTY: Response(_OK, b""),
    FaultKind.WRONG_SHAPE: Response(_OK, b'{"status": "ok", "job": "started"}'),
}


Refusal: TypeAlias = "Callable[[Mapping[str, str]], tuple[int, str] | None]"
"""Gives the status and the reason with which a call of these headers is refused, None if it is welcome."""


def welcome(_headers: Mapping[str, str]) -> None:
    """Refuse no call."""


class TaskRunnerService:
    """Answers requests. `now` gives seconds that only grow."""

    def __init__(
        self,
        jobs: Jobs,
        log: CallLog,
        *,
        now: Callable[[], float] = time.monotonic,
        refusal: Refusal = welcome,
    ) -> None:
        self._jobs = jobs
        self._log = log
        self._now = now
        self._refusal = refusal
        self._counters: Counter[str] = Counter()
        self._routes: dict[tuple[str, str], Callable[[Request, str], Response]] = {
            ("POST", "/job"): self._submit,
            ("GET", "/jobstatus"): self._status,
            ("GET", "/_log"): self._calls,
            ("GET", "/_counters"): self._counted,
            ("POST", "/_reset"): self._reset,
            ("PUT", "/_script"): self._replace_script,
        }

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        path, _, query = request.target.partition("?")
        route = self._routes.get((request.method, path))
        if route is None:
            return _json(404, {"message": f"there is no {request.method} {path}"})
        refused = None if path.startswith("/_") else self._refusal(request.headers)
        return self._refused(path, *refused) if refused else route(request, query)

    def _refused(self, path: str, status: int, reason: str) -> Response:
        call = "submit" if path == "/job" else "status"
        self._counters[f"{call} {status}"] += 1
        self._log.add(time=datetime.now(UTC).isoformat(), call=call, authorized=False, status=status, refused=reason)
        return _json(status, {"message": reason})

    def _submit(self, request: Request, _query: str) -> Response:
        try:
            job = json.loads(request.body)
        except ValueError:
            job = None
        key = request.headers.get("idempotency-key")
        answer = self._jobs.submit(job, key, self._now())
        fields = job if isinstance(job, dict) else {}
        self._note(
            "submit",
            request,
            answer,
            job_name=fields.get("job_name"),
            labels=fields.get("labels"),
            idempotency_key=key,
        )
        return response_to(answer)

    def _status(self, request: Request, query: str) -> Response:
        (job_id,) = parse_qs(query).get("job_id", [""])[:1]
        answer = self._jobs.status(job_id, self._now())
        self._note("status", request, answer)
        return response_to(answer)

    def _note(self, call: str, request: Request, answer: Answer, **fields: Any) -> None:
        self._counters[call] += 1
        self._counters[f"{call} {_outcome(answer)}"] += 1
        self._log.add(
            time=datetime.now(UTC).isoformat(),
            call=call,
            **fields,
            authorized="authorization" in request.headers,
            status=answer.status,
            state=answer.state,
            job_id=answer.job_id,
            fault=answer.fault.kind if answer.fault else None,
        )

    def _calls(self, _request: Request, _query: str) -> Response:
        return Response(_OK, self._log.lines().encode(), "application/x-ndjson")

    def _counted(self, _request: Request, _query: str) -> Response:
        return _json(_OK, dict(sorted(self._counters.items())))

    def _reset(self, _request: Request, _query: str) -> Response:
        self._jobs.reset()
        self._log.clear()
        self._counters.clear()
        return _json(_OK, {})

    def _replace_script(self, request: Request, _query: str) -> Response:
        try:
            self._jobs.script = parse_script(request.body.decode())
        except (InvalidScript, UnicodeDecodeError) as error:
            return _json(400, {"message": str(error)})
        return _json(_OK, {})


def _outcome(answer: Answer) -> str:
    if answer.fault is not None and answer.fault.kind is not FaultKind.STATUS:
        return answer.fault.kind
    return str(answer.status)


def response_to(answer: Answer) -> Response:
    """Encode an answer for the wire."""
    fault = answer.fault
    is_success = 200 <= answer.status < 300 and (fault is None or fault.kind is FaultKind.STATUS)  # noqa: PLR2004 - HTTP
    if is_success and answer.status not in _WITHOUT_BODY:
        job = {"state": answer.state, "jobId": answer.job_id, "message": answer.message}
        return _json(answer.status, {"job": job}, delay_s=answer.delay_s)
    if fault is not None:
        return _spoilt(fault, answer.delay_s)
    return _json(answer.status, {"message": answer.message}, delay_s=answer.delay_s)


def _spoilt(fault: Fault, delay_s: float) -> Response:
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


def _json(status: int, document: Any, *, delay_s: float = 0.0) -> Response:
    return Response(status, json.dumps(document).encode(), delay_s=delay_s)
