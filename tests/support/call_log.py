"""The mock Task Runner's log of calls, and checks that the calls for a run keep the promises."""

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
        """True for a submission."""
        return self.kind == "submit"

    @property
    def is_accepted(self) -> bool:
        """True for a submission that was accepted and answered completely."""
        return self.is_submission and self.status == _OK and not self.spoilt

    @property
    def reports_success(self) -> bool:
        """True if the answer said that the step's job has succeeded."""
        return self.status == _OK and not self.spoilt and self.state == "SUCCEEDED"


def calls_of(run_id: str, lines: Iterable[str]) -> list[Call]:
    """Return the calls for that run.

    A status call belongs to the run of the job that it asks for.
    """
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
    """Return the broken promises of a run that succeeded.

    A step without a job, an attempt with two, or a job submitted before its time. Every step must be in its graph.
    """
    accepted = Counter((call.step, call.attempt) for call in calls if call.is_accepted)
    with_job = {step for step, _ in accepted}
    return [
        *(f"{step} was never submitted" for step in edges if step not in with_job),
        *(f"attempt {attempt} of {step} was submitted {n} times" for (step, attempt), n in accepted.items() if n > 1),
        *out_of_order(calls, edges),
    ]


def out_of_order(calls: Sequence[Call], edges: Edges) -> Iterator[str]:
    """Yield submissions that came before their dependencies had succeeded.

    A success counts once the Task Runner has reported it.
    """
    succeeded: set[str] = set()
    for call in calls:
        if call.is_submission:
            if call.step not in edges:
                yield f"{call.step} is no step of the workflow"
            for need in edges.get(call.step, ()):
                if need not in succeeded:
                    yield f"{call.step} was submitted before {need} had succeeded"
        if call.reports_success:
            succeeded.add(call.step)


def submissions(calls: Iterable[Call]) -> Counter[str]:
    """Return how many jobs each step was given."""
    return Counter(call.step for call in calls if call.is_accepted)


def between_jobs(edges: Edges, without_task: Iterable[str]) -> dict[str, list[str]]:
    """Return the graph without some steps.

    What depended on one of them depends on its dependencies instead. The steps must come after what they depend on.
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
