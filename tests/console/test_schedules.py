"""The schedules of uploaded files."""

from __future__ import annotations

from datetime import UTC, datetime

from playwright.sync_api import expect

from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.schedules import load_schedules, pause_schedules
from atom_workflows.core.schedules import file_id
from console.conftest import OpenConsole

PATH = "gs://bucket/workflows/flow.yaml"
FLOW = """
timezone: Europe/Paris
schedules: [{cron: 30 2 * * *}]
steps: [{id: a, task: {imageUri: image}}]
"""


def scheduled_world() -> World:
    """Return a world two days before the clocks of Paris change."""
    world = World(clock=MovedClock(datetime(2026, 3, 27, 12, tzinfo=UTC)))
    world.upload(FLOW)
    return world


def test_next_times_say_when_clocks_change(open_console: OpenConsole) -> None:
    """Each time is shown in the file's zone, with a note on the night without 02:30."""
    page = open_console(scheduled_world().services, path="/schedules")
    row = page.get_by_role("row").filter(has_text="2026-03-29")
    expect(row).to_contain_text("2026-03-29 03:00 +02:00")
    expect(row).to_contain_text("clocks")
    before = page.get_by_role("row").count()
    more = page.get_by_role("button", name="Show more runs")
    for shown in (25, 45, 65, 85, 100):
        more.click()
        expect(page.get_by_role("row")).to_have_count(before - 5 + shown)
    expect(more).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_pausing_says_which_run_will_not_start(open_console: OpenConsole) -> None:
    """The pause is recorded with the reason, and shown with who gave it; a resume says what starts next.

    Its notice takes the place of the one about the pause, and goes with its reader to the next page only.
    """
    world = scheduled_world()
    page = open_console(world.services, path="/schedules")
    page.get_by_role("button", name="Pause …").click()
    expect(page.get_by_role("dialog")).to_contain_text("The run at 2026-03-28 02:30 +01:00 and all later ones")
    page.get_by_label("Reason").fill("the source is down")
    page.get_by_role("button", name="Pause the schedules").click()
    expect(page.get_by_text("Last change: paused by someone@here")).to_contain_text("the source is down")
    page.get_by_role("button", name="Resume …").click()
    expect(page.get_by_role("dialog")).to_contain_text("the next run starts at 2026-03-28 02:30 +01:00")
    page.get_by_role("button", name="Resume the schedules").click()
    expect(page.get_by_text("Last change: resumed by someone@here")).to_be_visible()
    notices = page.locator("#notices")
    expect(notices.locator(".notice")).to_have_count(1)
    expect(notices).to_contain_text("Resumed 1 schedule")
    page.get_by_role("link", name="File", exact=True).click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Schedules")
    expect(notices).to_contain_text("Resumed 1 schedule")
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(notices.locator(".notice")).to_have_count(0)
    # What is no label stays where it can be corrected.
    label = page.get_by_label("Label", exact=False).first
    label.fill("team")
    label.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("team is not a label; write NAME=VALUE")
    expect(label).to_have_value("team")
    label.fill("team=sales")
    label.press("Enter")
    expect(page.get_by_role("button", name="Remove the label team=sales")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_label("Created since").fill("next tuesday")
    expect(page.get_by_role("alert")).to_contain_text("Created since is 'next tuesday'; write a time such as")
    expect(page.get_by_text("Live")).to_have_count(0)
    stored = load_schedules(world.services, file_id(PATH))
    assert stored is not None
    assert [change.what for change in stored.schedules.changes] == ["pause", "resume"]


def test_schedules_that_changed_after_the_preview_are_left_alone(open_console: OpenConsole) -> None:
    """Someone else's pause is said instead of being done twice."""
    world = scheduled_world()
    page = open_console(world.services, path="/schedules")
    page.get_by_role("button", name="Pause …").click()
    expect(page.get_by_role("dialog")).to_contain_text("This pauses 1 schedule")
    pause_schedules(world.services, PATH, actor="ana@there")
    page.get_by_role("button", name="Pause the schedules").click()
    expect(page.get_by_role("alert")).to_contain_text("already paused")


def test_deleted_files_are_shown_when_asked_for(open_console: OpenConsole) -> None:
    """What is left of the schedules of a deleted file has no actions."""
    world = scheduled_world()
    world.delete(path=PATH)
    page = open_console(world.services, path="/schedules")
    expect(page.get_by_text("There are no schedules.")).to_be_visible()
    page.get_by_role("link", name="Show deleted files").click()
    expect(page.get_by_role("heading", level=2)).to_contain_text("DELETED")
    expect(page.get_by_role("button", name="Resume …")).to_have_count(0)


def test_read_only_console_pauses_nothing(open_console: OpenConsole) -> None:
    """The button is disabled."""
    page = open_console(scheduled_world().services, path="/schedules", read_only=True)
    expect(page.get_by_role("button", name="Pause …")).to_be_disabled()
