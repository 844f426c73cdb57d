"""Read a submission: the job, its arguments, and its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from atom_workflows.bounded_json import read_json
from atom_workflows.errors import RequestRefused

KEY_HEADER: Final = "idempotency-key"
TIMEOUT_HEADER: Final = "atom-job-timeout"

MAX_TIMEOUT: Final = timedelta(days=365)
"""Longer than any step may take, but far too short to overflow a date."""

_TEXTS: Final = ("imageUri", "engine", "url", "scaleTier", "masterType")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A submission of one attempt.

    Fields that the workflow leaves out are empty.
    """

    # The idempotency key, `run/step/attempt`, and its parts.
    key: str
    run_id: str
    step_id: str
    attempt: int

    # The workflow's label, such as `daily_sales`.
    workflow: str

    name: str
    image: str = ""
    engine: str = ""
    url: str = ""
    scale_tier: str = ""
    master_type: str = ""

    # The argument vector. Nothing in it is for a shell to interpret.
    argv: tuple[str, ...] = ()
    labels: Mapping[str, str]

    # The time that the attempt has, if the caller says so.
    timeout: timedelta | None = None


def read_request(headers: Mapping[str, str], body: bytes) -> JobRequest:
    """Read a submission from its headers and its body.

    Header names may have any case, and unknown fields are ignored. Raises `RequestRefused`, which leads to HTTP 400.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    key = by_name.get(KEY_HEADER, "")
    run_id, step_id, attempt = split_key(key)
    job = _read_object(body)
    labels = _read_labels(job.get("labels"))
    image, engine, url, scale_tier, master_type = (_read_text(job, field) for field in _TEXTS)
    return JobRequest(
        key=key,
        run_id=run_id,
        step_id=step_id,
        attempt=attempt,
        workflow=labels.get("workflow", ""),
        name=_read_text(job, "job_name") or step_id,
        image=image,
        engine=engine,
        url=url,
        scale_tier=scale_tier,
        master_type=master_type,
        argv=_read_argv(job.get("args")),
        labels=MappingProxyType(labels),
        timeout=_read_timeout(by_name.get(TIMEOUT_HEADER)),
    )


def split_key(key: str) -> tuple[str, str, int]:
    """Return the run, step and attempt of an idempotency key.

    Raises `RequestRefused` if the key is not in the expected format.
    """
    run_id, _, rest = key.partition("/")
    step_id, _, attempt = rest.rpartition("/")
    is_number = attempt.isascii() and attempt.isdecimal() and len(attempt) < 10  # noqa: PLR2004 (far more than any)
    if not (run_id and step_id and is_number and key.isprintable()):
        raise RequestRefused("send an Idempotency-Key of the form run/step/attempt, such as sales-1f2e/load/1")
    return run_id, step_id, int(attempt)


def job_environment(request: JobRequest, outputs_path: str) -> dict[str, str]:
    """Return the environment variables that every job gets.

    `outputs_path` is the path, as the job sees it, of the file to which the job may write its outputs.
    """
    return {
        "ATOM_RUN_ID": request.run_id,
        "ATOM_STEP_ID": request.step_id,
        "ATOM_ATTEMPT": str(request.attempt),
        "ATOM_WORKFLOW": request.workflow,
        "ATOM_OUTPUTS": outputs_path,
    }


def _read_object(body: bytes) -> Mapping[str, Any]:
    try:
        job = read_json(body)
    except ValueError as error:
        raise RequestRefused(f"the body must be a JSON object: {error}") from error
    if not isinstance(job, dict):
        raise RequestRefused("the body must be a JSON object")
    return job


def _read_text(job: Mapping[str, Any], field: str) -> str:
    value = job.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestRefused(f"{field} must be a string")
    return _require_usable(value, field)


def _read_labels(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise RequestRefused("labels must be a map of strings")
    return {_require_usable(name, "labels"): _require_usable(one, f"the label {name}") for name, one in value.items()}


def _read_argv(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list):
        words = [_as_word(one) for one in value]
    elif isinstance(value, dict):
        words = [f"--{name}={_as_word(one)}" for name, one in value.items()]
    else:
        raise RequestRefused("args must be a list or a map")
    return tuple(_require_usable(word, "args") for word in words)


def _as_word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _require_usable(text: str, field: str) -> str:
    """Return the text if it can be passed to a program.

    Text that contains NUL or unpaired surrogates cannot.
    """
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise RequestRefused(f"{field} contains a character that cannot be passed to a program")
    return text


def _read_timeout(text: str | None) -> timedelta | None:
    if text is None:
        return None
    # At most nine digits, since longer numbers do not fit into a timedelta.
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):  # noqa: PLR2004 (see above)
        raise RequestRefused("Atom-Job-Timeout must be a whole number of seconds, at least 1")
    return min(timedelta(seconds=int(text)), MAX_TIMEOUT)
