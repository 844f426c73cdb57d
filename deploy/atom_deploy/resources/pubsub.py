"""Topics, subscriptions, and the scheduler job that publishes ticks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atom_deploy.deployment import Deployment
from atom_deploy.resource import Check, Command, Known, Refusal, Resource, is_at, one_with
from atom_workflows.ports import DEAD_LETTERS
from atom_workflows.settings import MAX_BACKOFF_S, MIN_BACKOFF_S

TOPICS: Final = {
    "start": "requests for runs: messages, and the bucket's notifications",
    "steps": "steps that are ready, and attempts that ended",
    "tick": "ticks, which trigger the checker",
    "jobs": "hints from Task Runners that jobs have ended",
    "events": "events of runs, for any subscriber",
    DEAD_LETTERS: "dead letters",
}

PUSHED: Final = {"start": "start", "steps": "dispatcher", "tick": "checker", "jobs": "checker"}
"""Maps each topic to the function that gets its messages."""

RUNNER_TOPICS: Final = {"batch-notices": "Batch's notices that jobs have ended"}
RUNNER_PUSHED: Final = {"batch-notices": "runner"}
"""The same for topics that only a deployment with its own Task Runner has."""

HINTS: Final = frozenset({"jobs", "batch-notices"})
"""Topics whose messages may be lost, since jobs are also polled: no dead letters are kept for them."""

KEPT_S: Final[Mapping[str, int]] = {
    "start": 7 * 86_400,
    "steps": 7 * 86_400,
    "tick": 600,
    **dict.fromkeys(sorted(HINTS), 600),
}
"""How long a message waits for its delivery. An old tick or hint is useless, so it gets the shortest possible time."""

LONGEST_BACKOFF_S: Final[Mapping[str, int]] = {**dict.fromkeys(sorted(HINTS), 60), **MAX_BACKOFF_S}
"""The longest pause between two deliveries."""

LETTERS_KEPT_S: Final = 31 * 86_400
"""The longest that Pub/Sub keeps messages in a subscription."""

TICK_BODY: Final = '{"type":"tick","origin":"scheduler"}'


def tried_for_s(topic: str, deliveries: int) -> int:
    """Return for how many seconds an event is redelivered.

    Each pause is assumed to be twice as long as the one before, up to the maximum. Pub/Sub increases pauses
    exponentially but promises no exact values; the time of the deliveries themselves is not included.
    """
    pauses = (min(MIN_BACKOFF_S << number, LONGEST_BACKOFF_S[topic]) for number in range(deliveries - 1))
    return min(sum(pauses), KEPT_S[topic])


def topics(deployment: Deployment, *, with_runner: bool) -> list[Resource]:
    """Return the topics."""
    wanted = {**TOPICS, **(RUNNER_TOPICS if with_runner else {})}
    return [_topic(deployment, topic, why) for topic, why in wanted.items()]


def subscriptions(deployment: Deployment, *, with_runner: bool, letters_kept_s: int = LETTERS_KEPT_S) -> list[Resource]:
    """Return the push subscriptions and the dead-letter subscription."""
    wanted = {**PUSHED, **(RUNNER_PUSHED if with_runner else {})}
    pushed = [_push_subscription(deployment, topic, function) for topic, function in wanted.items()]
    return [*pushed, _dead_letters(deployment, letters_kept_s)]


def schedule(deployment: Deployment) -> Resource:
    """Return the scheduler job that ticks once a minute."""
    name, topic = deployment.name("tick"), f"projects/{deployment.project}/topics/{deployment.name('tick')}"
    flags = (
        f"--location={deployment.region}",
        "--schedule=* * * * *",
        "--time-zone=Etc/UTC",
        f"--topic={topic}",
        f"--message-body={TICK_BODY}",
    )
    update = ("scheduler", "jobs", "update", "pubsub", name, *flags)
    place = f"--location={deployment.region}"
    return Resource(
        kind="scheduler job",
        name=name,
        why="triggers the checker every minute; with no jobs in flight, this costs one query",
        look=("scheduler", "jobs", "list", place),
        pick=one_with("name", f"jobs/{name}"),
        create=(("scheduler", "jobs", "create", "pubsub", name, *flags),),
        checks=(
            Check(expectation="once a minute", holds=is_at("schedule", "* * * * *"), fix=update),
            Check(expectation=f"to {topic}", holds=is_at("pubsubTarget.topicName", topic), fix=update),
            Check(
                expectation="not paused",
                holds=lambda found, _: found.get("state", "ENABLED") == "ENABLED",
                fix=("scheduler", "jobs", "resume", name, place),
            ),
        ),
        remove=(("scheduler", "jobs", "delete", name, place),),
    )


def _topic(deployment: Deployment, topic: str, why: str) -> Resource:
    name = deployment.name(topic)
    return Resource(
        kind="topic",
        name=name,
        why=why,
        look=("pubsub", "topics", "list"),
        pick=one_with("name", f"topics/{name}"),
        create=(("pubsub", "topics", "create", name),),
        remove=(("pubsub", "topics", "delete", name),),
        holds_data=topic == DEAD_LETTERS,
    )


def _push_subscription(deployment: Deployment, topic: str, function: str) -> Resource:
    name, shape = deployment.name(topic), deployment.shapes[function]
    letters = f"projects/{deployment.project}/topics/{deployment.name(DEAD_LETTERS)}"
    deliveries = deployment.settings.max_deliveries
    url, account = f"<{function}-url>", deployment.account("push")
    flags: Command = (
        f"--ack-deadline={shape.ack_deadline_s}",
        f"--push-endpoint={url}",
        f"--push-auth-service-account={account}",
        f"--push-auth-token-audience={url}",
        f"--min-retry-delay={MIN_BACKOFF_S}s",
        f"--max-retry-delay={LONGEST_BACKOFF_S[topic]}s",
        "--expiration-period=never",
        f"--message-retention-duration={KEPT_S[topic]}s",
    )
    wanted: dict[str, object] = {
        "ackDeadlineSeconds": shape.ack_deadline_s,
        "pushConfig.pushEndpoint": url,
        "pushConfig.oidcToken.serviceAccountEmail": account,
        "pushConfig.oidcToken.audience": url,
        "retryPolicy.minimumBackoff": f"{MIN_BACKOFF_S}s",
        "retryPolicy.maximumBackoff": f"{LONGEST_BACKOFF_S[topic]}s",
        "messageRetentionDuration": f"{KEPT_S[topic]}s",
    }
    why = f"delivers topic {topic} to the {function} function"
    if topic in HINTS:
        return _subscription(name, f"{why}, for {KEPT_S[topic] // 60} minutes", flags, wanted)
    wanted |= {
        "deadLetterPolicy.deadLetterTopic": letters,
        "deadLetterPolicy.maxDeliveryAttempts": deliveries,
    }
    flags = (*flags, f"--dead-letter-topic={letters}", f"--max-delivery-attempts={deliveries}")
    return _subscription(name, f"{why}; given up after {deliveries} deliveries", flags, wanted)


def _dead_letters(deployment: Deployment, kept_s: int) -> Resource:
    name = deployment.name(DEAD_LETTERS)
    flags = (
        "--ack-deadline=60",
        "--expiration-period=never",
        f"--message-retention-duration={kept_s}s",
    )
    wanted = {"ackDeadlineSeconds": 60, "messageRetentionDuration": f"{kept_s}s"}
    return _subscription(name, "keeps dead letters until someone handles them", flags, wanted, data=True)


def _subscription(name: str, why: str, flags: Command, wanted: Mapping[str, object], *, data: bool = False) -> Resource:
    """Return a subscription with the name of its topic."""
    update = ("pubsub", "subscriptions", "update", name, *flags)
    checks = [
        Check(expectation=f"{path} {value}", holds=is_at(path, value), fix=update) for path, value in wanted.items()
    ]
    never = Check(
        expectation="no expiration", holds=lambda found, _: not found.get("expirationPolicy", {}).get("ttl"), fix=update
    )

    def refuse(found: Any, _: Known) -> Refusal | None:
        if str(found["topic"]).endswith(f"/topics/{name}"):
            return None
        reason = f"it belongs to topic {found['topic']}, which cannot be changed. Delete it, then deploy again"
        return Refusal(reason=reason, fix=(("pubsub", "subscriptions", "delete", name),))

    return Resource(
        kind="subscription",
        name=name,
        why=why,
        look=("pubsub", "subscriptions", "list"),
        pick=one_with("name", f"subscriptions/{name}"),
        create=(("pubsub", "subscriptions", "create", name, f"--topic={name}", *flags),),
        checks=(*checks, never),
        remove=(("pubsub", "subscriptions", "delete", name),),
        holds_data=data,
        refuse=refuse,
    )
