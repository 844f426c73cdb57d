"""What `doctor` makes of topics and subscriptions, each set up wrong in one way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from atom_client.doctor.findings import Finding, Verdict
from atom_client.doctor.pubsub import PUSHED, TOPICS, Expected, message_findings
from atom_workflows.adapters.pubsub.subscriptions import SubscriptionSettings
from atom_workflows.ports import DEAD_LETTERS
from atom_workflows.settings import MAX_DELIVERIES, Settings

ACCOUNT = "atom-push@acme-flow.iam.gserviceaccount.com"
DAY_S = 86_400
SETTINGS = Settings(project="acme-flow", topic_prefix="atom-")
DEPLOYED = Expected(settings=SETTINGS, is_local=False, region="europe-west1", fix_all="make deploy")
LOCAL = replace(DEPLOYED, is_local=True, fix_all="start it again")


def good(topic: str) -> SubscriptionSettings:
    """Return a subscription as a deployment makes it."""
    is_pushed = topic in PUSHED
    endpoint = f"https://{PUSHED[topic]}.run.app" if is_pushed else ""
    return SubscriptionSettings(
        topic=topic,
        endpoint=endpoint,
        account=ACCOUNT if is_pushed else "",
        audience=endpoint,
        ack_deadline_s=310 if is_pushed else 60,
        backoff_s=(1.0, 60.0) if is_pushed else None,
        dead_letter_topic=DEAD_LETTERS if is_pushed else "",
        max_deliveries=MAX_DELIVERIES if is_pushed else 0,
        expires_s=None,
        kept_s=(7 if is_pushed else 31) * DAY_S,
        is_active=True,
    )


@dataclass(slots=True)
class There:
    """What is there: all topics and good subscriptions, but for what a test changes."""

    topics: set[str] = field(default_factory=lambda: set(TOPICS))
    subscriptions: dict[str, SubscriptionSettings] = field(
        default_factory=lambda: {name: good(name) for name in (*PUSHED, DEAD_LETTERS)}
    )

    def has_topic(self, name: str) -> bool:
        """See `doctor.pubsub.SetUp`."""
        return name in self.topics

    def subscription(self, name: str) -> SubscriptionSettings | None:
        """See `doctor.pubsub.SetUp`."""
        return self.subscriptions.get(name)

    def change(self, name: str, **changed: Any) -> There:
        """Return the same with one subscription changed."""
        self.subscriptions[name] = replace(self.subscriptions[name], **changed)
        return self


def wrongs(there: There, expected: Expected = DEPLOYED) -> list[Finding]:
    """Return the findings that something is wrong."""
    return [one for one in message_findings(there, expected) if one.verdict is Verdict.WRONG]


def test_a_deployment_as_it_should_be() -> None:
    """A correct deployment has a finding for its topics and one for each subscription."""
    found = list(message_findings(There(), DEPLOYED))
    assert {one.verdict for one in found} == {Verdict.OK}
    assert len(found) == 6


@pytest.mark.parametrize(
    ("name", "changed", "detail", "fix"),
    [
        ("steps", {"topic": "_deleted-topic_"}, "or its topic was deleted", "subscriptions delete atom-steps"),
        ("steps", {"is_active": False}, "delivers nothing", "make deploy"),
        ("steps", {"expires_s": 31 * DAY_S}, "for 31 days", "--expiration-period=never --project=acme-flow"),
        ("steps", {"endpoint": ""}, "does not push to the dispatcher function", "make deploy"),
        ("steps", {"account": ""}, "without a token", f"--push-auth-service-account={ACCOUNT}"),
        ("start", {"audience": "https://old"}, "its token is for https://old", "audience=https://start.run.app"),
        ("steps", {"ack_deadline_s": 10}, "redelivered after 10 s", "update atom-steps --ack-deadline=90"),
        ("steps", {"backoff_s": None}, "no backoff", "--min-retry-delay=1s --max-retry-delay=300s"),
        ("tick", {"dead_letter_topic": ""}, "and then lost", "--dead-letter-topic=projects/acme-flow/topics/atom-dead"),
        ("tick", {"max_deliveries": 5}, "after 5 deliveries, not to", f"--max-delivery-attempts={MAX_DELIVERIES}"),
        ("dead-letters", {"kept_s": DAY_S}, "after 1 days", "--message-retention-duration=31d"),
        ("dead-letters", {"endpoint": "https://x"}, "finds nothing", "update atom-dead-letters --push-endpoint="),
    ],
)
def test_each_setting_that_is_wrong(name: str, changed: dict[str, Any], detail: str, fix: str) -> None:
    """A wrong setting is one finding, with the command that fixes it."""
    [found] = wrongs(There().change(name, **changed))
    assert found.about == f"subscription atom-{name}"
    assert detail in found.detail
    assert fix in found.fix


def test_hints_need_no_dead_letters() -> None:
    """A hint that is lost is no loss, so its subscription needs no dead-letter topic."""
    assert wrongs(There().change("jobs", dead_letter_topic="", max_deliveries=0)) == []


def test_the_checkers_deadline_follows_its_burst() -> None:
    """The checker's deadline must be longer than its burst."""
    longer = replace(DEPLOYED, settings=replace(SETTINGS, burst=timedelta(seconds=400)))
    found = wrongs(There(), longer)
    assert [one.about for one in found] == ["subscription atom-tick", "subscription atom-jobs"]
    assert all("--ack-deadline=410" in one.fix for one in found)


def test_what_is_missing_is_made_by_one_command() -> None:
    """Missing topics are one finding, each missing subscription another, and `make deploy` fixes all."""
    found = wrongs(There(topics={"start", "steps", "tick"}, subscriptions={}))
    assert "atom-jobs, atom-events, atom-dead-letters missing" in found[0].detail
    assert len(found) == 6
    assert {one.fix for one in found} == {"make deploy"}


def test_a_local_platform_needs_no_tokens() -> None:
    """A local platform needs no tokens, and a restart fixes its subscriptions."""
    there = There()
    for name in (*PUSHED, DEAD_LETTERS):
        there.change(name, account="", audience="", expires_s=31 * DAY_S, ack_deadline_s=60, kept_s=DAY_S)
    assert wrongs(there, LOCAL) == []
    [found] = wrongs(there.change("start", max_deliveries=3), LOCAL)
    assert found.fix == "start it again"


def test_the_account_of_a_project_in_a_domain() -> None:
    """The account of a project in a domain has the domain behind the project's name."""
    in_domain = replace(DEPLOYED, settings=replace(SETTINGS, project="acme.com:flow"))
    assert in_domain.account("push") == "atom-push@flow.acme.com.iam.gserviceaccount.com"
