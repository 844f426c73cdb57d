"""The page's words: those of the reader's zone and of the page, not of the server's zone and the command line."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from console.showcase import FILE, Showcase, build_showcase
from support.workflows import chain, script


@pytest.fixture(scope="module")
def shown() -> Showcase:
    """Return the showcase: nothing here changes it."""
    return build_showcase()


def test_times_in_sentences_are_those_of_the_reader(open_console: OpenConsole, shown: Showcase) -> None:
    """A time within a sentence is in the zone of the other times, and its title is what the server said."""
    page = open_console(shown.world.services, path=f"/runs/{shown.running}")
    time = page.get_by_role("listitem").filter(has_text="times out at").locator("time").first
    # The clock is at 03:53:40 in Madrid, and the job has an hour from ten seconds before.
    expect(time).to_contain_text("04:53:30")
    expect(time).to_have_attribute("datetime", "2026-11-30T03:53:30.000Z")


def test_times_that_a_job_wrote_stay(open_console: OpenConsole) -> None:
    """What a message says about a file of some time is the file's name, and not converted."""
    said = "part 2026-03-01 02:30:00 UTC is missing"
    world = World(script(s0={"always_fail": True, "message": said}))
    run_id = world.start(chain(1))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}")
    expect(page.get_by_label("Why it is where it is")).to_contain_text(said)


def test_only_tolerated_failures_are_called_so(open_console: OpenConsole, shown: Showcase) -> None:
    """A step has the mark `tolerated` if its failure is."""
    page = open_console(shown.world.services, path=f"/runs/{shown.failed}")
    expect(page.get_by_role("table", name="Steps")).to_contain_text("train")
    expect(page.get_by_text("tolerated")).to_have_count(0)


def test_dialogs_name_no_options_of_the_command_line(open_console: OpenConsole, shown: Showcase) -> None:
    """What a retry says beforehand can be followed on the page."""
    page = open_console(shown.world.services, path=f"/runs/{shown.failed}/steps/totals")
    page.get_by_role("button", name="Retry from here …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text('select "also what did not succeed" to run unsuccessful steps again')
    expect(dialog.get_by_role("row").filter(has_text="totals")).to_contain_text("you named it")
    expect(dialog).not_to_contain_text("--")


def test_dialog_about_items_and_kept_steps_names_no_options(open_console: OpenConsole, shown: Showcase) -> None:
    """Neither in the reason of a row, nor in a sentence about steps that are kept."""
    page = open_console(shown.world.services, path=f"/runs/{shown.failed}")
    page.get_by_role("button", name="Retry …", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("only these steps, and what").check()
    dialog.get_by_role("textbox", name="Steps").fill("load[7]")
    expect(dialog).to_contain_text("you named load[7]")
    expect(dialog).not_to_contain_text("--")
    expect(dialog.get_by_role("columnheader").first).to_have_text("Step")


def test_retry_of_named_steps_asks_for_their_names(open_console: OpenConsole, shown: Showcase) -> None:
    """Until a step is named there is nothing to be previewed, and that is no error."""
    page = open_console(shown.world.services, path=f"/runs/{shown.succeeded}")
    page.get_by_role("button", name="Retry …", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Name the steps first.")
    expect(dialog.get_by_role("alert")).to_have_count(0)
    expect(dialog.get_by_role("button", name="Run these steps again")).to_be_disabled()


def test_emptied_file_is_not_taken_for_the_file_of_the_run(open_console: OpenConsole, shown: Showcase) -> None:
    """Nothing can be started from no file, and the sentence says how to keep the run's."""
    page = open_console(shown.world.services, path=f"/runs/{shown.failed}")
    page.get_by_role("button", name="Retry with an edited file or parameters …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("region", name="What it will do")).to_contain_text("A new run keeps")
    dialog.get_by_text("The file", exact=True).click()
    dialog.locator(".source textarea").fill("")
    expect(dialog.get_by_role("region", name="What it will do")).to_contain_text("The file is empty")
    expect(dialog.get_by_role("button", name="Start the new run")).to_be_disabled()


def test_file_of_a_run_can_be_started_again(open_console: OpenConsole, shown: Showcase) -> None:
    """From an ended run, its file is started anew with a form that knows its place and what the run was given."""
    page = open_console(shown.world.services, path=f"/runs/{shown.succeeded}")
    page.get_by_role("button", name="Start the file again").click()
    expect(page.get_by_label("In a bucket")).to_have_value(FILE)
    expect(page.get_by_text("The file, the parameters and the labels of run")).to_contain_text(shown.succeeded)
    expect(page.locator("#param-day")).to_have_value("2026-11-26")
    # A path is checked while it is typed: nothing can be started that was not shown.
    page.get_by_label("In a bucket").fill(f"{FILE}x")
    expect(page.get_by_role("button", name="Start the run")).to_be_disabled()
    expect(page.get_by_text("does not exist")).to_be_visible()
    page.get_by_label("In a bucket").fill(FILE)
    expect(page.get_by_role("button", name="Start the run")).to_be_enabled()
