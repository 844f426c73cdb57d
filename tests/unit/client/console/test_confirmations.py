"""What a confirmed change is bound to, and how a page learns that a run has begun."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import pytest

from atom_emulator.testing.world import World
from atom_workflows.errors import BusUnavailable
from support.repairs import BASE, FAILING, ended_run
from support.workflows import chain
from unit.client.console.asking import Page

SLOW: Final = json.dumps({"default": {"duration": 100_000}})
PLAIN: Final = "name: daily-revenue-report\nsteps: [{id: a, task: {imageUri: image}}]\n"
OK: Final = 200
REFUSED: Final = 409
OUTDATED: Final = 412
UNAVAILABLE: Final = 503


def test_run_is_looked_for_by_its_exact_id_with_one_read() -> None:
    """A run that has not begun is not taken for one with a similar id, and no other run is read for a suggestion."""
    world = World()
    page, file = Page(world.services), {"name": "daily.yaml", "text": PLAIN}
    for number in range(5):
        page.post("/start", file=file, key=str(number))
        world.settle_down("start")
    run_id = page.post("/start", file=file, key="new").body["run_id"]
    before = world.store.reads
    found = page.get(f"/starts/{run_id}")
    assert (found.status, found.body["has_begun"], world.store.reads - before) == (OK, False, 1)
    world.settle_down("start")
    assert page.get(f"/starts/{run_id}").body["has_begun"] is True


def test_repair_confirmed_twice_starts_one_run() -> None:
    """An answer that was lost can be asked for again with the key of the preview."""
    earlier = ended_run(script=FAILING)
    page, path = Page(earlier.world.services), f"/runs/{earlier.run_id}/repair"
    file = {"name": "nightly.yaml", "text": BASE}
    shown = page.preview(path, file=file).body
    for _ in range(2):
        assert page.post(path, file=file, seen=shown["seen"], key=shown["key"]).status == OK
    earlier.world.settle_down("start")
    assert list(earlier.world.run(earlier.run_id).repaired_by) == [shown["run_id"]]


@pytest.mark.parametrize("body", [{"file": {"name": "a.yaml", "text": "steps: 1"}}, {"params": {"none": "1"}}])
def test_confirmation_of_a_repair_with_problems_is_refused(body: dict[str, object]) -> None:
    """Problems are a preview; to a confirmation they are a refusal."""
    earlier = ended_run(script=FAILING)
    page = Page(earlier.world.services)
    request = {"file": {"name": "nightly.yaml", "text": BASE}, **body}
    assert page.preview(f"/runs/{earlier.run_id}/repair", **request).status == OK
    assert page.post(f"/runs/{earlier.run_id}/repair", **request).status == REFUSED


def test_preview_of_a_retry_of_items_names_no_options() -> None:
    """Items that were named, and what they leave behind, are told in the words of the dialog."""
    world = World()
    loop = "{id: train, forEach: [1, 2, 3], task: {imageUri: image}}"
    run_id = world.start(f"steps: [{loop}, {{id: last, dependsOn: [train], task: {{imageUri: image}}}}]")
    world.run_to_end(run_id)
    page = Page(world.services)
    for body in ({"from": ["train[1]"]}, {"only": ["train[1]", "train[2]"]}):
        found = page.preview(f"/runs/{run_id}/retry", **body).body
        assert {step: why for step, _, why in found["table"]["rows"]}["train"].startswith("you named train[1]")
        assert "--" not in json.dumps([found["table"], found["lines"]])


def test_cancellation_is_bound_to_what_becomes_of_finally() -> None:
    """A preview in which the steps under `finally` run is no confirmation of ending without them."""
    world = World(SLOW)
    run_id = world.start(chain(1))
    page = Page(world.services)
    seen = page.preview(f"/runs/{run_id}/cancel", now=False).body["seen"]
    assert page.post(f"/runs/{run_id}/cancel", now=True, seen=seen).status == OUTDATED
    assert page.post(f"/runs/{run_id}/cancel", now=False, seen=seen).status == OK


def test_publish_that_timed_out_is_no_refusal() -> None:
    """The message may have been accepted, so the page must not take it for a change that was not made."""
    world = World()

    class Late:
        def publish(self, _: object) -> None:
            """See `ports.Bus.publish`."""
            raise BusUnavailable("the deadline has passed")

    page = Page(replace(world.services, bus=Late()))
    assert page.post("/start", file={"name": "daily.yaml", "text": PLAIN}, key="k").status == UNAVAILABLE


def test_outdated_preview_has_a_status_of_its_own() -> None:
    """Only then has nothing been done for certain, and a new run may get a new key."""
    earlier = ended_run(script=FAILING)
    page = Page(earlier.world.services)
    file = {"name": "nightly.yaml", "text": BASE}
    assert page.post(f"/runs/{earlier.run_id}/repair", file=file, seen="other").status == OUTDATED
