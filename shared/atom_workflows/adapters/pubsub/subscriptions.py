"""Read the settings of topics and subscriptions, for `atom-workflows doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from google.api_core import exceptions as google_errors
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import Subscription

from atom_workflows.errors import BusUnavailable

CALL_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSettings:
    """A subscription's settings. A missing name is empty, and a missing number is 0.

    Names do not include the prefix. `expires_s` is None if the subscription never expires; `backoff_s` is None if it
    has no retry policy.
    """

    topic: str
    endpoint: str
    account: str
    audience: str
    ack_deadline_s: int
    backoff_s: tuple[float, float] | None
    dead_letter_topic: str
    max_deliveries: int
    expires_s: float | None
    kept_s: float
    is_active: bool


class PubsubSettings:
    """Reads a project's topics and subscriptions, adding the prefix to each name.

    Raises `BusUnavailable` on failure.
    """

    def __init__(self, *, project: str, topic_prefix: str) -> None:
        self._topics = f"projects/{project}/topics/{topic_prefix}"
        self._subscriptions = f"projects/{project}/subscriptions/{topic_prefix}"
        self._publisher: Any = PublisherClient()
        self._subscriber: Any = SubscriberClient()

    def has_topic(self, name: str) -> bool:
        """Return True if the topic exists."""
        with _translate_errors(self._topics + name):
            try:
                self._publisher.get_topic(topic=self._topics + name, retry=None, timeout=CALL_TIMEOUT_S)
            except google_errors.NotFound as error:
                _require_project(error)
                return False
        return True

    def subscription(self, name: str) -> SubscriptionSettings | None:
        """Return the subscription, or None if it does not exist."""
        with _translate_errors(self._subscriptions + name):
            try:
                found = self._subscriber.get_subscription(
                    subscription=self._subscriptions + name, retry=None, timeout=CALL_TIMEOUT_S
                )
            except google_errors.NotFound as error:
                _require_project(error)
                return None
        push, letters, retry = found.push_config, found.dead_letter_policy, found.retry_policy
        expires = found.expiration_policy.ttl
        return SubscriptionSettings(
            topic=found.topic.removeprefix(self._topics),
            endpoint=push.push_endpoint,
            account=push.oidc_token.service_account_email,
            audience=push.oidc_token.audience,
            ack_deadline_s=found.ack_deadline_seconds,
            backoff_s=(_seconds(retry.minimum_backoff), _seconds(retry.maximum_backoff)) if retry else None,
            dead_letter_topic=letters.dead_letter_topic.removeprefix(self._topics),
            max_deliveries=letters.max_delivery_attempts,
            expires_s=_seconds(expires) or None,
            kept_s=_seconds(found.message_retention_duration),
            is_active=found.state in {Subscription.State.STATE_UNSPECIFIED, Subscription.State.ACTIVE}
            and not found.detached,
        )


def _seconds(duration: Any) -> float:
    return 0.0 if duration is None else float(duration.total_seconds())


def _require_project(error: Exception) -> None:
    """Raise `BusUnavailable` if the project does not exist or is not visible."""
    if "project not found" in str(error):
        raise BusUnavailable(str(error)) from error


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (google_errors.GoogleAPICallError, google_errors.RetryError) as error:
        raise BusUnavailable(f"Pub/Sub gave no information about {name}: {error}") from error
