"""The TaskRunner port over HTTP: one pooled session, bounded in time and in what it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

import requests
from requests.adapters import HTTPAdapter

from atom_workflows.errors import JobRefused, JobUnknown, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer

CONNECT_TIMEOUT_S: Final = 3.05
SUBMIT_TIMEOUT_S: Final = 60.0
STATUS_TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_QUOTED_TEXT: Final = 500
CONNECTIONS: Final = 64

_TOO_MANY_REQUESTS: Final = 429
_NOT_FOUND: Final = 404


class Tokens(Protocol):
    """Where the bearer token for an address comes from."""

    def token_for(self, base_url: str) -> str | None:
        """The token, None to send none; raises `TaskRunnerUnavailable` with what the user can do about it."""
        ...


class TaskRunnerClient:
    """Calls of the Task Runner's contract. Safe to use from several threads."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._session = requests.Session()
        # No cookies, no proxies, no .netrc: nothing of the machine's may change or leak into a call.
        self._session.trust_env = False
        adapter = HTTPAdapter(pool_connections=8, pool_maxsize=CONNECTIONS)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        response, text = self._call(
            "POST",
            f"{base_url}/job",
            base_url,
            timeout_s=SUBMIT_TIMEOUT_S,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Idempotency-Key": idempotency_key},
        )
        if 400 <= response.status_code < 500 and response.status_code != _TOO_MANY_REQUESTS:  # noqa: PLR2004 (HTTP)
            raise JobRefused(response.status_code, text[:MAX_QUOTED_TEXT] or "no reason given")
        return _answer(response, text)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        response, text = self._call(
            "GET",
            f"{base_url}/jobstatus",
            base_url,
            timeout_s=STATUS_TIMEOUT_S,
            params={"job_id": job_id},
            headers={},
        )
        if response.status_code == _NOT_FOUND:
            raise JobUnknown(job_id)
        return _answer(response, text)

    def _call(
        self, method: str, url: str, base_url: str, *, timeout_s: float, headers: dict[str, str], **more: Any
    ) -> tuple[requests.Response, str]:
        token = self._tokens.token_for(base_url)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            with self._session.request(
                method,
                url,
                headers=headers,
                timeout=(CONNECT_TIMEOUT_S, timeout_s),
                allow_redirects=False,
                stream=True,
                **more,
            ) as response:
                return response, _read(response)
        except requests.RequestException as error:
            raise TaskRunnerUnavailable(f"{base_url} gave no answer: {_reason(error)}") from error


def _read(response: requests.Response) -> str:
    """The answer's text, up to a limit: a Task Runner's answer is a few hundred bytes."""
    content = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
    if len(content) > MAX_ANSWER_BYTES:
        raise TaskRunnerUnavailable(f"the Task Runner answered more than {MAX_ANSWER_BYTES} bytes")
    return str(content, "utf-8", "replace")


def _answer(response: requests.Response, text: str) -> JobAnswer:
    if response.status_code != requests.codes.ok:
        quoted = " ".join(text.split())[:MAX_QUOTED_TEXT]
        raise TaskRunnerUnavailable(
            f"the Task Runner answered HTTP {response.status_code}: {quoted}",
            retry_after_s=_retry_after(response),
        )
    try:
        job = json.loads(text)["job"]
        job_id, state, message = job.get("jobId"), job["state"], job.get("message")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TaskRunnerUnavailable(
            f"the Task Runner's answer is not the contract's: {text[:MAX_QUOTED_TEXT]!r}"
        ) from error
    return JobAnswer(job_id=str(job_id or ""), state=str(state), message=str(message or ""))


def _retry_after(response: requests.Response) -> float | None:
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "the connection failed or was cut"
    return type(error).__name__
