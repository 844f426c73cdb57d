"""Alert policies for events that need attention, and their e-mail channel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from atom_deploy.deployment import Deployment
from atom_deploy.resource import Check, Known, Resource, fill, is_at
from atom_workflows.ports import DEAD_LETTERS

SILENT_S: Final = 600
"""The alert fires if the checker has answered no tick for this long."""

FAILING_S: Final = 600
"""The alert fires if calls to the runner function have failed for this long."""

OLD_TICK_S: Final = 300
"""The alert fires if a tick has waited for this long. Ticks are kept longer; otherwise none would get this old."""

CLOSED_AFTER: Final = "1800s"
"""An incident is closed after this long without data from its metric or log; this is the minimum allowed."""

_CHANNEL: Final = "alert-channel"


def email_channel(deployment: Deployment) -> Resource:
    """Return the notification channel for the e-mail address."""
    address = deployment.alert_email
    name = f"{deployment.prefix}: alerts"
    settings = (f"--display-name={name}", "--type=email", f"--channel-labels=email_address={address}")
    return Resource(
        kind="notification channel",
        name=name,
        why="sends the alerts by e-mail",
        look=("beta", "monitoring", "channels", "list"),
        pick=lambda answer, _: next((one for one in answer or () if one.get("displayName") == name), None),
        create=(("beta", "monitoring", "channels", "create", *settings),),
        checks=(
            Check(
                expectation=f"to {address}",
                holds=is_at("labels.email_address", address),
                fix=(
                    *("beta", "monitoring", "channels", "update", f"<{_CHANNEL}>"),
                    f"--update-channel-labels=email_address={address}",
                ),
            ),
        ),
        remove=(("beta", "monitoring", "channels", "delete", f"<{_CHANNEL}>", "--force"),),
        learns={_CHANNEL: "name"},
    )


def alerts(deployment: Deployment, *, with_runner: bool) -> tuple[Resource, ...]:
    """Return the alert policies.

    There is one each for dead letters, a checker that answers no ticks, runs that fail, and a runner that cannot start
    jobs.
    """
    channels = (*deployment.alert_channels, *((f"<{_CHANNEL}>",) if deployment.alert_email else ()))
    policies = {**_policies(deployment), **(_policy_of_runner(deployment) if with_runner else {})}
    return tuple(_alert(part, policy, channels) for part, policy in policies.items())


def _alert(part: str, policy: Mapping[str, Any], channels: tuple[str, ...]) -> Resource:
    text = json.dumps({"combiner": "OR", **policy, "notificationChannels": channels}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:40]
    content = f"--policy={json.dumps({**json.loads(text), 'userLabels': {'atom-digest': digest}}, sort_keys=True)}"
    placeholder, name = f"{part}-alert", policy["displayName"]
    update = ("alpha", "monitoring", "policies", "update", f"<{placeholder}>", content)

    def notifies(found: Any, known: Known) -> bool:
        # A channel that was deleted and recreated has a different id, which the digest does not reflect. Google may
        # name its project by number, so only the ids are compared.
        wanted = {_id(fill(one, known)) for one in channels}
        return {_id(one) for one in found.get("notificationChannels", ())} == wanted

    return Resource(
        kind="alert policy",
        name=name,
        why=str(policy["documentation"]["content"]),
        look=("alpha", "monitoring", "policies", "list"),
        pick=lambda answer, _: next((one for one in answer or () if one.get("displayName") == name), None),
        create=(("alpha", "monitoring", "policies", "create", content),),
        checks=(
            Check(expectation="the same conditions", holds=is_at("userLabels.atom-digest", digest), fix=update),
            Check(expectation="the same channels", holds=notifies, fix=update),
        ),
        remove=(("alpha", "monitoring", "policies", "delete", f"<{placeholder}>"),),
        learns={placeholder: "name"},
    )


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _policies(deployment: Deployment) -> dict[str, dict[str, Any]]:
    return {
        "letters": _policy(
            f"{deployment.prefix}: dead letters",
            "There are dead letters: `atom-workflows dead-letters list`.",
            {"dead letters": _above(0, "num_undelivered_messages", deployment.name(DEAD_LETTERS))},
        ),
        "checker": _policy(
            f"{deployment.prefix}: checker",
            f"No tick was answered for {SILENT_S // 60} minutes, or one has waited for {OLD_TICK_S // 60}, so jobs "
            "are not polled.",
            {
                "no tick is answered": _unanswered(deployment.name("checker")),
                # This condition holds even if no tick was ever answered, when "no tick is answered" has no metric to
                # watch.
                "a tick waits": _above(OLD_TICK_S, "oldest_unacked_message_age", deployment.name("tick")),
            },
        ),
        "runs": _policy(
            f"{deployment.prefix}: failed runs",
            "A run is FAILED or INVALID, or cannot continue: `atom-workflows runs list`.",
            {"failed runs": _failed_runs(deployment.prefix)},
            # Google requires such a limit for every alert on logs.
            notificationRateLimit={"period": "300s"},
        ),
    }


def _policy_of_runner(deployment: Deployment) -> dict[str, dict[str, Any]]:
    return {
        "runner": _policy(
            f"{deployment.prefix}: runner",
            f"The runner function has failed in each of the last {FAILING_S // 60} minutes, so jobs do not start or "
            "are not seen to end: look at its log.",
            {"calls fail": _failing(deployment.name("runner"))},
        ),
    }


def _policy(name: str, meaning: str, conditions: Mapping[str, Mapping[str, Any]], **strategy: Any) -> dict[str, Any]:
    return {
        "displayName": name,
        "documentation": {"content": f"{meaning} See docs/how-to/runbook.md for details.", "mimeType": "text/markdown"},
        "conditions": [{"displayName": one, **condition} for one, condition in conditions.items()],
        "alertStrategy": {"autoClose": CLOSED_AFTER, **strategy},
    }


def _above(threshold: int, metric: str, subscription: str) -> dict[str, Any]:
    return {
        "conditionThreshold": {
            "filter": f'metric.type="pubsub.googleapis.com/subscription/{metric}" AND '
            f'resource.type="pubsub_subscription" AND resource.labels.subscription_id="{subscription}"',
            "comparison": "COMPARISON_GT",
            "thresholdValue": threshold,
            "duration": "0s",
            "aggregations": [{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_MAX"}],
        }
    }


def _unanswered(service: str) -> dict[str, Any]:
    """Return the condition that the whole service has stopped answering.

    The metric is counted for each revision, and a replaced revision never answers again, so the sum over all revisions
    is used.
    """
    return {
        "conditionAbsent": {
            "filter": 'metric.type="run.googleapis.com/request_count" AND resource.type="cloud_run_revision" AND '
            f'resource.labels.service_name="{service}" AND metric.labels.response_code_class="2xx"',
            "duration": f"{SILENT_S}s",
            "aggregations": [
                {
                    "alignmentPeriod": "60s",
                    "perSeriesAligner": "ALIGN_DELTA",
                    "crossSeriesReducer": "REDUCE_SUM",
                    "groupByFields": ["resource.label.service_name"],
                }
            ],
        }
    }


def _failing(service: str) -> dict[str, Any]:
    """Return the condition that calls to the service keep failing."""
    return {
        "conditionThreshold": {
            "filter": 'metric.type="run.googleapis.com/request_count" AND resource.type="cloud_run_revision" AND '
            f'resource.labels.service_name="{service}" AND metric.labels.response_code_class="5xx"',
            "comparison": "COMPARISON_GT",
            "thresholdValue": 0,
            "duration": f"{FAILING_S}s",
            "aggregations": [
                {
                    "alignmentPeriod": "60s",
                    "perSeriesAligner": "ALIGN_DELTA",
                    "crossSeriesReducer": "REDUCE_SUM",
                    "groupByFields": ["resource.label.service_name"],
                }
            ],
        }
    }


def _failed_runs(prefix: str) -> dict[str, Any]:
    return {
        "conditionMatchedLog": {
            "filter": 'resource.type="cloud_run_revision" AND '
            f'resource.labels.service_name=~"^{prefix}-(start|dispatcher|checker)$" AND '
            'jsonPayload.action=("run.fail" OR "run.invalid" OR "run.broken")',
        }
    }
