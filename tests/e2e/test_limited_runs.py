"""Runs of which only one may be at work, on real processes."""

from __future__ import annotations

import json
from itertools import pairwise

from e2e.console import console
from e2e.site import Site
from support.deadline import eventually
from support.groups import limited


def state_of(site: Site, run_id: str) -> str:
    """Return a run's state, empty before it exists."""
    return str(site.run(run_id).get("state", ""))


def test_runs_wait_for_each_other(site: Site) -> None:
    """Of runs that are started at once, one is at work at a time, and all of them run."""
    site.script("default: {duration: 1}")
    ids = [site.start(limited(2), name="queue") for _ in range(5)]
    runs = [site.ended(run_id, within_s=240) for run_id in ids]
    assert [run["state"] for run in runs] == ["SUCCEEDED"] * 5
    for before, after in pairwise(sorted(runs, key=lambda run: run["started_at"])):
        assert before["finished_at"] <= after["started_at"]
    assert all(run["place"] is None for run in runs)


def test_people_see_cancel_and_skip_the_line(site: Site) -> None:
    """`why` names the run that is waited for, a cancel ends a waiting run at once, and `--no-queue` does not wait."""
    site.script("default: {duration: 600}")
    first = site.start(limited(), name="line")
    eventually(lambda: state_of(site, first) == "RUNNING", within_s=60, what="the first run")
    second, third = (site.start(limited(), name="line") for _ in range(2))
    eventually(lambda: {state_of(site, one) for one in (second, third)} == {"QUEUED"}, within_s=60, what="the line")
    assert f"QUEUED behind {first} since" in console(site, "why", second).succeeded()
    console(site, "runs", "cancel", second).succeeded()
    assert state_of(site, second) == "CANCELLED"
    urgent = site.start(limited(), name="line", no_queue=True)
    eventually(lambda: state_of(site, urgent) == "RUNNING", within_s=60, what="the urgent run")
    assert json.loads(console(site, "runs", "show", urgent, "--json").succeeded())["run"]["no_queue"] is True
    for run_id in (first, urgent):
        console(site, "runs", "cancel", run_id).succeeded()
    eventually(lambda: state_of(site, third) == "RUNNING", within_s=60, what="the next run in line")
    console(site, "runs", "cancel", third).succeeded()


def test_only_the_latest_waits(site: Site) -> None:
    """A run that waits is replaced by a newer one, and says by which."""
    site.script("default: {duration: 600}")
    definition = limited(whenFull="latest")
    first = site.start(definition, name="latest")
    eventually(lambda: state_of(site, first) == "RUNNING", within_s=60, what="the first run")
    second = site.start(definition, name="latest")
    eventually(lambda: state_of(site, second) == "QUEUED", within_s=60, what="the second run")
    third = site.start(definition, name="latest")
    skipped = site.ended(second)
    assert (skipped["state"], skipped["because"]) == ("SKIPPED", f"replaced by {third}")
    for run_id in (first, third):
        console(site, "runs", "cancel", run_id).succeeded()
