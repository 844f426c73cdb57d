"""The runner function on the fakes of Google's APIs, as its own main.py answers it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import google.auth.transport.requests
import google.oauth2.credentials
import pytest
from functions_framework import create_app

from atom_workflows import runner_bootstrap
from atom_workflows.adapters.http import PromptAdapter
from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import Message
from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner_bootstrap import connect, runner_services
from functions.posting import FUNCTIONS
from support.google_jobs.containers import Json, Time
from support.google_jobs.server import BUCKET, Google, running_google

TOKEN: Final = "ya29.a-token-of-the-runner-0123456789"  # noqa: S105 (accepted by the fakes alone)
IMAGE: Final = "europe-docker.pkg.dev/acme/images/load:1"
NOTICES: Final = "projects/acme/topics/atom-batch-notices"

SETTINGS: Final = CloudSettings(
    project="acme",
    region="europe-west1",
    outputs_bucket=BUCKET,
    job_account="atom-jobs@acme.iam.gserviceaccount.com",
    image_prefixes=("*-docker.pkg.dev/acme/",),
    topic_prefix="atom-",
    notice_topic=NOTICES,
)


@dataclass(frozen=True, slots=True)
class TestClock:
    """The fakes' time as the Clock port."""

    __test__ = False
    time: Time

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return self.time.now()

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        self.time.pass_by(seconds=seconds)


@dataclass(slots=True)
class Published:
    """The hints that were published. While `is_down`, none is accepted."""

    messages: list[Message] = field(default_factory=list)
    is_down: bool = False

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        if self.is_down:
            raise BusUnavailable("no one listens")
        self.messages += messages


@dataclass(frozen=True, slots=True)
class Answered:
    """A response of the function."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def job(self) -> Json:
        """What it says about the job."""
        job: Json = self.body["job"]
        return job


@dataclass(slots=True)
class Runner:
    """The function, and Google's APIs behind it."""

    google: Google
    published: Published
    client: Any

    def submit(self, key: str = "sales-1/load/1", **fields: Any) -> Answered:
        """Submit a job."""
        timeout = fields.pop("timeout", None)
        headers = {"Idempotency-Key": key, **({"Atom-Job-Timeout": str(timeout)} if timeout else {})}
        body = {"job_name": "load", "imageUri": IMAGE, "labels": {"workflow": "sales", "type": "step"}, **fields}
        return self._answered(self.client.post("/job", json=body, headers=headers))

    def status(self, job_id: str) -> Answered:
        """Ask for a job's state."""
        return self._answered(self.client.get("/jobstatus", query_string={"job_id": job_id}))

    def stop(self, job_id: str) -> Answered:
        """Ask for a job to be stopped."""
        return self._answered(self.client.delete("/job", query_string={"job_id": job_id}))

    def look_up(self, key: str) -> Answered:
        """Ask for the job with a key."""
        return self._answered(self.client.get("/jobstatus", query_string={"key": key}))

    def notice(self, attributes: Mapping[str, str], published_at: str = "2020-01-01T00:00:00Z") -> int:
        """Push a notice, as Pub/Sub does."""
        message = {"attributes": dict(attributes), "data": base64.b64encode(b"{}").decode(), "messageId": "1"}
        body = {"message": {**message, "publishTime": published_at}, "subscription": "projects/acme/subscriptions/s"}
        return int(self.client.post("/", json=body).status_code)

    def _answered(self, response: Any) -> Answered:
        return Answered(response.status_code, json.loads(response.data), dict(response.headers))


def open_session() -> Any:
    """Return a session with a token that needs no server."""
    credentials = google.oauth2.credentials.Credentials(TOKEN)  # type: ignore[no-untyped-call]  # google-auth is only partly typed
    session = google.auth.transport.requests.AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # likewise
    for scheme in ("http://", "https://"):
        session.mount(scheme, PromptAdapter())
    return session


@contextmanager
def running_runner(patch: pytest.MonkeyPatch, settings: CloudSettings = SETTINGS) -> Iterator[Runner]:
    """Run the function in this process, on fakes with moving time."""
    time = Time()
    with running_google(time) as google_apis:
        patch.setenv("STORAGE_EMULATOR_HOST", google_apis.url)
        here = replace(settings, batch_url=google_apis.url, run_url=google_apis.url)
        published = Published()
        services = connect(here, clock=TestClock(time), open_session=open_session, publish=published.publish)
        runner_services.cache_clear()
        patch.setattr(runner_bootstrap, "connect", lambda _settings: services)
        patch.setattr(runner_bootstrap, "from_environment", lambda _environment: here)
        app = create_app("runner", str(FUNCTIONS / "runner" / "main.py"))  # type: ignore[no-untyped-call]  # it has no types
        yield Runner(google_apis, published, app.test_client())
        runner_services.cache_clear()
