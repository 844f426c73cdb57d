"""The whole of `doctor` on what a deployment looks like, with the real clients on the embedded servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from socket import socket

import pytest
from click.testing import CliRunner
from google.cloud import pubsub_v1

from atom_client.cli import doctor
from atom_client.cli.commands import cli
from atom_client.cli.doctor import DoctorOptions
from atom_client.doctor.findings import Finding, Verdict
from atom_client.doctor.pubsub import PUSHED, TOPICS
from atom_workflows.bootstrap import connect
from atom_workflows.coordinator.services import Services
from atom_workflows.ports import DEAD_LETTERS, Message
from atom_workflows.settings import MAX_DELIVERIES, Settings
from contract.canned import Asked, Canned, answer, canned
from support.no_cloud import NO_CLOUD

PREFIX = "atom-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """Services on a deployment, and what stands for its functions and its Task Runner."""

    services: Services
    server: Canned

    def found(self, region: str | None = None) -> Sequence[Finding]:
        """Return the findings, without those that need gcloud."""
        options = DoctorOptions(task_runner_url=self.server.url, region=region)
        expected = doctor._expected(self.services.settings, options, is_local=False)
        return [one for one in doctor._check_parts(self.services, expected, options) if one.about != "settings"]


@pytest.fixture
def deployed(firestore_address: str, pubsub_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """Return a deployment's topics and subscriptions, pushing to a closed server."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_address)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    project = f"acme-{uuid.uuid4().hex[:12]}"
    settings = Settings(project=project, topic_prefix=PREFIX, task_runner_token="a.b.c")  # noqa: S106 (no real one)
    with canned(
        lambda asked, _: answer(b"{}", "404 Not Found" if asked.headers["Authorization"] else "403 No")
    ) as server:
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        for topic in TOPICS:
            publisher.create_topic(name=f"projects/{project}/topics/{PREFIX}{topic}")
        for name in (*PUSHED, DEAD_LETTERS):
            subscriber.create_subscription(request=subscription(project, name, server.url))
        yield Deployed(services=connect(settings), server=server)
        for name in PUSHED:
            subscriber.delete_subscription(subscription=f"projects/{project}/subscriptions/{PREFIX}{name}")


def closed(asked: Asked, _connection: socket) -> bytes:
    """Lets no one in without a token, and knows no job."""
    return answer(b"{}", "404 Not Found" if asked.headers["Authorization"] else "403 Forbidden")


def subscription(project: str, name: str, url: str) -> Mapping[str, object]:
    """Return a subscription as it is deployed."""
    letters = f"projects/{project}/topics/{PREFIX}{DEAD_LETTERS}"
    token = {"service_account_email": f"atom-push@{project}.iam.gserviceaccount.com", "audience": url}
    pushed = {
        "push_config": {"push_endpoint": url, "oidc_token": token},
        "ack_deadline_seconds": 310,
        "retry_policy": {"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 60}},
        "dead_letter_policy": {"dead_letter_topic": letters, "max_delivery_attempts": MAX_DELIVERIES},
    }
    return {
        "name": f"projects/{project}/subscriptions/{PREFIX}{name}",
        "topic": f"projects/{project}/topics/{PREFIX}{name}",
        "expiration_policy": {},
        "message_retention_duration": {"seconds": 7 * 86_400},
        **(pushed if name in PUSHED else {"ack_deadline_seconds": 60}),
    }


def test_a_deployment_that_is_well(deployed: Deployed) -> None:
    """Every part of a correct deployment is checked and found to be well."""
    found = deployed.found()
    assert [one.line() for one in found if one.verdict is not Verdict.OK] == []
    assert len(found) == 17


def test_a_deployment_with_something_missing(deployed: Deployed) -> None:
    """A missing subscription and a dead letter are reported."""
    project = deployed.services.settings.project
    subscriber = pubsub_v1.SubscriberClient()
    name = f"projects/{project}/subscriptions/{PREFIX}tick"
    subscriber.delete_subscription(subscription=name)
    deployed.services.bus.publish([Message(topic=DEAD_LETTERS, raw=b"{}", attributes={"deadLetterReason": "full"})])
    wrong = {one.about: one for one in deployed.found() if one.verdict is Verdict.WRONG}
    assert set(wrong) == {"subscription atom-tick", "dead letters"}
    assert f"make deploy PROJECT={project} REGION=REGION TASK_RUNNER_URL=URL" in wrong["subscription atom-tick"].fix
    subscriber.create_subscription(request=subscription(project, "tick", deployed.server.url))


def test_a_region_that_does_not_exist(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown region is the only finding, even without gcloud."""
    monkeypatch.setenv("PATH", "")
    [found] = deployed.found("europe-west99")
    assert (found.about, found.verdict) == ("region", Verdict.WRONG)
    assert found.detail.startswith("REGION is europe-west99, which is not a region that is known here")


def test_a_platform_that_is_away(refusing_address: str) -> None:
    """A local platform that has gone is reported in a sentence."""
    here = {"FIRESTORE_EMULATOR_HOST": refusing_address, "PUBSUB_EMULATOR_HOST": refusing_address}
    result = CliRunner().invoke(cli, ["doctor"], env=NO_CLOUD | here, catch_exceptions=False)
    assert (result.exit_code, "nothing responds at" in result.stderr) == (1, True)
