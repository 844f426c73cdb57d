"""Check that topics and subscriptions exist and suit the functions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from atom_client.doctor.findings import Finding, ok, wrong
from atom_workflows.adapters.pubsub.subscriptions import SubscriptionSettings
from atom_workflows.ports import DEAD_LETTERS
from atom_workflows.settings import MAX_BACKOFF_S, MIN_BACKOFF_S, Settings

PUSHED: Final[Mapping[str, str]] = {"start": "start", "steps": "dispatcher", "tick": "checker", "jobs": "checker"}
"""Maps each topic to its function. A subscription has the same name as its topic."""

HINTS: Final = frozenset({"jobs"})
"""Topics that can afford to lose messages, so their subscriptions need no dead-letter topic."""

TOPICS: Final = (*PUSHED, "events", DEAD_LETTERS)

UNKNOWN_REGION: Final = "REGION"
"""The placeholder for the region in printed commands if the user did not give a region."""

_LOCAL_ACK_S: Final = 60
_DEPLOYED_ACK_S: Final = 90
"""A submission may take a minute, and a dispatcher continues from step to step for 20 seconds."""

_AFTER_BURST_S: Final = 10
_LONGEST_BACKOFF_S: Final = 600
_HINT_BACKOFF_S: Final = 60
_LETTERS_KEPT_S: Final = 7 * 86_400
"""People need at least this long to deal with dead letters."""


class SetUp(Protocol):
    """How topics and subscriptions are set up."""

    def has_topic(self, name: str) -> bool:
        """Return True if the topic exists."""
        ...

    def subscription(self, name: str) -> SubscriptionSettings | None:
        """Return the subscription, or None if it does not exist."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How the platform should be set up.

    `fix_all` is the command that creates whatever is missing.
    """

    settings: Settings
    is_local: bool
    region: str = UNKNOWN_REGION
    fix_all: str

    @property
    def has_region(self) -> bool:
        """True if the region of the functions is known."""
        return self.region != UNKNOWN_REGION

    @property
    def tick_fix(self) -> str:
        """What to do if the checker is not running."""
        if self.is_local:
            return self.fix_all
        named, project = self.settings.topic_prefix, self.settings.project
        resume = f"gcloud scheduler jobs resume {named}tick --location={self.region} --project={project}"
        logs = f"gcloud functions logs read {named}checker --gen2 --region={self.region} --project={project}"
        return f"{resume}; if that does not help, {logs}"

    def account(self, identity: str) -> str:
        """Return the address of one of the deployment's service accounts."""
        domain, _, project = self.settings.project.rpartition(":")
        name = f"{self.settings.topic_prefix}{identity}@{project}"
        return f"{name}{f'.{domain}' if domain else ''}.iam.gserviceaccount.com"

    def update(self, name: str, *flags: str) -> str:
        """Return the command that changes a subscription."""
        if self.is_local:
            return self.fix_all
        words = ["gcloud", "pubsub", "subscriptions", "update", self.settings.topic_prefix + name, *flags]
        return shlex.join([*words, f"--project={self.settings.project}"])


def message_findings(there: SetUp, expected: Expected) -> Iterator[Finding]:
    """Check topics and subscriptions.

    Yields one finding for all topics, and one for each subscription or for each of its problems.
    """
    missing = [expected.settings.topic_prefix + name for name in TOPICS if not there.has_topic(name)]
    if missing:
        yield wrong("topics", f"{', '.join(missing)} missing", expected.fix_all)
    else:
        yield ok("topics", f"all {len(TOPICS)} exist")
    for name in (*PUSHED, DEAD_LETTERS):
        about = f"subscription {expected.settings.topic_prefix}{name}"
        found = there.subscription(name)
        if found is None:
            yield wrong(about, "it does not exist", expected.fix_all)
            continue
        flaws = list(_flaws(about, name, found, expected))
        kept = f"keeps dead letters for {found.kept_s / 86_400:g} days"
        until = "its messages expire" if name in HINTS else f"{found.max_deliveries} deliveries"
        pushed = f"pushes to {found.endpoint} and gives up after {until}"
        yield from flaws or [ok(about, pushed if found.endpoint else kept)]


def _flaws(about: str, name: str, found: SubscriptionSettings, expected: Expected) -> Iterator[Finding]:
    if found.topic != name:
        named, project = expected.settings.topic_prefix + name, expected.settings.project
        delete = f"gcloud pubsub subscriptions delete {named} --project={project} && "
        fix = expected.fix_all if expected.is_local else delete + expected.fix_all
        yield wrong(about, f"it belongs to topic {found.topic}, or its topic was deleted", fix)
    if not found.is_active:
        yield wrong(about, "Pub/Sub delivers nothing to it, because it is detached or failing", expected.fix_all)
    if not expected.is_local and found.expires_s is not None:
        detail = f"it expires if it is not used for {found.expires_s / 86_400:g} days"
        yield wrong(about, detail, expected.update(name, "--expiration-period=never"))
    if name == DEAD_LETTERS and found.endpoint:
        fix = expected.update(DEAD_LETTERS, "--push-endpoint=")
        yield wrong(about, f"it pushes to {found.endpoint}, so `atom-workflows dead-letters` finds nothing", fix)
    if name == DEAD_LETTERS and not expected.is_local and found.kept_s < _LETTERS_KEPT_S:
        fix = expected.update(DEAD_LETTERS, "--message-retention-duration=31d")
        yield wrong(about, f"it deletes dead letters after {found.kept_s / 86_400:g} days", fix)
    if name != DEAD_LETTERS:
        yield from _flaws_of_delivery(about, name, found, expected)


def _flaws_of_delivery(about: str, name: str, found: SubscriptionSettings, expected: Expected) -> Iterator[Finding]:
    if not found.endpoint:
        yield wrong(about, f"it does not push to the {PUSHED[name]} function", expected.fix_all)
    elif not expected.is_local and not found.account:
        fix = expected.update(name, *_push_flags(found, expected.account("push")))
        yield wrong(about, "it pushes without a token, so the function refuses its events", fix)
    elif not expected.is_local and found.audience and found.audience.rstrip("/") != found.endpoint.rstrip("/"):
        detail = f"its token is for {found.audience}, but it pushes to {found.endpoint}"
        yield wrong(about, detail, expected.update(name, *_push_flags(found, found.account)))
    settings = expected.settings
    least_s = _LOCAL_ACK_S if expected.is_local else _DEPLOYED_ACK_S
    if PUSHED[name] == "checker":
        least_s = round(settings.burst.total_seconds()) + _AFTER_BURST_S
    if found.ack_deadline_s < least_s:
        detail = f"an event is redelivered after {found.ack_deadline_s} s, but the function may take {least_s} s"
        yield wrong(about, detail, expected.update(name, f"--ack-deadline={least_s}"))
    if found.backoff_s is None or not 0 < found.backoff_s[1] <= _LONGEST_BACKOFF_S:
        longest_s = MAX_BACKOFF_S.get(name, _HINT_BACKOFF_S)
        fix = expected.update(name, f"--min-retry-delay={MIN_BACKOFF_S}s", f"--max-retry-delay={longest_s}s")
        yield wrong(about, "failed events are redelivered immediately, because it has no backoff", fix)
    is_kept = (found.dead_letter_topic, found.max_deliveries) == (DEAD_LETTERS, settings.max_deliveries)
    if not is_kept and name not in HINTS:
        letters = f"projects/{settings.project}/topics/{settings.topic_prefix}{DEAD_LETTERS}"
        flags = (f"--dead-letter-topic={letters}", f"--max-delivery-attempts={settings.max_deliveries}")
        detail = "failed events are redelivered for a week and then lost, because it has no dead-letter topic"
        if found.dead_letter_topic:
            where = f"{found.dead_letter_topic} after {found.max_deliveries} deliveries"
            detail = f"failed events go to {where}, not to {DEAD_LETTERS} after {settings.max_deliveries} deliveries"
        yield wrong(about, detail, expected.update(name, *flags))


def _push_flags(found: SubscriptionSettings, account: str) -> tuple[str, ...]:
    return (
        f"--push-endpoint={found.endpoint}",
        f"--push-auth-service-account={account}",
        f"--push-auth-token-audience={found.endpoint}",
    )
