"""How topics and subscriptions of Pub/Sub are read, on the embedded server and on Google's emulator."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.cloud import pubsub_v1

from atom_emulator.platform.options import PartName
from atom_workflows.adapters.pubsub.subscriptions import PubsubSettings, SubscriptionSettings
from atom_workflows.errors import BusUnavailable

PREFIX = "flow-"


@pytest.fixture(params=["embedded", "google"])
def project(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Yield a project with two topics on each kind of server."""
    address = (
        request.getfixturevalue("pubsub_address")
        if request.param == "embedded"
        else request.getfixturevalue("google_addresses")[PartName.PUBSUB]
    )
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    named = f"contract-{uuid.uuid4().hex[:12]}"
    publisher = pubsub_v1.PublisherClient()
    for topic in ("steps", "dead-letters"):
        publisher.create_topic(name=f"projects/{named}/topics/{PREFIX}{topic}")
    return named


def subscribe(project: str, **fields: Any) -> SubscriptionSettings | None:
    """Create a subscription of topic `steps` and return what is read of it."""
    request = {
        "name": f"projects/{project}/subscriptions/{PREFIX}steps",
        "topic": f"projects/{project}/topics/{PREFIX}steps",
        **fields,
    }
    pubsub_v1.SubscriberClient().create_subscription(request=request)
    return PubsubSettings(project=project, topic_prefix=PREFIX).subscription("steps")


def test_what_is_not_there(project: str) -> None:
    """Missing topics and subscriptions are recognized."""
    settings = PubsubSettings(project=project, topic_prefix=PREFIX)
    assert (settings.has_topic("steps"), settings.has_topic("tick")) == (True, False)
    assert settings.subscription("steps") is None


def test_a_subscription_with_everything(project: str) -> None:
    """Each setting is read, and names lose their prefix."""
    letters = f"projects/{project}/topics/{PREFIX}dead-letters"
    account = "push@acme-flow.iam.gserviceaccount.com"
    found = subscribe(
        project,
        ack_deadline_seconds=310,
        push_config={
            "push_endpoint": "http://127.0.0.1:9/x",
            "oidc_token": {"service_account_email": account, "audience": "http://x"},
        },
        retry_policy={"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 60}},
        dead_letter_policy={"dead_letter_topic": letters, "max_delivery_attempts": 7},
        expiration_policy={"ttl": {"seconds": 86_400}},
        message_retention_duration={"seconds": 3_600},
    )
    assert found is not None
    assert (found.topic, found.endpoint, found.ack_deadline_s) == ("steps", "http://127.0.0.1:9/x", 310)
    assert (found.backoff_s, found.dead_letter_topic, found.max_deliveries) == ((1, 60), "dead-letters", 7)
    assert (found.expires_s, found.kept_s, found.is_active) == (86_400, 3_600, True)
    assert (found.account, found.audience) == (account, "http://x")


def test_a_subscription_that_is_pulled(project: str) -> None:
    """Settings that a subscription does not have are empty."""
    found = subscribe(project, expiration_policy={})
    assert found is not None
    assert (found.endpoint, found.account, found.backoff_s, found.dead_letter_topic) == ("", "", None, "")
    assert (found.max_deliveries, found.expires_s) == (0, None)


def test_no_one_answers(monkeypatch: pytest.MonkeyPatch, refusing_address: str) -> None:
    """An outage raises BusUnavailable, so nothing counts as missing."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", refusing_address)
    with pytest.raises(BusUnavailable, match="topics/flow-steps"):
        PubsubSettings(project="acme-flow", topic_prefix=PREFIX).has_topic("steps")
