"""A fake of Batch: states in their order, names that are taken, quotas, cancelling and preemption.

The rules are those of https://cloud.google.com/batch/docs/reference/rest/v1/projects.locations.jobs and of its pages on
the states of jobs and on exit codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from support.google_jobs.containers import Bucket, Container, Decide, Json, Plan, Refusal, Time, stamp, succeed

_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
PREEMPTED: Final = 50001


@dataclass(slots=True, kw_only=True)
class BatchJob:
    """A job, and what will become of it."""

    document: Json
    plan: Plan
    created: datetime
    reported: set[str] = field(default_factory=set)
    events: list[Json] = field(default_factory=list)
    task_events: list[Json] = field(default_factory=list)
    state: str = "QUEUED"
    cancelled_at: datetime | None = None
    preempted_at: datetime | None = None

    @property
    def environment(self) -> Json:
        """The variables that its container gets, or {} if it has no container."""
        [group] = self.document["taskGroups"]
        environment: Json = group["taskSpec"].get("environment", {}).get("variables", {})
        return environment


@dataclass(slots=True)
class FakeBatch:
    """The jobs by their names. `notify` gets the topic and the attributes of each notification."""

    time: Time
    bucket: Bucket
    decide: Decide = succeed

    # What becomes of a job that runs no container.
    placeholder: Plan = field(default_factory=Plan)
    notify: Callable[[str, Json], None] = lambda _topic, _attributes: None
    jobs: dict[str, BatchJob] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def answer(self, method: str, path: str, query: Json, body: Any) -> Json:
        """Answer a request that the discovery document allows."""
        self.advance()
        *_, last = path.rsplit("/", 1)
        if self.refusals:
            raise self.refusals.pop(0)
        if method == "POST" and path.endswith("/jobs"):
            return self._create(path.removeprefix("/v1/"), query["jobId"], body)
        if "/taskGroups/" in path:
            return self._task(path.removeprefix("/v1/"))
        name, _, verb = last.partition(":")
        job = self._find(path.removeprefix("/v1/").partition(":")[0], name)
        if verb == "cancel":
            return self._cancel(job)
        return job.document

    def preempt(self, name: str) -> None:
        """Take the job's Spot VM away."""
        self.jobs[name].preempted_at = self.time.now()
        self.advance()

    def _create(self, collection: str, name: str, body: Json) -> Json:
        if not _NAME.fullmatch(name):
            raise Refusal(400, "INVALID_ARGUMENT", f"Job ID {name} is invalid")
        if name in self.jobs:
            raise Refusal(409, "ALREADY_EXISTS", f"Resource '{collection}/{name}' already exists")
        container = _container(body)
        plan = self.placeholder if container is None else self.decide(container)
        document = {
            **body,
            "name": f"{collection}/{name}",
            "uid": f"{name[:20]}-uid",
            "createTime": stamp(self.time.now()),
        }
        job = BatchJob(document=document, plan=plan, created=self.time.now())
        self.jobs[name] = job
        self._set(job, "QUEUED", self.time.now(), "Job is queued.")
        return job.document

    def _find(self, path: str, name: str) -> BatchJob:
        job = self.jobs.get(name)
        is_visible = job is not None and self.time.now() - job.created >= timedelta(seconds=job.plan.invisible_s)
        if job is None or not is_visible or job.document["name"] != path:
            raise Refusal(404, "NOT_FOUND", f"Resource '{path}' was not found")
        return job

    def _task(self, path: str) -> Json:
        parent, _, _ = path.partition("/taskGroups/")
        job = self._find(parent, parent.rpartition("/")[2])
        return {"name": path, "status": {"state": job.state, "statusEvents": job.task_events}}

    def _cancel(self, job: BatchJob) -> Json:
        if job.state in _TERMINAL:
            raise Refusal(400, "FAILED_PRECONDITION", f"Job is already in state {job.state}")
        if job.cancelled_at is None:
            job.cancelled_at = self.time.now()
        self.advance()
        return {"name": "projects/p/locations/r/operations/cancel", "done": False}

    def advance(self) -> None:
        """Bring every job to the state that its time has come to."""
        for job in self.jobs.values():
            self._advance(job)

    def _advance(self, job: BatchJob) -> None:
        """Bring the job to its state, through all states before it."""
        if job.state in _TERMINAL:
            return
        plan, now = job.plan, self.time.now()
        if job.preempted_at is not None:
            self._fail(job, job.preempted_at, PREEMPTED, " due to Spot VM preemption")
            return
        scheduled = job.created + timedelta(seconds=plan.waits_s)
        running = scheduled + timedelta(seconds=plan.prepares_s)
        ended = running + timedelta(seconds=plan.runs_s)
        if job.cancelled_at is not None and job.cancelled_at < ended:
            self._set(job, "CANCELLATION_IN_PROGRESS", job.cancelled_at, "Cancelling.")
            if now >= job.cancelled_at + timedelta(seconds=plan.cancels_s):
                self._set(job, "CANCELLED", now, "Cancelled.")
            return
        if now >= scheduled:
            self._set(job, "SCHEDULED", scheduled, "Job state is set from QUEUED to SCHEDULED.")
        if now >= running:
            self._set(job, "RUNNING", running, "Job state is set from SCHEDULED to RUNNING.")
        if now >= ended:
            self._end(job, ended)

    def _end(self, job: BatchJob, at: datetime) -> None:
        plan = job.plan
        code = 125 if plan.is_image_missing else plan.exit_code
        if code:
            self._fail(job, at, code, "")
            return
        task = job.document["taskGroups"][0]["taskSpec"]
        if plan.outputs is not None:
            volume = task["volumes"][0]
            assert volume["gcs"]["remotePath"]
            self.bucket.write_by_job(task["environment"]["variables"], volume["mountPath"], plan.outputs, at)
        self._set(job, "SUCCEEDED", at, "Job state is set from RUNNING to SUCCEEDED.")

    def _fail(self, job: BatchJob, at: datetime, code: int, why: str) -> None:
        text = f"Task state is updated from RUNNING to FAILED{why} with exit code {code}."
        job.task_events.append(
            {"eventTime": stamp(at), "description": text, "taskExecution": {"exitCode": code}, "taskState": "FAILED"}
        )
        self._set(job, "FAILED", at, f"Job failed due to task failures. For example: {text}")

    def _set(self, job: BatchJob, state: str, at: datetime, description: str) -> None:
        if state in job.reported:
            return
        job.reported.add(state)
        job.state = state
        job.events.append({"type": "STATUS_CHANGED", "eventTime": stamp(at), "description": description})
        job.document = {
            **job.document,
            "updateTime": stamp(at),
            "status": {"state": state, "statusEvents": list(job.events)},
        }
        for one in job.document.get("notifications", ()):
            if one["message"].get("newJobState", state) == state:
                attributes = {
                    "Type": "JOB_STATE_CHANGED",
                    "JobName": job.document["name"],
                    "JobUID": job.document["uid"],
                    "NewJobState": state,
                }
                self.notify(one["pubsubTopic"], attributes)


def _container(body: Json) -> Container | None:
    """Return the container of a job, or None if it runs a script on its machine."""
    task = body["taskGroups"][0]["taskSpec"]
    [runnable] = task["runnables"]
    if "script" in runnable:
        return None
    container = runnable["container"]
    return Container(
        image=container["imageUri"],
        args=container.get("commands", []),
        environment=task["environment"]["variables"],
    )
