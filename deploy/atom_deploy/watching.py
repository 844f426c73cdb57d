"""Alert policies: the three things that somebody should be told of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from atom_deploy.deployment import Deployment
from atom_deploy.resource import Check, Resource, is_at
from atom_workflows.ports import DEAD_LETTERS


def alerts(deployment: Deployment) -> tuple[Resource, ...]:
    """For dead letters, a checker that does not tick, and runs that end badly."""
    return tuple(_alert(part, policy) for part, policy in _policies(deployment).items())


def _alert(part: str, policy: Mapping[str, Any]) -> Resource:
    text = json.dumps({"combiner": "OR", **policy}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:40]
    content = f"--policy={json.dumps({**json.loads(text), 'userLabels': {'atom-digest': digest}}, sort_keys=True)}"
    placeholder, name = f"{part}-alert", policy["displayName"]
    return Resource(
        kind="alert policy",
        name=name,
        why=str(policy["documentation"]["content"]),
        look=("alpha", "monitoring", "policies", "list"),
        pick=lambda answer, _: next((one for one in answer or () if one.get("displayName") == name), None),
        create=(("alpha", "monitoring", "policies", "create", content),),
        checks=(
            Check(
                told="the same condition and channels",
                holds=is_at("userLabels.atom-digest", digest),
                mend=("alpha", "monitoring", "policies", "update", f"<{placeholder}>", content),
            ),
        ),
        remove=(("alpha", "monitoring", "policies", "delete", f"<{placeholder}>"),),
        learns={placeholder: "name"},
    )


def _policies(deployment: Deployment) -> dict[str, dict[str, Any]]:
    return {
        "letters": _policy(
            deployment,
            "dead letters",
            "An event was given up: `atom-workflows dead-letters list`.",
            _undelivered(deployment.name(DEAD_LETTERS)),
        ),
        "checker": _policy(
            deployment,
            "checker",
            "No tick was answered for ten minutes, so jobs are not looked at.",
            _unanswered(deployment.name("checker")),
        ),
        "runs": {
            **_policy(
                deployment,
                "failed runs",
                "A run is FAILED or INVALID, or cannot go on: `atom-workflows runs list`.",
                _failed_runs(deployment.prefix),
            ),
            "alertStrategy": {"notificationRateLimit": {"period": "300s"}},
        },
    }


def _policy(deployment: Deployment, name: str, told: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "displayName": f"{deployment.prefix}: {name}",
        "notificationChannels": list(deployment.alert_channels),
        "documentation": {"content": f"{told} docs/runbook.md says more.", "mimeType": "text/markdown"},
        "conditions": [{"displayName": name, **condition}],
    }


def _undelivered(subscription: str) -> dict[str, Any]:
    metric = "pubsub.googleapis.com/subscription/num_undelivered_messages"
    return {
        "conditionThreshold": {
            "filter": f'metric.type="{metric}" AND resource.type="pubsub_subscription" AND '
            f'resource.labels.subscription_id="{subscription}"',
            "comparison": "COMPARISON_GT",
            "thresholdValue": 0,
            "duration": "0s",
            "aggregations": [{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_MAX"}],
        }
    }


def _unanswered(service: str) -> dict[str, Any]:
    return {
        "conditionAbsent": {
            "filter": 'metric.type="run.googleapis.com/request_count" AND resource.type="cloud_run_revision" AND '
            f'resource.labels.service_name="{service}" AND metric.labels.response_code_class="2xx"',
            "duration": "600s",
            "aggregations": [{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_DELTA"}],
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
