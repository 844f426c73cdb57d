"""The HTTP interface: the contract's calls, and the jobs' logs.

The calls need the secret that the platform made for this Task Runner. A log is read in a browser, which has no secret:
its address cannot be guessed.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from atom_emulator.http_protocol import Request, Response
from atom_emulator.laptop_runner.jobs import Jobs
from atom_emulator.laptop_runner.records import RecordUnusable
from atom_workflows.errors import RequestRefused
from atom_workflows.runner.reports import refusal, to_lookup_response, unknown_job
from atom_workflows.runner.request import read_request

LOGS: Final = "/logs/"

_LOG_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class LaptopService:
    """Answers requests. With `only_run`, jobs of other runs are refused."""

    def __init__(self, jobs: Jobs, *, secret: str, only_run: str = "") -> None:
        self._jobs = jobs
        self._secret = secret.encode()
        self._only_run = only_run
        self._routes: dict[tuple[str, str], Callable[[Request, str], Response]] = {
            ("POST", "/job"): self._submit,
            ("GET", "/jobstatus"): self._status,
            ("DELETE", "/job"): self._stop,
        }

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        path, _, query = request.target.partition("?")
        if request.method == "GET" and path.startswith(LOGS):
            return self._log(path.removeprefix(LOGS))
        route = self._routes.get((request.method, path))
        if route is None:
            return _answer(HTTPStatus.NOT_FOUND, {"message": f"no such endpoint: {request.method} {path:.200}"})
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # Headers are Latin-1, so encoding them cannot fail.
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode("latin-1"), self._secret):
            return _answer(
                HTTPStatus.UNAUTHORIZED, {"message": "only the platform that started this server may call it"}
            )
        try:
            return route(request, query)
        except RecordUnusable as error:
            return _answer(*refusal(str(error)))
        except OSError as error:
            message = f"the job's record cannot be used now: {error.strerror or error}"
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, {"message": message}, {"Retry-After": "5"})

    def _submit(self, request: Request, _query: str) -> Response:
        try:
            job = read_request(request.headers, request.body)
        except RequestRefused as error:
            return _answer(*refusal(str(error)))
        if self._only_run and job.run_id != self._only_run:
            message = (
                f"this platform was started to run {self._only_run} only, so that no other file can run programs on "
                "this machine; `atom-workflows local up --runner …` starts one for all files"
            )
            # Not HTTP 403, to which the coordinator adds advice about accounts and roles.
            return _answer(*refusal(message))
        if problem := self._jobs.engine.find_refusal(job):
            return _answer(*refusal(problem))
        return _answer(*self._jobs.submit(job).to_response())

    def _status(self, _request: Request, query: str) -> Response:
        if key := _read_value(query, "key"):
            # A job's id is the key of its submission.
            report = self._jobs.find(key)
            return _answer(*to_lookup_response(key, report))
        job_id = _read_value(query, "job_id")
        report = self._jobs.find(job_id)
        return _answer(*(unknown_job(job_id) if report is None else report.to_response()))

    def _stop(self, _request: Request, query: str) -> Response:
        job_id = _read_value(query, "job_id")
        report = self._jobs.stop(job_id)
        return _answer(*(unknown_job(job_id) if report is None else report.to_response()))

    def _log(self, address: str) -> Response:
        files = self._jobs.log(address)
        if files is None:
            return Response(HTTPStatus.NOT_FOUND, b"There is no such log.\n", "text/plain; charset=utf-8")
        return Response(HTTPStatus.OK, files.read_log(), "text/plain; charset=utf-8", dict(_LOG_HEADERS))


def _read_value(query: str, name: str) -> str:
    return parse_qs(query).get(name, [""])[0]


def _answer(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps(document).encode(), headers=dict(headers or {}))
