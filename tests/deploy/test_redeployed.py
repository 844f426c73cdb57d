"""What is changed when something differs from the plan: that, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.conftest import Pass, Site
from deploy.fake_cloud import PROJECT

FUNCTIONS = f"projects/{PROJECT}/locations/us-central1/functions"


def test_only_what_differs_is_fixed(site: Site, second: Pass) -> None:
    """A second deployment fixes only what differs from the plan."""
    memory = site.cloud.memory
    subscription: Any = memory.get(f"projects/{PROJECT}/subscriptions/atom-steps")
    subscription["ackDeadlineSeconds"] = 10
    memory.policy(f"projects/{PROJECT}/topics/atom-tick")["bindings"].clear()
    [index] = memory.children(f"projects/{PROJECT}/databases/(default)/collectionGroups/steps/indexes")
    memory.delete(index["name"])
    job: Any = memory.get(f"projects/{PROJECT}/locations/us-central1/jobs/atom-tick")
    job["state"] = "PAUSED"
    fixed = site.run("deploy", *site.options)
    assert fixed.code == 0, fixed.err
    assert " 1 created, 3 changed," in fixed.out
    assert {request.path.rpartition("/")[2] for request in fixed.changes} == {
        "atom-steps",
        "atom-tick:setIamPolicy",
        "indexes",
        "atom-tick:resume",
    }
    assert subscription["ackDeadlineSeconds"] == 310


def test_another_address_changes_its_channel_alone(site: Site, second: Pass) -> None:
    """Another address changes the alerts' channel only."""
    options = site.options
    options[options.index("team@example.org")] = "others@example.org"
    changed = site.run("deploy", *options)
    assert changed.code == 0, changed.err
    [request] = changed.changes
    assert "/notificationChannels/" in request.path
    [channel] = site.cloud.memory.children(f"projects/{PROJECT}/notificationChannels")
    assert channel["labels"] == {"email_address": "others@example.org"}
    channel["labels"] = {"email_address": "team@example.org"}


def test_a_changed_setting_deploys_the_functions_again(site: Site, second: Pass) -> None:
    """A changed setting deploys the functions again, and nothing else."""
    changed = site.run("deploy", *site.options, "--set", "WORKFLOW_KEEP_RUNS_SEC=8640000")
    assert changed.code == 0, changed.err
    service = f"projects/{PROJECT}/locations/us-central1/services/atom-start"
    assert [one["role"] for one in site.cloud.memory.policy(service)["bindings"]] == ["roles/run.invoker"]
    asked = [one.path for one in changed.changes if not one.path.endswith(":setIamPolicy")]
    made = [path for path in asked if not path.startswith("put/")]
    assert sorted(made) == [f"{FUNCTIONS}/atom-{name}" for name in ("checker", "dispatcher", "start")]
    answer: Any = site.cloud.memory.get(f"{FUNCTIONS}/atom-checker")
    assert answer["serviceConfig"]["environmentVariables"]["WORKFLOW_KEEP_RUNS_SEC"] == "8640000"


def test_a_dry_run_changes_nothing(site: Site, second: Pass) -> None:
    """A dry run prints the commands and changes nothing."""
    answer = site.run("deploy", *site.options, "--dry-run", "--max-instances", "3")
    assert answer.changes == []
    assert answer.out.count("gcloud functions deploy") == 3
    assert "Nothing was changed." in answer.out


def test_another_token_is_another_version(site: Site, second: Pass, tmp_path: Path) -> None:
    """A new token is stored, and its functions are deployed again."""
    options = site.options
    options[options.index("--token-file") + 1] = str(tmp_path / "new")
    (tmp_path / "new").write_text("another.token")
    changed = site.run("deploy", *options)
    assert changed.code == 0, changed.err
    paths = [one.path.rpartition("/")[2] for one in changed.changes]
    assert paths.count("atom-task-runner-token:addVersion") == 1
    assert "another.token" not in changed.out
    assert site.run("deploy", *options).changes == []


@pytest.mark.parametrize("missing", ["projects/nobodys-project"])
def test_a_project_that_is_not_there(site: Site, missing: str) -> None:
    """A missing project is reported with the deploying account."""
    options = site.options
    options[1] = missing.rpartition("/")[2]
    answer = site.run("deploy", *options)
    assert (answer.code, answer.changes) == (1, [])
    assert "gcloud projects describe nobodys-project" in answer.err
    assert "What to do:" in answer.err
