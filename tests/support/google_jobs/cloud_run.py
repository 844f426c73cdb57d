"""A fake of Cloud Run's jobs: one execution each, started by the job's token, and at most so many jobs.

The rules are those of https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from support.google_jobs.containers import Bucket, Container, Decide, Json, Plan, Refusal, Time, stamp, succeed

MAX_JOBS: Final = 1_000
_LONGEST_NAME: Final = 62
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LARGEST_MIB: Final = {"1": 4096, "2": 8192, "4": 16_384, "6": 24_576, "8": 32_768}
_TERMINAL: Final = frozenset({"EXECUTION_SUCCEEDED", "EXECUTION_FAILED", "EXECUTION_CANCELLED"})


@dataclass(slots=True, kw_only=True)
class RunJob:
    """A job, and what will become of it."""

    document: Json
    plan: Plan
    created: datetime
    cancelled_at: datetime | None = None
    status: str = ""
    ended: datetime | None = None

    @property
    def environment(self) -> Json:
        """The variables that its container gets, or {} if none is ever started."""
        if not self.document.get("startExecutionToken"):
            return {}
        [container] = self.document["template"]["template"]["containers"]
        return {one["name"]: one["value"] for one in container["env"]}


@dataclass(slots=True)
class FakeRun:
    """The jobs by their names."""

    time: Time
    bucket: Bucket
    decide: Decide = succeed

    # What becomes of a job that is created and not started.
    placeholder: Plan = field(default_factory=Plan)
    jobs: dict[str, RunJob] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    # True if the operation that creates a job says when the job was created.
    tells_creation: bool = True

    def answer(self, method: str, path: str, query: Json, body: Any) -> Json:
        """Answer a request that the discovery document allows."""
        self.advance()
        if self.refusals:
            raise self.refusals.pop(0)
        path = path.removeprefix("/v2/")
        if path.endswith("/jobs"):
            return self._create(path, query["jobId"], body) if method == "POST" else self._list(query)
        parts = path.partition(":")[0].split("/")
        job = self._find("/".join(parts[:6]), parts[5])
        if method == "DELETE":
            del self.jobs[parts[5]]
            return {"name": "projects/p/locations/r/operations/delete", "done": True}
        if path.endswith(":cancel"):
            return self._cancel(job)
        return self._tasks(job) if path.endswith("/tasks") else job.document

    def advance(self) -> None:
        """Bring every job to the state that its time has come to."""
        for job in self.jobs.values():
            self._advance(job)

    def _create(self, collection: str, name: str, body: Json) -> Json:
        token = body.get("startExecutionToken", "")
        if not _NAME.fullmatch(name) or len(name) + len(token) > _LONGEST_NAME:
            raise Refusal(400, "INVALID_ARGUMENT", f"job_id {name} is invalid")
        if name in self.jobs:
            raise Refusal(409, "ALREADY_EXISTS", f"Resource '{name}' already exists.")
        if len(self.jobs) >= MAX_JOBS:
            raise Refusal(429, "RESOURCE_EXHAUSTED", f"Quota exceeded: at most {MAX_JOBS} jobs")
        container = body["template"]["template"]["containers"][0]
        if "resources" in container:
            _check_size(**container["resources"]["limits"])
        environment = {one["name"]: one["value"] for one in container.get("env", ())}
        asked = Container(image=container["image"], args=container.get("args", []), environment=environment)
        # Without the token, the job is ready, but nothing runs.
        plan = self.decide(asked) if token else self.placeholder
        document = {**body, "name": f"{collection}/{name}", "createTime": stamp(self.time.now()), "reconciling": True}
        self.jobs[name] = RunJob(document=document, plan=plan, created=self.time.now())
        operation = {"name": f"{collection.rpartition('/')[0]}/operations/create", "done": False}
        return {**operation, "metadata": {"createTime": document["createTime"]}} if self.tells_creation else operation

    def _list(self, query: Json) -> Json:
        size, first = int(query.get("pageSize", 100)), int(query.get("pageToken", 0))
        names = sorted(self.jobs)
        page = {"jobs": [self.jobs[name].document for name in names[first : first + size]]}
        return {**page, "nextPageToken": str(first + size)} if first + size < len(names) else page

    def _find(self, path: str, name: str) -> RunJob:
        job = self.jobs.get(name)
        is_visible = job is not None and self.time.now() - job.created >= timedelta(seconds=job.plan.invisible_s)
        if job is None or not is_visible or job.document["name"] != path:
            raise Refusal(404, "NOT_FOUND", f"Resource '{path}' of kind 'JOB' does not exist.")
        return job

    def _cancel(self, job: RunJob) -> Json:
        if job.status in _TERMINAL:
            raise Refusal(400, "FAILED_PRECONDITION", "The execution has already completed.")
        job.cancelled_at = job.cancelled_at or self.time.now()
        return {"name": "projects/p/locations/r/operations/cancel", "done": False}

    def _tasks(self, job: RunJob) -> Json:
        plan = job.plan
        if job.status != "EXECUTION_FAILED":
            return {"tasks": [{"index": 0}]}
        message = plan.message or f"The container exited with an error: exit code {plan.exit_code}."
        ended = {"termSignal": plan.signal} if plan.signal else {"exitCode": plan.exit_code}
        return {"tasks": [{"index": 0, "lastAttemptResult": {"status": {"code": 2, "message": message}, **ended}}]}

    def _advance(self, job: RunJob) -> None:
        plan, now = job.plan, self.time.now()
        if job.status in _TERMINAL:
            return
        if "startExecutionToken" not in job.document:
            job.document["terminalCondition"] = {"type": "Ready", "state": "CONDITION_SUCCEEDED"}
            return
        started = job.created + timedelta(seconds=plan.waits_s)
        if plan.is_image_missing:
            if now >= started:
                message = f"Image '{job.document['template']['template']['containers'][0]['image']}' not found."
                job.document["terminalCondition"] = {
                    "type": "Ready",
                    "state": "CONDITION_FAILED",
                    "reason": "CONTAINER_MISSING",
                    "message": message,
                    "lastTransitionTime": stamp(started),
                }
            return
        running = started + timedelta(seconds=plan.prepares_s)
        ended = running + timedelta(seconds=plan.runs_s)
        if job.cancelled_at is not None and job.cancelled_at < ended:
            if now >= job.cancelled_at + timedelta(seconds=plan.cancels_s):
                self._set(job, "EXECUTION_CANCELLED", now)
        elif now >= ended:
            self._end(job, ended)
        elif now >= running:
            self._set(job, "EXECUTION_RUNNING", running)
        elif now >= started:
            self._set(job, "EXECUTION_PENDING", started)

    def _end(self, job: RunJob, at: datetime) -> None:
        plan = job.plan
        if plan.exit_code or plan.signal or plan.message:
            self._set(job, "EXECUTION_FAILED", at)
            return
        if plan.outputs is not None:
            [container] = job.document["template"]["template"]["containers"]
            environment = {one["name"]: one["value"] for one in container["env"]}
            self.bucket.write_by_job(environment, container["volumeMounts"][0]["mountPath"], plan.outputs, at)
        self._set(job, "EXECUTION_SUCCEEDED", at)

    def _set(self, job: RunJob, status: str, at: datetime) -> None:
        job.status = status
        name = job.document["name"]
        execution = f"{name}/executions/{name.rpartition('/')[2]}-{job.document['startExecutionToken']}"
        reference = {"name": execution, "completionStatus": status, "createTime": stamp(job.created)}
        if status in _TERMINAL:
            reference["completionTime"] = stamp(at)
        job.document["latestCreatedExecution"] = reference


def _check_size(cpu: str, memory: str) -> None:
    """Refuse more memory than this number of processors may have."""
    if int(memory.removesuffix("Mi")) > _LARGEST_MIB[cpu]:
        raise Refusal(400, "INVALID_ARGUMENT", f"Invalid value specified for cpu. For {memory}, {cpu} is too few.")
