"""Actions on runs: each shows what it will do, and does that."""

from __future__ import annotations

import json

from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from atom_workflows.coordinator.commands import retry_run
from console.conftest import OpenConsole
from support.repairs import BASE, FAILING, WORKING, ended_run
from support.workflows import chain, definition, script

SLOW = json.dumps({"default": {"duration": 100_000}})
CLEANUP = """
steps: [{id: load, task: {imageUri: image}}]
finally: [{id: tidy, task: {imageUri: image}}]
"""


def act(page: Page, name: str) -> None:
    """Press a button once it can be pressed."""
    page.get_by_role("button", name=name, exact=True).click()


def failed_run() -> tuple[World, str]:
    """Return a world with a run whose second of three steps failed."""
    world = World(script(s1={"fail_times": 9}))
    run_id = world.start(chain(3))
    world.run_to_end(run_id)
    return world, run_id


def test_cancelling_says_beforehand_which_jobs_are_stopped(open_console: OpenConsole) -> None:
    """The dialog counts what is under way, and the run is cancelled with the reason and the user's name."""
    world = World(SLOW)
    run_id = world.start(chain(2))
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}")
    act(page, "Cancel …")
    expect(page.get_by_role("dialog")).to_contain_text("1 step is under way now: its job will be asked to stop.")
    page.get_by_label("Reason").fill("the wrong day")
    act(page, "Cancel the run")
    expect(page.locator("#notices")).to_contain_text(f"Run {run_id} is cancelled")
    expect(page.get_by_role("heading", level=1)).to_contain_text("CANCELLED")
    [change] = world.run(run_id).changes
    assert (change.what, change.actor, change.why) == ("cancel", "someone@here", "the wrong day")


def test_cancelling_with_or_without_finally_is_chosen(open_console: OpenConsole) -> None:
    """A run whose steps under `finally` are to run is being cancelled; without them, it ends."""
    world = World(SLOW)
    run_id = world.start(CLEANUP)
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}")
    act(page, "Cancel …")
    preview = page.get_by_role("region", name="What it will do")
    expect(preview).to_contain_text("Its steps under finally run first.")
    page.get_by_label("do not run; end now").check()
    expect(preview).to_contain_text("end with it, or never begin")
    act(page, "Cancel the run")
    expect(page.get_by_role("heading", level=1)).to_contain_text("CANCELLED")
    assert world.run(run_id).changes[-1].what == "cancel --now"


def test_a_retry_shows_the_steps_that_run_again_and_why(open_console: OpenConsole) -> None:
    """The preview has the rows of `runs retry --dry-run`, and the run continues with those steps."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}")
    act(page, "Retry …")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row", name="s1 FAILED it is FAILED")).to_be_visible()
    expect(dialog).to_contain_text("1 step will be kept.")
    act(page, "Run these steps again")
    expect(page.get_by_role("heading", level=1)).to_contain_text("RUNNING")
    assert world.states(run_id) == {"s0": "SUCCEEDED", "s1": "PENDING", "s2": "PENDING"}


def test_a_retry_from_a_step_runs_everything_after_it(open_console: OpenConsole) -> None:
    """The button of a step names it, and the command is recorded as it would be typed."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}/steps/s0")
    act(page, "Retry from here …")
    expect(page.get_by_role("dialog").get_by_role("row", name="s0 SUCCEEDED you named it")).to_be_visible()
    act(page, "Run these steps again")
    expect(page.get_by_role("button", name="Retry from here …")).to_be_disabled()
    assert world.run(run_id).changes[-1].what == "retry --from s0"


def test_a_retry_of_one_step_may_add_what_failed(open_console: OpenConsole) -> None:
    """`only` leaves the others, unless what did not succeed is to run, too."""
    world = World(script(b={"fail_times": 9}))
    run_id = world.start(definition({"a": [], "b": []}))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}/steps/a")
    act(page, "Retry only this …")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("b stays unsuccessful")
    dialog.get_by_label("also what did not succeed").check()
    expect(dialog).not_to_contain_text("b stays unsuccessful")
    act(page, "Run these steps again")
    expect(page.get_by_role("button", name="Retry only this …")).to_be_disabled()
    assert world.run(run_id).changes[-1].what == "retry --only a --failed"


def test_an_unknown_step_is_answered_with_the_one_that_was_meant(open_console: OpenConsole) -> None:
    """A misspelled step cannot be confirmed, and the sentence is the command line's."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}")
    act(page, "Retry …")
    page.get_by_label("these steps and everything after them").check()
    page.get_by_role("textbox", name="Steps").fill("s11")
    expect(page.get_by_role("alert")).to_contain_text("did you mean s1?")
    expect(page.get_by_role("button", name="Run these steps again")).to_be_disabled()


def test_a_run_that_changed_after_its_preview_is_left_alone(open_console: OpenConsole) -> None:
    """What someone else did in the meantime is said, instead of doing something that was not shown."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}")
    act(page, "Retry …")
    expect(page.get_by_role("dialog").get_by_role("row").nth(1)).to_contain_text("s1")
    retry_run(world.services, run_id, actor="ana@there")
    world.run_to_end(run_id)
    act(page, "Run these steps again")
    expect(page.get_by_role("alert")).to_contain_text("changed after the preview was shown")
    assert [change.actor for change in world.run(run_id).changes] == ["ana@there"]


def test_an_edited_file_starts_a_run_that_keeps_what_is_unchanged(open_console: OpenConsole) -> None:
    """The file is chosen from disk, and the new run keeps the steps that the preview lists."""
    earlier = ended_run(script=FAILING)
    page = open_console(earlier.world.services, path=f"/runs/{earlier.run_id}")
    act(page, "Retry with an edited file or parameters …")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("choose or paste the file")
    text = BASE.replace("publish:1", "publish:2")
    dialog.get_by_label("Workflow file").set_input_files(
        {"name": "nightly.yaml", "mimeType": "text/yaml", "buffer": text.encode()}
    )
    expect(dialog).to_contain_text("A new run keeps 5 steps of it and runs 1 step.")
    expect(dialog.get_by_role("row", name="publish")).to_contain_text("runs")
    act(page, "Start the new run")
    expect(page.locator("#notices")).to_contain_text("which keeps 5 steps")
    earlier.world.settle_down()
    assert earlier.world.run(earlier.run_id).repaired_by


def test_a_changed_parameter_reruns_the_steps_that_read_it(open_console: OpenConsole) -> None:
    """The form shows the value that the run had, and a wrong one is said beside its field."""
    earlier = ended_run(script=WORKING)
    page = open_console(earlier.world.services, path=f"/runs/{earlier.run_id}")
    act(page, "Retry with an edited file or parameters …")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Text").fill(BASE)
    limit = dialog.get_by_label("limit")
    expect(limit).to_have_value("3")
    limit.fill("three")
    expect(dialog.locator("#param-limit-problem")).to_contain_text("which is not a whole number")
    expect(dialog.get_by_role("button", name="Start the new run")).to_be_disabled()
    limit.fill("4")
    expect(dialog).to_contain_text("params.limit: 3 is now 4")
    act(page, "Start the new run")
    expect(page.locator("#notices")).to_contain_text("Requested run")


def test_typing_asks_for_one_preview(open_console: OpenConsole) -> None:
    """A preview is asked for once no key was pressed for a moment."""
    earlier = ended_run(script=FAILING)
    page = open_console(earlier.world.services, path=f"/runs/{earlier.run_id}")
    act(page, "Retry with an edited file or parameters …")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    dialog.get_by_label("Text").press_sequentially("steps: []", delay=5)
    expect(dialog).to_contain_text("pasted.yaml:1:")
    assert 1 <= len(asked) <= 3


def test_escape_closes_a_dialog_and_gives_the_focus_back(open_console: OpenConsole) -> None:
    """A dialog takes the focus, keeps it, and changes nothing when it is closed."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}")
    button = page.get_by_role("button", name="Retry …", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
    assert world.run(run_id).retries == 0


def test_actions_are_on_the_pages_of_runs_and_steps(open_console: OpenConsole) -> None:
    """A step is retried from its own page, and the run's page shows that it continues."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}/steps/s1")
    act(page, "Retry only this …")
    expect(page.get_by_role("dialog").get_by_role("row", name="s1 FAILED you named it")).to_be_visible()
    act(page, "Run these steps again")
    expect(page.get_by_role("button", name="Retry only this …")).to_be_disabled()
    page.evaluate("path => { location.hash = path; }", f"/runs/{run_id}")
    expect(page.get_by_role("button", name="Cancel …")).to_be_enabled()
    assert world.run(run_id).changes[-1].what == "retry --only s1"


def test_a_read_only_console_disables_actions_and_says_why(open_console: OpenConsole) -> None:
    """No button of a read-only console can be pressed."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}", read_only=True)
    expect(page.get_by_text("This console is read-only").first).to_be_visible()
    changes = page.get_by_role("main").get_by_role("button").filter(has_text="…")
    expect(changes).not_to_have_count(0)
    for button in changes.all():
        expect(button).to_be_disabled()


def test_a_step_of_an_open_run_cannot_run_again_yet(open_console: OpenConsole) -> None:
    """The reason stands beside the buttons."""
    world = World(SLOW)
    run_id = world.start(chain(1))
    page = open_console(world.services, path=f"/runs/{run_id}/steps/s0")
    expect(page.get_by_text("once the run has ended")).to_be_visible()
    expect(page.get_by_role("button", name="Retry from here …")).to_be_disabled()
