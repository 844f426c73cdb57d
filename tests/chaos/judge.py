"""Judge whether a run ended as it should, and whether every job was submitted with reason."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Any, Final

from atom_emulator.platform.options import PartName
from chaos.submissions import SubmissionWatch
from chaos.tally import Fault, Tally
from chaos.workloads import Workload, is_frail
from support.call_log import calls_of, out_of_order

DONE: Final = "SUCCEEDED"
_OK: Final = 200
_CLOCK_S: Final = 0.2
"""Two processes that note the same moment do so at different times."""

_STORE_GIVES_UP_S: Final = 8.0
"""A hasty dispatcher that cannot record a job has given up by then."""

_LOSS: Final = ("no longer knows job", "its dispatcher died before it recorded", "may have started a job")
_KILLED: Final = frozenset({Fault.WORKER_KILLED, Fault.FUNCTION_KILLED})
_FORGOT: Final = frozenset({Fault.TASK_RUNNER_FORGOT})
_BROKEN: Final = frozenset({Fault.STALLED, Fault.REFUSED, Fault.CUT})


class Reason(StrEnum):
    """Why a job may be asked for once more."""

    ANSWERED_BADLY = "the Task Runner answered with an error"
    UNHEARD = "its answer was lost or late"
    DISPATCHER_KILLED = "the dispatcher was killed before it could record the job"
    STORE_SILENT = "the store did not let the dispatcher record the job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One `POST /job` as the Task Runner's log has it. `taken` says that a job was answered, and nothing spoilt."""

    key: str
    at: float
    job_id: str
    taken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run as it was found: its document, and those of all its steps, those of the compiler among them."""

    run_id: str
    workload: Workload
    run: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]
    forgotten: int = 0


@dataclass(slots=True)
class Verdict:
    """All that was found. `again` counts the jobs that were asked for once more, by reason.

    `findings` are about runs, each of which it names first, and `logged` are warnings that no fault explains.
    """

    findings: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    again: Counter[Reason] = field(default_factory=Counter)
    submitted: int = 0
    in_the_storm: int = 0
    twice: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Knows what was done to the platform until `calm_at`, and what the Task Runner's log holds, by run."""

    tally: Tally
    watch: SubmissionWatch
    log: Mapping[str, Sequence[str]]
    calm_at: float

    def judge(self, ended: Ended, verdict: Verdict) -> None:
        """Add the findings about one run to the verdict."""
        lines = self.log.get(ended.run_id, ())
        submissions = _by_key(lines)
        found = [*_wrong_ends(ended), *_wrong_counters(ended), *_wrong_places(ended), *_excess_attempts(ended)]
        order = ended.workload.order(ended.workload.ends(_lost_frail_steps(ended)))
        found += out_of_order(calls_of(ended.run_id, lines), order)
        found += [*_late_submissions(ended, submissions), *_unknown_keys(ended, submissions)]
        for key, asked in submissions.items():
            found += self._repetitions(key, asked, verdict)
        verdict.findings += [f"{ended.run_id} ({ended.workload.shape}): {what}" for what in found]
        verdict.submitted += len(submissions)
        verdict.in_the_storm += sum(asked[0].at < self.calm_at for asked in submissions.values())
        verdict.given_up += len(_lost_frail_steps(ended))

    def _repetitions(self, key: str, asked: Sequence[Submission], verdict: Verdict) -> Iterator[str]:
        verdict.twice += len({one.job_id for one in asked if one.job_id}) > 1
        for before, after in pairwise(one for one in asked if one.job_id):
            if before.job_id != after.job_id and not self._forgot(before.at, after.at):
                yield f"{key} was given the jobs {before.job_id} and {after.job_id}"
        for before, after in pairwise(asked):
            reason = self._reason(before, after.at)
            if reason is None:
                yield f"{key} was submitted again after {after.at - before.at:.2f} s for no reason"
            elif reason is not Reason.ANSWERED_BADLY and is_frail(key.split("/")[1]):
                yield f"{key} was submitted again, though onLost is fail and {reason}"
            else:
                verdict.again[reason] += 1

    def _forgot(self, since: float, until: float) -> bool:
        return self.tally.is_any(_FORGOT, PartName.TASK_RUNNER, since - _CLOCK_S, until)

    def _reason(self, before: Submission, again_at: float) -> Reason | None:
        since = before.at - _CLOCK_S
        if not before.taken:
            return Reason.ANSWERED_BADLY
        if self.watch.unheard_between(before.key, since, again_at):
            return Reason.UNHEARD
        if self.tally.is_any(_KILLED, PartName.DISPATCHER, since, again_at):
            return Reason.DISPATCHER_KILLED
        if self.tally.is_any(_BROKEN, PartName.FIRESTORE, since, min(again_at, before.at + _STORE_GIVES_UP_S)):
            return Reason.STORE_SILENT
        return None


def by_run(lines: Iterable[str]) -> dict[str, list[str]]:
    """Sort the lines of the Task Runner's log by run."""
    runs: defaultdict[str, list[str]] = defaultdict(list)
    run_of_job: dict[str, str] = {}
    for line in lines:
        entry = json.loads(line)
        job_id = entry.get("job_id", "")
        run_id = (entry.get("idempotency_key") or "").partition("/")[0] or run_of_job.get(job_id, "")
        if job_id:
            run_of_job.setdefault(job_id, run_id)
        runs[run_id].append(line)
    return runs


def _by_key(lines: Sequence[str]) -> dict[str, list[Submission]]:
    found: defaultdict[str, list[Submission]] = defaultdict(list)
    for entry in map(json.loads, lines):
        if entry["call"] == "submit":
            found[entry["idempotency_key"]].append(
                Submission(
                    key=entry["idempotency_key"],
                    at=datetime.fromisoformat(entry["time"]).timestamp(),
                    job_id=entry["job_id"],
                    taken=entry["status"] == _OK and entry["fault"] is None,
                )
            )
    return found


def _lost_frail_steps(ended: Ended) -> frozenset[str]:
    """Return the frail steps that failed because a job was lost.

    Their message says that the job, or its dispatcher, was lost.
    """
    return frozenset(
        step
        for step, fields in ended.steps.items()
        if is_frail(step) and fields["state"] == "FAILED" and any(sign in fields["message"] for sign in _LOSS)
    )


def _wrong_ends(ended: Ended) -> Iterator[str]:
    expected = ended.workload.ends(_lost_frail_steps(ended))
    found = {step: fields["state"] for step, fields in ended.steps.items() if not step.startswith("~")}
    for step in sorted(expected.keys() | found.keys()):
        if found.get(step) != expected.get(step):
            message = ended.steps.get(step, {}).get("message", "")
            yield f"{step} is {found.get(step)} instead of {expected.get(step)}: {message}"
    failed = ended.workload.failed(expected)
    state = "FAILED" if failed else DONE
    if ended.run.get("state") != state:
        yield f"the run is {ended.run.get('state')} instead of {state}"
    named = {error["step"] for error in ended.run.get("errors", ())}
    if named != failed:
        yield f"its errors name {sorted(map(str, named))} instead of {sorted(failed)}"


def _wrong_counters(ended: Ended) -> Iterator[str]:
    """Yield counters that contradict the states, and due times left over."""
    for step, fields in ended.steps.items():
        unsuccessful = sum(_counts_as_failure(ended.steps[need]) for need in fields.get("depends_on", ()))
        counted = (fields.get("remaining", 0), fields.get("unsuccessful", 0))
        if counted != (0, unsuccessful):
            yield f"{step} has {counted} remaining and unsuccessful; its dependencies say (0, {unsuccessful})"
        if fields.get("due_at") is not None:
            yield f"{step} has ended and is still due at {fields['due_at']}"


def _counts_as_failure(step: Mapping[str, Any]) -> bool:
    return step["state"] != DONE and not step.get("tolerated") and not step.get("by_choice")


def _wrong_places(ended: Ended) -> Iterator[str]:
    """Yield loops of which more items were at work than `maxParallel` allows, and places that were lost or made up."""
    for step, items in ended.workload.loops.items():
        held = [(one.get("claimed_at"), one.get("finished_at")) for item in items if (one := ended.steps.get(item))]
        most, limit = most_at_once(held), ended.workload.more[step]["maxParallel"]
        if most > limit:
            yield f"{most} items of {step} were at work at the same time, at most {limit} are right"
    for name, fields in ended.steps.items():
        if fields.get("kind") == "places":
            items = sum(one.get("shard") == name for one in ended.steps.values())
            if fields["next"] != fields["places"] + items:
                yield f"{name} handed out {fields['next']} places; it had {fields['places']}, and {items} items ended"


def most_at_once(spans: Iterable[tuple[Any, Any]]) -> int:
    """Return how many spans overlap at the most. Each ends before one begins at that time."""
    edges = sorted(edge for since, until in spans if since and until for edge in ((since, 1), (until, -1)))
    return max(accumulate((change for _, change in edges), initial=0))


def crowded_groups(runs: Iterable[Ended], log: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield files of which more runs were at work than they allow: from the first job to the end of the run."""
    spans: defaultdict[tuple[str, int], list[tuple[Any, Any]]] = defaultdict(list)
    for one in runs:
        times = [json.loads(line)["time"] for line in log.get(one.run_id, ())]
        limit = one.workload.rules.get("concurrency", {}).get("limit")
        if limit is not None and times:
            since = datetime.fromisoformat(min(times))
            spans[one.workload.shape, limit].append((since, one.run.get("finished_at")))
    for (shape, limit), held in spans.items():
        if (most := most_at_once(held)) > limit:
            yield f"{most} runs ({shape}) were at work at the same time, at most {limit} are right"


def _excess_attempts(ended: Ended) -> Iterator[str]:
    for step in ended.workload.graph:
        attempts = ended.steps.get(step, {}).get("attempt", 0)
        most = ended.workload.most_attempts(step, ended.forgotten)
        if attempts > most:
            yield f"{step} was tried {attempts} times, at most {most} are right"


def _unknown_keys(ended: Ended, submissions: Iterable[str]) -> Iterator[str]:
    """Yield keys that no attempt had.

    With a new key, a Task Runner cannot know that it was asked before.
    """
    for key in submissions:
        step, attempt = key.split("/")[1:]
        attempts = ended.steps.get(step, {}).get("attempt", 0)
        if int(attempt) > attempts:
            yield f"{key} was submitted, but {step} was tried {attempts} times only"


def _late_submissions(ended: Ended, submissions: Mapping[str, Sequence[Submission]]) -> Iterator[str]:
    finished_at = ended.run.get("finished_at")
    last = max((one for asked in submissions.values() for one in asked), key=lambda one: one.at, default=None)
    if finished_at is not None and last is not None and last.at > finished_at.timestamp():
        yield f"{last.key} was submitted {last.at - finished_at.timestamp():.2f} s after the run had ended"
