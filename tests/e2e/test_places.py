"""A step with `maxParallel` keeps its places taken, and never has more jobs at work than places."""

from __future__ import annotations

import json
from typing import Final

from bench.places import Used, beginnings, used

from e2e.site import Site

PLACES: Final = 5
ITEMS: Final = 30
JOB_S: Final = 1.0


def test_a_free_place_is_taken_at_once(site: Site) -> None:
    """Never are more jobs alive than there are places, and most of the time as many."""
    site.script(json.dumps({"default": {"duration": JOB_S, "notifies": True}}))
    step = {"id": "train", "forEach": f"${{{{ range({ITEMS}) }}}}", "maxParallel": PLACES}
    run_id = site.start(json.dumps({"steps": [{**step, "task": {"imageUri": "image"}}]}))
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    begun = beginnings(site.platform.task_runner_log, run_id)
    assert len(begun) == ITEMS
    found = used(begun, JOB_S)
    assert found.most <= PLACES
    # A loaded machine needs its time between two jobs.
    assert found.average >= PLACES / 2


def test_the_use_of_places_is_computed_from_beginnings() -> None:
    """Two jobs one after the other are one at a time; two at the same time are two."""
    assert used([0.0, 1.0], 1.0) == Used(most=1, average=1.0)
    assert used([0.0, 0.0], 1.0) == Used(most=2, average=2.0)
