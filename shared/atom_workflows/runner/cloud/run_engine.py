"""Create, show and cancel Cloud Run jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from atom_workflows.errors import GoogleUnavailable, NotNow
from atom_workflows.runner.cloud import run_answers, run_requests
from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.failures import (
    BUSY_RETRY_S,
    is_taken,
    raise_for_question,
    raise_for_submission,
    report_unseen,
    require_document,
)
from atom_workflows.runner.cloud.images import require_allowed
from atom_workflows.runner.cloud.job_ids import Engine, Place, name_of
from atom_workflows.runner.cloud.log_links import cloud_run_log_link
from atom_workflows.runner.cloud.outputs_files import fetch
from atom_workflows.runner.cloud.placeholders import is_placeholder, placeholder_request, report_placeholder
from atom_workflows.runner.cloud.rest import GoogleRest, Reply, document_of
from atom_workflows.runner.reports import JobReport, JobState
from atom_workflows.runner.request import JobRequest


@dataclass(frozen=True, slots=True)
class CloudRunEngine:
    """The engine for tasks with `engine: cloud-run`.

    It sends no notifications, so its jobs are polled.
    """

    rest: GoogleRest
    settings: CloudSettings

    def submit(self, request: JobRequest, now: datetime) -> JobReport:
        """Create and start the job, or find one with the same key."""
        require_allowed(request.image, self.settings.image_prefixes)
        name = name_of(request.key, self.settings.topic_prefix)
        place = Place(engine=Engine.CLOUD_RUN, region=self.settings.region, name=name, created=now)
        reply = self.rest.send(run_requests.create_call(self.settings, request, name))
        if is_taken(reply):
            return self._show_existing(place, now)
        raise_for_submission(reply, "Cloud Run")
        created = run_answers.created_by(reply.document)
        if created is None:
            return self._show_existing(place, now)
        # The job's own time makes the id the one that a repeated submission is answered with.
        place = replace(place, created=created)
        return JobReport(job_id=place.job_id, state=JobState.QUEUED, logs_url=self._log_link(place))

    def status(self, place: Place, now: datetime) -> JobReport:
        """Return the job's state and outcome.

        Raises `JobNotFound` if there is no such job.
        """
        reply = self._get(place)
        if reply.status == HTTPStatus.NOT_FOUND:
            return report_unseen(place, now)
        return self._report(reply.document, place)

    def stop(self, place: Place, now: datetime) -> JobReport:
        """Cancel the job's execution unless it has ended.

        Raises `NotNow` if there is no execution yet.
        """
        reply = self._get(place)
        if reply.status == HTTPStatus.NOT_FOUND:
            report_unseen(place, now)
            raise NotNow("the job is not visible in Cloud Run yet, so it cannot be cancelled", retry_after_s=5)
        report = self._report(reply.document, place)
        if report.state.is_terminal:
            return report
        execution = run_answers.execution_name(reply.document)
        if not execution:
            raise NotNow("the job's execution does not exist yet, so it cannot be cancelled", retry_after_s=5)
        cancelled = self.rest.send(run_requests.cancel_call(self.settings, place.region, place.name, execution))
        if cancelled.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise NotNow(
                f"Cloud Run responded with HTTP 429: {cancelled.message}", retry_after_s=BUSY_RETRY_S, is_busy=True
            )
        if cancelled.is_ok:
            return JobReport(job_id=place.job_id, state=JobState.CANCELLING, logs_url=self._log_link(place))
        report = self.status(place, now)  # It may have ended in the meantime.
        if not report.state.is_terminal:
            raise GoogleUnavailable(
                f"Cloud Run did not cancel the job: HTTP {cancelled.status}: {cancelled.message or 'no message'}"
            )
        return report

    def look_up(self, key: str, now: datetime) -> JobReport | None:
        """Return the job with this key, or None if none is visible."""
        name = name_of(key, self.settings.topic_prefix)
        place = Place(engine=Engine.CLOUD_RUN, region=self.settings.region, name=name, created=now)
        reply = self._get(place)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        return self._report(reply.document, replace(place, created=run_answers.created_of(reply.document, now)))

    def take_key(self, key: str, now: datetime) -> JobReport:
        """Create a placeholder, or find the job with this key.

        Raises `NotNow` if a job has the key but is not visible yet.
        """
        name = name_of(key, self.settings.topic_prefix)
        place = Place(engine=Engine.CLOUD_RUN, region=self.settings.region, name=name, created=now)
        reply = self.rest.send(run_requests.placeholder_call(self.settings, placeholder_request(key), name))
        if is_taken(reply):
            found = self.look_up(key, now)
            if found is None:
                raise NotNow("Cloud Run has a job with this key but does not show it yet", retry_after_s=5)
            return found
        raise_for_question(reply, "Cloud Run")
        return report_placeholder(place)

    def _get(self, place: Place) -> Reply:
        """Return the response to a request for the job.

        The response may be that there is no such job.
        """
        reply = self.rest.send(run_requests.get_call(self.settings, place.region, place.name))
        if reply.status != HTTPStatus.NOT_FOUND:
            require_document(reply, "Cloud Run")
        return reply

    def _show_existing(self, place: Place, now: datetime) -> JobReport:
        reply = self._get(place)
        if reply.status == HTTPStatus.NOT_FOUND:
            return report_unseen(place, now)
        created = run_answers.created_of(reply.document, now)
        return self._report(reply.document, replace(place, created=created))

    def _report(self, job: Mapping[str, Any], place: Place) -> JobReport:
        if is_placeholder(job):
            return report_placeholder(place)
        state = run_answers.state_of(job)
        message, reason, outputs = "", "", None
        if state is JobState.SUCCEEDED:
            found = fetch(self.rest, self.settings, place.name)
            message, outputs = found.problem, found.values
        elif state is JobState.FAILED:
            # The tasks have the exit code.
            tasks: Mapping[str, Any] = {}
            if execution := run_answers.execution_name(job):
                call = run_requests.tasks_call(self.settings, place.region, place.name, execution)
                tasks = document_of(self.rest, call)
            failure = run_answers.failure_of(job, tasks)
            message, reason = failure.message, failure.reason
        elif state in {JobState.QUEUED, JobState.PREPARING}:
            message = run_answers.waiting_message(job)
        return JobReport(
            job_id=place.job_id,
            state=state,
            message=message,
            reason=reason,
            outputs=outputs,
            logs_url=self._log_link(place),
        )

    def _log_link(self, place: Place) -> str:
        return cloud_run_log_link(self.settings.project, place.name, place.created.isoformat(timespec="seconds"))
