"""The mock Task Runner's log of calls, and whether what it tells of a run keeps the promises."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Edges: TypeAlias = Mapping[str, Sequence[str]]
"""Each step and what it depends on."""

_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that concerns a run, in the order in which calls came in. `state` is what was answered."""

    kind: str
    step: str
    attempt: int
    status: int
    state: str
    key: str = ""
    spoilt: bool = False

    @property
    def is_submission(self) -> bool:
        """Whether a job was asked for."""
        return self.kind == "submit"

    @property
    def is_accepted(self) -> bool:
        """Whether a job was asked for, taken, and the answer sent whole."""
        return self.is_submission and self.status == _OK and not self.spoilt

    @property
    def tells_success(self) -> bool:
        """Whether the answer said that the step's job has succeeded."""
        return self.status == _OK and not self.spoilt and self.state == "SUCCEEDED"


def calls_of(run_id: str, lines: Iterable[str]) -> list[Call]:
    """The calls for that run, from the log's lines; a status call is told by the job that it asks for."""
    found: list[Call] = []
    jobs: dict[str, Call] = {}
    for line in lines:
        entry = json.loads(line)
        call = _submission(entry, run_id) if entry["call"] == "submit" else _status(entry, jobs)
        if call is not None:
            found.append(call)
            if entry["job_id"]:
                jobs.setdefault(entry["job_id"], call)
    return found


def violations(calls: Sequence[Call], edges: Edges) -> list[str]:
    """What breaks the promises: a step without a job, an attempt with two, a job asked for before its time.

    For a run that succeeded with every step in its graph.
    """
    accepted = Counter((call.step, call.attempt) for call in calls if call.is_accepted)
    with_job = {step for step, _ in accepted}
    return [
        *(f"{step} was never submitted" for step in edges if step not in with_job),
        *(f"attempt {attempt} of {step} was submitted {n} times" for (step, attempt), n in accepted.items() if n > 1),
        *out_of_order(calls, edges),
    ]


def out_of_order(calls: Sequence[Call], edges: Edges) -> Iterator[str]:
    """Submissions that came before the Task Runner had told that everything they depend on succeeded."""
    succeeded: set[str] = set()
    for call in calls:
        if call.is_submission:
            if call.step not in edges:
                yield f"{call.step} is no step of the workflow"
            for need in edges.get(call.step, ()):
                if need not in succeeded:
                    yield f"{call.step} was submitted before {need} had succeeded"
        if call.tells_success:
            succeeded.add(call.step)


def submissions(calls: Iterable[Call]) -> Counter[str]:
    """How many jobs each step was given."""
    return Counter(call.step for call in calls if call.is_accepted)


def between_jobs(edges: Edges, without_task: Iterable[str]) -> dict[str, list[str]]:
    """The same graph without those steps: who depended on one depends on what it depended on.

    The steps must come after what they depend on.
    """
    passed = set(without_task)
    behind: dict[str, list[str]] = {}
    for step, needs in edges.items():
        resolved = [[need] if need not in passed else behind[need] for need in needs]
        behind[step] = list(dict.fromkeys(job for jobs in resolved for job in jobs))
    return {step: needs for step, needs in behind.items() if step not in passed}


def _submission(entry: Mapping[str, Any], run_id: str) -> Call | None:
    key = entry["idempotency_key"] or ""
    if not key.startswith(f"{run_id}/"):
        return None
    _, step, attempt = key.split("/")
    return _call(entry, step, int(attempt), key)


def _status(entry: Mapping[str, Any], jobs: Mapping[str, Call]) -> Call | None:
    job = jobs.get(entry["job_id"])
    return None if job is None else _call(entry, job.step, job.attempt, "")


def _call(entry: Mapping[str, Any], step: str, attempt: int, key: str) -> Call:
    return Call(
        kind=entry["call"],
        step=step,
        attempt=attempt,
        status=entry["status"],
        state=entry["state"],
        key=key,
        spoilt=entry["fault"] is not None,
    )
