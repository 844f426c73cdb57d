"""Starting runs with a form made from the params of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import Bus, Message
from console.conftest import OpenConsole
from support.repairs import BASE, FAILING, ended_run

FLOW = """
name: nightly
timezone: Europe/Madrid
params:
  day: {type: date, description: The day to load.}
  mode: {type: text, default: full, enum: [full, delta]}
  limit: {type: int, default: 3, max: 10}
steps:
  - {id: load, task: {imageUri: image, args: ["${{ params.day }}", "${{ params.mode }}", "${{ params.limit }}"]}}
"""


class LateBus:
    """Publishes each message, but is too late to say so."""

    def __init__(self, bus: Bus) -> None:
        self._bus, self.is_late = bus, True
        self.published: list[Message] = []

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.published += messages
        self._bus.publish(messages)
        if self.is_late:
            raise BusUnavailable("the deadline has passed")


def paste(page: Page, text: str = FLOW) -> None:
    """Paste a workflow."""
    page.get_by_label("Name of the file").fill("nightly.yaml")
    page.get_by_label("Text").fill(text)


def test_form_is_made_from_the_params(open_console: OpenConsole) -> None:
    """Each param is a field with its type, its choices and its default, and what is missing is said beside it."""
    page = open_console(World().services, path="/start")
    paste(page)
    expect(page.get_by_label("mode").locator("option")).to_have_text(["full", "delta"])
    expect(page.get_by_label("limit")).to_have_value("3")
    expect(page.get_by_text("The day to load.")).to_be_visible()
    expect(page.locator("#param-day-problem")).to_contain_text("is required")
    expect(page.get_by_role("button", name="Start the run")).to_be_disabled()


def test_started_run_has_what_was_typed(open_console: OpenConsole) -> None:
    """The start message has the params, labels and key of the form, and the page goes to the run."""
    world = World()
    page = open_console(world.services, path="/start")
    paste(page)
    page.get_by_label("day").fill("2026-03-01")
    page.get_by_label("mode").select_option("delta")
    page.get_by_text("Key, labels and time").click()
    page.get_by_label("Run key").fill("march-1")
    page.get_by_label("Labels").fill("team=data")
    page.get_by_label("As of").fill("2025-12-31T02:30")
    expect(page.get_by_role("region", name="What it will do")).to_contain_text("This starts run nightly-")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_text("waiting for the platform to begin it")).to_be_visible()
    world.settle_down("start")
    page.wait_for_url("**/#/runs/nightly-*")
    [run] = [world.run(page.url.rpartition("/")[2])]
    assert (run.params["mode"], run.params["day"], run.params["limit"]) == ("delta", "2026-03-01", 3)
    assert (run.labels, run.trigger["run_key"]) == ({"team": "data"}, "march-1")
    assert run.scheduled_at is not None
    assert run.scheduled_at.isoformat() == "2025-12-31T01:30:00+00:00"


def test_problems_of_the_file_stop_the_start(open_console: OpenConsole) -> None:
    """A file with problems is shown with its lines, and cannot be started."""
    page = open_console(World().services, path="/start")
    paste(page, FLOW.replace("steps:", "stepz:"))
    expect(page.get_by_text("nightly.yaml:8:1")).to_be_visible()
    expect(page.get_by_role("button", name="Start the run")).to_be_disabled()


def test_file_in_a_bucket_is_started_in_the_generation_that_was_shown(open_console: OpenConsole) -> None:
    """If the file is replaced after the preview, nothing is started."""
    world = World()
    place = "gs://bucket/workflows/nightly.yaml"
    text = FLOW.replace("  day: {type: date, description: The day to load.}\n", "").replace('"${{ params.day }}", ', "")
    world.files.content[place, "1"] = text.encode()
    page = open_console(world.services, path="/start")
    page.get_by_label("In a bucket").fill(place)
    page.keyboard.press("Tab")
    expect(page.get_by_label("mode")).to_be_visible()
    world.files.content[place, "2"] = text.replace("default: 3", "default: 4").encode()
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("alert")).to_contain_text("changed after the preview was shown")
    expect(page.get_by_label("limit")).to_have_value("4")
    # The sentence stays beside the new preview.
    expect(page.get_by_role("alert")).to_contain_text("changed after the preview was shown")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_text("waiting for the platform to begin it")).to_be_visible()
    world.settle_down("start")
    page.wait_for_url("**/#/runs/nightly-*")


def test_file_that_is_missing_from_its_bucket_is_said(open_console: OpenConsole) -> None:
    """The sentence stands at the field."""
    page = open_console(World().services, path="/start")
    page.get_by_label("In a bucket").fill("gs://bucket/none.yaml")
    page.keyboard.press("Tab")
    expect(page.get_by_text("gs://bucket/none.yaml does not exist")).to_be_visible()


def test_read_only_console_starts_nothing(open_console: OpenConsole) -> None:
    """The button is disabled, and the reason is said; a file is still checked."""
    page = open_console(World().services, path="/start", read_only=True)
    expect(page.get_by_text("This console is read-only")).to_be_visible()
    expect(page.get_by_text("Choose a file first.")).to_be_visible()
    paste(page)
    page.get_by_label("day").fill("2026-03-01")
    expect(page.get_by_label("The plan")).to_contain_text("load")
    expect(page.get_by_text("Choose a file first.")).to_have_count(0)
    expect(page.get_by_role("button", name="Start the run")).to_be_disabled()


def test_what_was_filled_in_and_what_was_requested_outlive_the_page(open_console: OpenConsole) -> None:
    """A form is as it was left, and a run that begins later is linked from a notice, wherever its reader is by then."""
    world = World()
    page = open_console(world.services, path="/start")
    paste(page)
    page.get_by_label("day").fill("2026-03-01")
    expect(page.get_by_text("This starts run")).to_be_visible()
    page.get_by_role("link", name="Schedules", exact=True).click()
    page.get_by_role("link", name="Start", exact=True).click()
    expect(page.get_by_label("day")).to_have_value("2026-03-01")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_text("waiting for the platform to begin it")).to_be_visible()
    page.get_by_role("link", name="Schedules", exact=True).click()
    notice = page.locator("#notices")
    expect(notice).to_contain_text("Requested run nightly-")
    expect(notice.get_by_role("link")).to_have_count(0)
    world.settle_down("start")
    expect(notice.get_by_role("link")).to_contain_text("Run nightly-")
    expect(page.get_by_role("heading", level=1)).to_have_text("Schedules")
    page.get_by_role("link", name="Start", exact=True).click()
    expect(page.get_by_label("Text")).to_have_value("")


def test_form_that_was_filled_in_from_a_run_is_not_kept(open_console: OpenConsole) -> None:
    """Otherwise, the labels of that run would be given to the next one that is started, from whichever file."""
    world = World()
    run_id = world.upload("steps: [{id: a, task: {imageUri: image}}]")
    world.settle_down()
    page = open_console(world.services, path=f"/start?again={run_id}")
    expect(page.get_by_label("In a bucket")).to_have_value("gs://bucket/workflows/flow.yaml")
    page.get_by_role("link", name="Schedules", exact=True).click()
    page.get_by_role("link", name="Start", exact=True).click()
    expect(page.get_by_label("In a bucket")).to_have_value("")


def test_start_that_timed_out_is_repeated_with_its_key(open_console: OpenConsole) -> None:
    """The first message may have been accepted; a second one with another key would start a second run."""
    world = World()
    bus = LateBus(world.services.bus)
    page = open_console(replace(world.services, bus=bus), path="/start")
    paste(page, "name: nightly\nsteps: [{id: a, task: {imageUri: image}}]\n")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("alert")).to_contain_text("the deadline has passed")
    bus.is_late = False
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_text("waiting for the platform to begin it")).to_be_visible()
    assert len({message.body["run_key"] for message in bus.published}) == 1
    assert len(bus.published) == 2
    world.settle_down("start")
    page.wait_for_url("**/#/runs/nightly-*")


def test_repair_that_timed_out_is_repeated_with_its_key(open_console: OpenConsole) -> None:
    """The key stays even if the first message was accepted, and the preview is then outdated."""
    earlier = ended_run(script=FAILING)
    world = earlier.world
    bus = LateBus(world.services.bus)
    page = open_console(replace(world.services, bus=bus), path=f"/runs/{earlier.run_id}")
    page.get_by_role("button", name="Retry with an edited file").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Text").fill(BASE)
    dialog.get_by_role("button", name="Start the new run").click()
    expect(dialog.get_by_role("alert")).to_contain_text("the deadline has passed")
    bus.is_late = False
    dialog.get_by_role("button", name="Start the new run").click()
    expect(dialog).to_have_count(0)
    assert len({message.body["run_key"] for message in bus.published}) == 1
    assert len(bus.published) == 2
