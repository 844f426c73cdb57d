"""What a removal takes away, and what it leaves."""

from __future__ import annotations

from deploy.conftest import Pass, Site
from deploy.fake_cloud import PROJECT

PLACE = f"projects/{PROJECT}"
WHERE = ("--project", PROJECT, "--region", "us-central1", "--task-runner-service", "runner")


def left(site: Site) -> set[str]:
    """Return the kinds of what still exists, but for fields and versions."""
    kinds = {tuple(path.split("/"))[-2] for path in site.cloud.memory.resources}
    return kinds - {"fields", "versions", "indexes"}


def test_a_dry_run_removes_nothing(site: Site, second: Pass) -> None:
    """A dry run prints the commands with their project and removes nothing."""
    plan = site.run("destroy", *WHERE, "--dry-run")
    assert plan.changes == []
    commands = [line for line in plan.out.splitlines() if line.startswith("gcloud ")]
    assert [line for line in commands if line.startswith("gcloud functions delete atom-start ")]
    assert all(line.endswith(f" --project={PROJECT}") for line in commands)


def test_everything_but_the_data_goes(site: Site, second: Pass) -> None:
    """A removal leaves bucket, database and dead letters, and says so."""
    gone = site.run("destroy", *WHERE)
    assert gone.code == 0, gone.err
    assert left(site) == {"b", "databases", "topics", "subscriptions"}
    letters = {f"{PLACE}/topics/atom-dead-letters", f"{PLACE}/subscriptions/atom-dead-letters"}
    assert {path for path in site.cloud.memory.resources if "/topics/" in path or "/subscriptions/" in path} == letters
    for place in (PLACE, f"{PLACE}/locations/us-central1/services/runner", f"b/{PROJECT}-atom-workflows"):
        assert site.cloud.memory.policy(place).get("bindings", []) == []
    assert "The data was kept" in gone.out


def test_what_is_gone_need_not_be_removed_again(site: Site, second: Pass) -> None:
    """An interrupted removal continues with what is left."""
    again = site.run("destroy", *WHERE)
    assert (again.code, again.changes) == (0, [])


def test_the_data_goes_when_it_is_said(site: Site, second: Pass) -> None:
    """`--delete-data` takes bucket, database and dead letters, too."""
    gone = site.run("destroy", *WHERE, "--delete-data")
    assert gone.code == 0, gone.err
    assert left(site) == set()
