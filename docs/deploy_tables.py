"""Write the tables in the docs that come from the deployment's own plan and list of roles.

`python docs/generate.py` writes them; a test fails when one is not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "deploy"))

from atom_deploy.deployment import Deployment  # noqa: E402 (the package is not installed, so the path is set first)
from atom_deploy.plan import Plan, plan_of  # noqa: E402 (likewise)
from atom_deploy.resources.functions import ALL_FUNCTIONS  # noqa: E402 (likewise)
from atom_deploy.resources.pubsub import KEPT_S, LONGEST_BACKOFF_S, PUSHED, tried_for_s  # noqa: E402 (likewise)
from atom_deploy.roles import (  # noqa: E402 (likewise)
    BUILD_GRANTS,
    CLOUD_RUN_JOBS,
    CLOUD_RUN_PERMISSIONS,
    IDENTITIES,
    LOG_ALERT_PERMISSIONS,
    LOG_ALERTS,
    PUBSUB_AGENT,
    RUNNER_IDENTITIES,
    STORAGE_AGENT,
    all_grants,
)
from atom_workflows.settings import MAX_DELIVERIES, MIN_BACKOFF_S  # noqa: E402 (likewise)

AGENTS: Final = {PUBSUB_AGENT: "Pub/Sub's service agent", STORAGE_AGENT: "Cloud Storage's service agent"}

_IDENTITIES: Final = {**IDENTITIES, **RUNNER_IDENTITIES}

_OTHERWISE: Final = "with `--token-file`"
"""The only option without a deployment in `_conditions`, as it needs a file."""

_GRANTED: Final = "see [security](../explanation/security.md)"


def roles() -> str:
    """Return the table of roles by identity, resource and call."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for grant in all_grants(with_runner=True):
        rows.setdefault((grant.to, grant.role), {})[grant.on] = grant.call
    lines = [
        f"| {_who(to)} | {_shown_role(role)} on {_places(calls)} | {_calls(calls)} |"
        for (to, role), calls in rows.items()
    ]
    return "\n".join(["| identity | role | the call that needs it |", "|---|---|---|", *lines])


def _shown_role(role: str) -> str:
    if role != CLOUD_RUN_JOBS:
        return f"`{role}`"
    return f"a custom role with {', '.join(f'`{one}`' for one in CLOUD_RUN_PERMISSIONS)}"


def deployer() -> str:
    """Return the table of the roles of the builds' accounts."""
    lines = [f"| `{one.to}` | {_role(one.role)} | {_place(one.on)} | {one.call} |" for one in BUILD_GRANTS]
    return "\n".join(["| account | role | on | purpose |", "|---|---|---|---|", *lines])


def _role(role: str) -> str:
    if role != LOG_ALERTS:
        return f"`{role}`"
    return f"a custom role of the project with {', '.join(f'`{one}`' for one in LOG_ALERT_PERMISSIONS)}"


def _place(place: str) -> str:
    kind, _, name = place.partition(" ")
    return {
        "project": "the project",
        "grants": "the project",
        "account": f"the account `{name}`",
        "build-bucket": "the bucket for sources",
    }[kind]


def redelivery() -> str:
    """Return the table of how long events are redelivered, by topic."""
    lines = [
        f"| `{topic}` | {MIN_BACKOFF_S} s, growing to {LONGEST_BACKOFF_S[topic]} s | "
        f"{_time(tried_for_s(topic, MAX_DELIVERIES))} | {_time(KEPT_S[topic])} |"
        for topic in PUSHED
    ]
    head = ["| topic | pause before the next delivery | given up after about | kept if it cannot be delivered at all |"]
    return "\n".join([*head, "|---|---|---|---|", *lines])


def _time(seconds: int) -> str:
    """Write a duration in its largest unit, rounded down."""
    for unit, length in {"days": 86_400, "hours": 3_600}.items():
        if seconds >= length:
            return f"{seconds * 10 // length / 10:g} {unit}"
    return f"{seconds // 60} minutes"


def resources() -> str:
    """Return the table of the created resources and their purposes."""
    deployment = Deployment(
        project="my-project", region="us-central1", task_runner_url="https://runner", task_runner_service="runner"
    )
    lines = [f"| {kind} | {names} | {why} | {needs} |" for kind, names, why, needs in _rows(_plan(deployment))]
    return "\n".join(["| kind | name | purpose | only |", "|---|---|---|---|", *lines])


def _plan(deployment: Deployment, *, all_options: bool = True) -> Plan:
    return plan_of(deployment, staged=Path(), digests=dict.fromkeys(ALL_FUNCTIONS, ""), all_options=all_options)


def _conditions() -> Mapping[tuple[str, str], str]:
    """Return when a deployment has each resource, by kind and name.

    The condition is "" for what every deployment has. Resources that none of these deployments has are left out.
    """
    own = Deployment(project="my-project", region="us-central1")
    other = replace(own, task_runner_url="https://runner")
    deployments = {
        "": other,
        "without `TASK_RUNNER_URL`": own,
        "with `--task-runner-service`": replace(other, task_runner_service="runner"),
        "with `--alert-email`": replace(other, alert_email="team@example.org", alerts=False),
        "with an option for alerts": replace(other, alerts=True),
        "with an option for alerts, without `TASK_RUNNER_URL`": replace(own, alerts=True),
    }
    found: dict[tuple[str, str], str] = {}
    for condition, deployment in deployments.items():
        for resource in (one for stage in _plan(deployment, all_options=False) for one in stage):
            found.setdefault((resource.kind, resource.name), condition)
    return found


TABLES: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "how-to/deploy.md": {"resources": resources, "deployer": deployer},
    "how-to/runbook.md": {"redelivery": redelivery},
    "explanation/security.md": {"roles": roles},
}


def generated(page: str) -> str:
    """Return the page with new tables, each between its markers."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, make in TABLES[page].items():
        table = make()
        before, after = f"<!-- {name} -->\n", "<!-- end -->"
        between = re.compile(f"{re.escape(before)}.*?{re.escape(after)}", re.DOTALL)
        text, found = between.subn(lambda _: f"{before}{table}\n{after}", text)  # noqa: B023 (called immediately)
        if found != 1:
            raise ValueError(f"{page} has {found} places for the table {name} instead of one")
    return text


def _who(identity: str) -> str:
    return AGENTS.get(identity) or f"`{identity}`: {_IDENTITIES[identity]}"


def _places(calls: Mapping[str, str]) -> str:
    kinds: dict[str, list[str]] = {}
    for place in calls:
        kind, _, name = place.partition(" ")
        kinds.setdefault(kind, []).append(f"`{name}`")
    return "; ".join(
        f"the {kind} {', '.join(names)}" if names != ["``"] else f"the {kind}" for kind, names in kinds.items()
    )


def _calls(calls: Mapping[str, str]) -> str:
    if len(set(calls.values())) == 1:
        return next(iter(calls.values()))
    return "; ".join(f"{place.rpartition(' ')[2]}: {call}" for place, call in calls.items())


def _rows(plan: Plan) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the table of resources.

    Each kind of grant, exemption and TTL policy has one row, or two if some of it is optional. So has every other
    resource.
    """
    conditions = _conditions()
    rows: dict[tuple[str, str, str], list[str]] = {}
    for resource in (one for stage in plan for one in stage):
        why = _GRANTED if resource.kind.startswith("grants on ") else resource.why
        condition = "" if resource.kind == "services" else conditions.get((resource.kind, resource.name), _OTHERWISE)
        rows.setdefault((resource.kind, why, condition), []).append(f"`{resource.name}`")
    for (kind, why, condition), names in rows.items():
        yield kind, ", ".join(names), why, condition


if __name__ == "__main__":
    for name in TABLES:
        (DOCS / name).write_text(generated(name), encoding="utf-8")
        sys.stdout.write(f"docs/{name} is up to date\n")
