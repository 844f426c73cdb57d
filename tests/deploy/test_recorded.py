"""What the installed gcloud sends for a deployment to an empty project, and for the same one again."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from typing import Any

import pytest

from atom_deploy.resources.firestore import declared
from atom_deploy.resources.functions import FUNCTIONS, SERVICES
from atom_deploy.resources.pubsub import HINTS, LONGEST_BACKOFF_S, PUSHED, TOPICS
from atom_deploy.roles import AGENTS_OF, GRANTS
from atom_workflows.settings import MAX_DELIVERIES
from deploy.conftest import RUNNER_URL, Pass, Site
from deploy.fake_cloud import NUMBER, PROJECT

BUCKET = f"b/{PROJECT}-atom-workflows"
DATABASE = f"projects/{PROJECT}/databases/(default)"
PLACE = f"projects/{PROJECT}/locations/us-central1"


def account(identity: str) -> str:
    """Return the address of one of the deployment's accounts."""
    return f"atom-{identity}@{PROJECT}.iam.gserviceaccount.com"


def test_an_empty_project_is_filled(first: Pass) -> None:
    """The first deployment succeeds and explains how to start a run."""
    assert (first.code, first.err) == (0, "")
    assert f"gsutil cp examples/fork_join.yaml gs://{PROJECT}-atom-workflows/workflows/" in first.out
    assert "or POST to https://atom-start-abc-uc.a.run.app" in first.out
    assert f"atom-workflows runs list --project {PROJECT}\n" in first.out


def test_the_second_time_nothing_is_changed(second: Pass) -> None:
    """A second deployment only looks, and reports each resource as unchanged."""
    assert (second.code, second.err) == (0, "")
    assert second.changes == []
    assert re.search(r": 0 created, 0 changed, \d+ unchanged\.", second.out)


def test_every_service_is_enabled_at_once(first: Pass) -> None:
    """One request enables all that the deployment is built on."""
    [body] = first.bodies("POST", f"projects/{PROJECT}/services:batchEnable")
    assert set(body["serviceIds"]) == {f"{name}.googleapis.com" for name in SERVICES}  # type: ignore[index]  # JSON


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_private_and_runs_as_itself(site: Site, first: Pass, function: str) -> None:
    """Each function has its own account, and only start is reachable."""
    made: Any = site.cloud.memory.get(f"{PLACE}/functions/atom-{function}")
    service, build = made["serviceConfig"], made["buildConfig"]
    assert service["serviceAccountEmail"] == account(function)
    assert build["serviceAccount"] == f"projects/{PROJECT}/serviceAccounts/{account('build')}"
    assert (build["entryPoint"], build["runtime"]) == (function, "python313")
    assert service["ingressSettings"] == ("ALLOW_ALL" if function == "start" else "ALLOW_INTERNAL_ONLY")
    assert "eventTrigger" not in made
    policy = site.cloud.memory.policy(f"{PLACE}/services/atom-{function}")
    assert policy["bindings"] == [{"role": "roles/run.invoker", "members": [f"serviceAccount:{account('push')}"]}]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_gets_its_settings(site: Site, first: Pass, function: str) -> None:
    """A function's environment has its settings, and the token only where needed."""
    service = (site.cloud.memory.get(f"{PLACE}/functions/atom-{function}") or {})["serviceConfig"]
    sent = service["environmentVariables"]
    assert sent["WORKFLOW_PROJECT"] == PROJECT
    assert sent["WORKFLOW_TOPIC_PREFIX"] == "atom-"
    assert sent["WORKFLOW_TASK_RUNNER_URL"] == RUNNER_URL
    assert sent["THREADS"] == str(service["maxInstanceRequestConcurrency"])
    secrets = [one["secret"] for one in service.get("secretEnvironmentVariables", ())]
    assert secrets == ([] if function == "start" else ["atom-task-runner-token"])


def test_what_is_uploaded_is_the_staged_folder(first: Pass) -> None:
    """Each archive is the staged folder."""
    archives = [one.body for one in first.requests if one.path.startswith("put/")]
    assert len(archives) == len(FUNCTIONS)
    for archive in archives:
        names = set(zipfile.ZipFile(io.BytesIO(archive.encode("latin-1"))).namelist())
        assert {"main.py", "requirements.txt", "atom_workflows/bootstrap.py"} <= names
        assert not [name for name in names if "atom_client" in name or "__pycache__" in name or name.startswith(".")]


@pytest.mark.parametrize("topic", PUSHED)
def test_a_push_subscription_is_ours(site: Site, first: Pass, topic: str) -> None:
    """A push subscription has its deadline, its identity and a dead-letter topic."""
    made: Any = site.cloud.memory.get(f"projects/{PROJECT}/subscriptions/atom-{topic}")
    service = (site.cloud.memory.get(f"{PLACE}/functions/atom-{PUSHED[topic]}") or {})["serviceConfig"]
    assert service["timeoutSeconds"] < made["ackDeadlineSeconds"] <= 600
    assert made["pushConfig"]["pushEndpoint"] == service["uri"]
    assert made["pushConfig"]["oidcToken"] == {"audience": service["uri"], "serviceAccountEmail": account("push")}
    assert made["retryPolicy"] == {"minimumBackoff": "1s", "maximumBackoff": f"{LONGEST_BACKOFF_S[topic]}s"}
    letters = f"projects/{PROJECT}/topics/atom-dead-letters"
    kept = {"deadLetterTopic": letters, "maxDeliveryAttempts": MAX_DELIVERIES}
    assert made.get("deadLetterPolicy") == (None if topic in HINTS else kept)
    assert made["expirationPolicy"] == {}


def test_dead_letters_are_kept_until_someone_looks(site: Site, first: Pass) -> None:
    """The dead letters' subscription never expires."""
    made: Any = site.cloud.memory.get(f"projects/{PROJECT}/subscriptions/atom-dead-letters")
    assert "pushConfig" not in made
    assert (made["expirationPolicy"], made["messageRetentionDuration"]) == ({}, f"{31 * 86_400}s")


def test_every_topic_is_made(site: Site, first: Pass) -> None:
    """All topics are made with the prefix."""
    made = {one["name"].rpartition("/")[2] for one in site.cloud.memory.children(f"projects/{PROJECT}/topics")}
    assert made == {f"atom-{topic}" for topic in TOPICS}


def test_uploads_under_the_prefix_are_notified(site: Site, first: Pass) -> None:
    """The private bucket notifies topic start of uploads and deletions under the prefix."""
    bucket: Any = site.cloud.memory.get(BUCKET)
    assert bucket["iamConfiguration"] == {
        "publicAccessPrevention": "enforced",
        "uniformBucketLevelAccess": {"enabled": True},
    }
    assert first.bodies("POST", f"{BUCKET}/notificationConfigs") == [
        {
            "event_types": [event],
            "object_name_prefix": "workflows/",
            "payload_format": "JSON_API_V1",
            "topic": f"projects/{PROJECT}/topics/atom-start",
        }
        for event in ("OBJECT_FINALIZE", "OBJECT_DELETE")
    ]


def test_the_checker_ticks_every_minute(site: Site, first: Pass) -> None:
    """The scheduler publishes a tick every minute."""
    made: Any = site.cloud.memory.get(f"{PLACE}/jobs/atom-tick")
    assert (made["schedule"], made["timeZone"]) == ("* * * * *", "Etc/UTC")
    assert made["pubsubTarget"]["topicName"] == f"projects/{PROJECT}/topics/atom-tick"
    assert json.loads(base64.b64decode(made["pubsubTarget"]["data"]))["type"] == "tick"


def test_the_database_has_what_is_declared(site: Site, first: Pass) -> None:
    """The database has the declared indexes, exemptions and TTL policies."""
    [body] = first.bodies("POST", f"projects/{PROJECT}/databases")
    assert body["deleteProtectionState"] == "DELETE_PROTECTION_ENABLED"  # type: ignore[index]  # JSON
    [index] = first.bodies("POST", "/collectionGroups/steps/indexes")
    assert index["queryScope"] == "COLLECTION_GROUP"  # type: ignore[index]  # JSON
    assert index["fields"] == declared()["indexes"][0]["fields"]  # type: ignore[index]  # JSON
    for one in declared()["fieldOverrides"]:
        made: Any = site.cloud.memory.get(
            f"{DATABASE}/collectionGroups/{one['collectionGroup']}/fields/{one['fieldPath']}"
        )
        assert made["indexConfig"] == {"indexes": []}
        assert ("ttlConfig" in made) == bool(one.get("ttl"))


def test_the_token_is_in_the_secret_alone(site: Site, first: Pass) -> None:
    """The token is sent to Secret Manager only, and printed nowhere."""
    token = site.token_file.read_bytes()
    sent = base64.b64encode(token).decode()
    carrying = [one.path for one in first.requests if sent in json.dumps(one.body) or token.decode() in str(one.body)]
    assert carrying == [f"projects/{PROJECT}/secrets/atom-task-runner-token:addVersion"]
    assert token.decode() not in first.out


def test_the_grants_are_those_of_the_list(site: Site, first: Pass) -> None:
    """Every resource has exactly the grants of the list."""
    granted = {
        (place, binding["role"], member.removeprefix("serviceAccount:"))
        for place, policy in site.cloud.memory.policies.items()
        for binding in policy["bindings"]
        for member in binding["members"]
    }
    assert granted == {(path_of(one.on), one.role, member_of(one.to)) for one in GRANTS}
    on_project = site.cloud.memory.policy(f"projects/{PROJECT}")["bindings"]
    conditions = {binding["role"]: binding.get("condition", {}).get("expression") for binding in on_project}
    assert conditions.pop("roles/datastore.user") == f'resource.name == "{DATABASE}"'
    assert set(conditions.values()) == {None}


def test_nothing_is_public(site: Site, first: Pass) -> None:
    """No policy names everyone."""
    sent = json.dumps([one.body for one in first.changes])
    assert "allUsers" not in sent
    assert "allAuthenticatedUsers" not in sent


def alert(site: Site, name: str) -> Any:
    """Return the alert policy of that name."""
    made = site.cloud.memory.children(f"projects/{PROJECT}/alertPolicies")
    return next(one for one in made if one["displayName"] == f"atom: {name}")


@pytest.mark.parametrize("name", ["dead letters", "checker", "failed runs"])
def test_an_alert_reaches_someone(site: Site, first: Pass, name: str) -> None:
    """Each alert notifies both channels and closes by itself."""
    [channel] = site.cloud.memory.children(f"projects/{PROJECT}/notificationChannels")
    assert (channel["type"], channel["labels"]) == ("email", {"email_address": "team@example.org"})
    made = alert(site, name)
    assert made["notificationChannels"] == ["projects/p/notificationChannels/1", channel["name"]]
    assert made["alertStrategy"]["autoClose"] == "1800s"


def test_a_silent_checker_is_seen_whatever_its_revision(site: Site, first: Pass) -> None:
    """The alert on a silent checker sums over all revisions."""
    absent, _ = alert(site, "checker")["conditions"]
    [aggregation] = absent["conditionAbsent"]["aggregations"]
    assert aggregation["crossSeriesReducer"] == "REDUCE_SUM"
    assert aggregation["groupByFields"] == ["resource.label.service_name"]


def test_a_checker_that_never_worked_is_seen(site: Site, first: Pass) -> None:
    """A tick that waits too long raises the alert, even if none was ever handled."""
    _, old = alert(site, "checker")["conditions"]
    condition = old["conditionThreshold"]
    assert "subscription/oldest_unacked_message_age" in condition["filter"]
    assert 'subscription_id="atom-tick"' in condition["filter"]
    ticks: Any = site.cloud.memory.get(f"projects/{PROJECT}/subscriptions/atom-tick")
    assert condition["thresholdValue"] < int(ticks["messageRetentionDuration"].rstrip("s"))


def test_the_secret_stays_in_the_region(site: Site, first: Pass) -> None:
    """The secret is replicated to the region only."""
    secret: Any = site.cloud.memory.get(f"projects/{PROJECT}/secrets/atom-task-runner-token")
    assert secret["replication"] == {"userManaged": {"replicas": [{"location": "us-central1"}]}}


def path_of(place: str) -> str:
    """Return the path of what a grant is on."""
    kind, _, name = place.partition(" ")
    return {
        "project": f"projects/{PROJECT}",
        "database": f"projects/{PROJECT}",
        "bucket": BUCKET,
        "topic": f"projects/{PROJECT}/topics/atom-{name}",
        "subscription": f"projects/{PROJECT}/subscriptions/atom-{name}",
        "function": f"{PLACE}/services/atom-{name}",
        "task-runner": f"{PLACE}/services/runner",
        "secret": f"projects/{PROJECT}/secrets/atom-task-runner-token",
    }[kind]


def member_of(identity: str) -> str:
    """Return the address of an identity of the list."""
    service = AGENTS_OF.get(identity)
    return f"service-{NUMBER}@{service}.iam.gserviceaccount.com" if service else account(identity)
