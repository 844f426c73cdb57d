"""Create, show and cancel Batch jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from atom_workflows.errors import GoogleUnavailable, NotNow
from atom_workflows.runner.cloud import batch_answers, batch_requests
from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.failures import (
    BUSY_RETRY_S,
    is_taken,
    raise_for_submission,
    report_unseen,
    require_document,
)
from atom_workflows.runner.cloud.images import require_allowed
from atom_workflows.runner.cloud.job_ids import Engine, Place, name_of
from atom_workflows.runner.cloud.log_links import batch_log_link
from atom_workflows.runner.cloud.outputs_files import fetch
from atom_workflows.runner.cloud.placeholders import is_placeholder, placeholder_request, report_placeholder
from atom_workflows.runner.cloud.rest import GoogleRest, document_of
from atom_workflows.runner.reports import JobReport, JobState
from atom_workflows.runner.request import JobRequest


@dataclass(frozen=True, slots=True)
class BatchEngine:
    """The default engine."""

    rest: GoogleRest
    settings: CloudSettings

    def submit(self, request: JobRequest, now: datetime) -> JobReport:
        """Create the job, or find the one with the same key."""
        require_allowed(request.image, self.settings.image_prefixes)
        name = name_of(request.key, self.settings.topic_prefix)
        reply = self.rest.send(batch_requests.create_call(self.settings, request, name))
        if is_taken(reply):
            place = Place(engine=Engine.BATCH, region=self.settings.region, name=name, created=now)
            reply = self.rest.send(batch_requests.get_call(self.settings, place.region, name))
            if reply.status == HTTPStatus.NOT_FOUND:
                return report_unseen(place, now)
            require_document(reply, "Batch")
        else:
            raise_for_submission(reply, "Batch")
        return self._report(reply.document, self._place(reply.document, name, now))

    def status(self, place: Place, now: datetime) -> JobReport:
        """Return the job's state and outcome.

        Raises `JobNotFound` if there is no such job.
        """
        reply = self.rest.send(batch_requests.get_call(self.settings, place.region, place.name))
        if reply.status == HTTPStatus.NOT_FOUND:
            return report_unseen(place, now)
        require_document(reply, "Batch")
        return self._report(reply.document, place)

    def stop(self, place: Place, now: datetime) -> JobReport:
        """Cancel the job unless it has ended.

        Raises `NotNow` if the job is not visible yet, and so cannot be cancelled.
        """
        reply = self.rest.send(batch_requests.cancel_call(self.settings, place.region, place.name))
        if reply.status == HTTPStatus.NOT_FOUND:
            report_unseen(place, now)
            raise NotNow("the job is not visible in Batch yet, so it cannot be cancelled", retry_after_s=5)
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise NotNow(f"Batch responded with HTTP 429: {reply.message}", retry_after_s=BUSY_RETRY_S, is_busy=True)
        report = self.status(place, now)
        if not reply.is_ok and not report.state.is_terminal and report.state is not JobState.CANCELLING:
            raise GoogleUnavailable(f"Batch did not cancel the job: HTTP {reply.status}: {reply.message}")
        return report

    def look_up(self, key: str, now: datetime) -> JobReport | None:
        """Return the job with this key, or None if none is visible."""
        name = name_of(key, self.settings.topic_prefix)
        reply = self.rest.send(batch_requests.get_call(self.settings, self.settings.region, name))
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        require_document(reply, "Batch")
        return self._report(reply.document, self._place(reply.document, name, now))

    def take_key(self, key: str, now: datetime) -> JobReport:
        """Create a placeholder, or find the job with this key.

        Raises `NotNow` if a job has the key but is not visible yet.
        """
        name = name_of(key, self.settings.topic_prefix)
        reply = self.rest.send(batch_requests.placeholder_call(self.settings, placeholder_request(key), name))
        if is_taken(reply):
            found = self.look_up(key, now)
            if found is None:
                raise NotNow("Batch has a job with this key but does not show it yet", retry_after_s=5)
            return found
        require_document(reply, "Batch")
        # The key is taken whether or not this succeeds, but a placeholder that gets no machine costs nothing.
        document_of(self.rest, batch_requests.cancel_call(self.settings, self.settings.region, name))
        return self._report(reply.document, self._place(reply.document, name, now))

    def ended_key(self, region: str, name: str) -> str:
        """Return the idempotency key of a job that has ended.

        Returns "" if the job has not ended, does not exist, or does not belong to this Task Runner.
        """
        reply = self.rest.send(batch_requests.get_call(self.settings, region, name))
        if reply.status == HTTPStatus.NOT_FOUND:
            return ""
        require_document(reply, "Batch")
        return batch_answers.key_of(reply.document) if batch_answers.state_of(reply.document).is_terminal else ""

    def _place(self, job: Mapping[str, Any], name: str, now: datetime) -> Place:
        created = batch_answers.created_of(job, now)
        return Place(engine=Engine.BATCH, region=self.settings.region, name=name, created=created)

    def _report(self, job: Mapping[str, Any], place: Place) -> JobReport:
        if is_placeholder(job):
            return report_placeholder(place)
        state = batch_answers.state_of(job)
        message, reason, outputs = "", "", None
        if state is JobState.SUCCEEDED:
            found = fetch(self.rest, self.settings, place.name)
            message, outputs = found.problem, found.values
        elif state is JobState.FAILED:
            # The task has the exit code. Without it, the job's own events say the same in words.
            task = document_of(self.rest, batch_requests.task_call(self.settings, place.region, place.name))
            failure = batch_answers.failure_of(job, task)
            message, reason = failure.message, failure.reason
        elif state in {JobState.QUEUED, JobState.PREPARING}:
            message = batch_answers.waiting_message(job)
        return JobReport(
            job_id=place.job_id,
            state=state,
            message=message,
            reason=reason,
            outputs=outputs,
            logs_url=batch_log_link(self.settings.project, batch_answers.uid_of(job), str(job.get("createTime") or "")),
            notifies=bool(self.settings.notice_topic),
        )
