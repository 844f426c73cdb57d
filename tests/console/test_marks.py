"""Marking a step on its page or the run's: a form for its outputs, and what the mark does, before it is made."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from atom_workflows.coordinator.commands import mark_step
from atom_workflows.coordinator.marks import Wish
from atom_workflows.core.states import StepState
from console.conftest import OpenConsole
from console.test_accessibility import ALL, find_serious
from support.hostile import HOSTILE, require_harmless
from support.workflows import definition, script

TYPED = definition(
    {"list": [], "load": ["list"]},
    list={"outputs": {"rows": "int", "files": "[gsUri]"}},
    load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
)
OPEN = definition({"a": [], "b": ["a"]})


def failed_run() -> tuple[World, str]:
    """Return a world with a run whose first step failed before it returned its outputs."""
    world = World(script(list={"always_fail": True}))
    run_id = world.start(TYPED)
    world.run_to_end(run_id)
    return world, run_id


def act(page: Page, name: str) -> None:
    """Press a button once it can be pressed."""
    page.get_by_role("button", name=name, exact=True).click()


def test_step_is_marked_with_the_outputs_that_it_declares(open_console: OpenConsole) -> None:
    """Each output has a field with its type; a wrong one is said beside it, and the run goes on with the right ones."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}/steps/list")
    act(page, "Mark …")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("#param-rows-problem")).to_contain_text("rows is missing")
    expect(dialog.get_by_role("button", name="Mark the step")).to_be_disabled()
    dialog.get_by_label("rows").fill("many")
    expect(dialog.locator("#param-rows-problem")).to_contain_text("not a whole number")
    dialog.get_by_label("rows").fill("7")
    dialog.get_by_label("files").fill('["gs://b/a"]')
    preview = page.get_by_role("region", name="What it will do")
    expect(preview).to_contain_text("The run will be continued, and the step will be SUCCEEDED without being run.")
    expect(preview.get_by_role("row", name="load")).to_be_visible()
    dialog.get_by_label("Reason").fill("loaded by hand")
    act(page, "Mark the step")
    expect(page.locator("#notices")).to_contain_text(f"Marked list as succeeded: run {run_id} continues.")
    world.run_to_end(run_id)
    assert set(world.states(run_id).values()) == {"SUCCEEDED"}
    assert world.run(run_id).changes[-1].why == "loaded by hand"


def test_step_is_marked_from_the_page_of_its_run_by_keyboard(open_console: OpenConsole) -> None:
    """One names the step, chooses how it ends, and confirms; a run that goes on is marked as well."""
    world = World(script(a={"duration": 900}))
    run_id = world.start(OPEN)
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}", width=360)
    page.get_by_role("button", name="Mark a step …").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Name the step first.")
    page.keyboard.press("Tab")
    expect(dialog.get_by_label("Step", exact=False).first).to_be_focused()
    page.keyboard.type("b")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    expect(dialog).to_contain_text("b has not begun. Once it would begin, it will be SKIPPED without being run.")
    expect(dialog.get_by_role("button", name="Mark the step")).to_be_enabled()
    assert find_serious(page, ALL) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#notices")).to_contain_text("Marked b as skipped: it will end that way when its turn comes.")
    assert world.run(run_id).changes[-1].what == "mark b skipped"


def test_mark_that_cannot_be_made_says_why(open_console: OpenConsole) -> None:
    """The sentence is the command line's; after a change elsewhere, one may ask again."""
    world, run_id = failed_run()
    page = open_console(world.services, path=f"/runs/{run_id}")
    act(page, "Mark a step …")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Step", exact=False).first.fill("lost")
    expect(dialog.get_by_role("alert")).to_contain_text("there is no step lost in run")
    expect(dialog.get_by_role("button", name="Mark the step")).to_be_disabled()
    expect(dialog.get_by_role("button", name="Ask again")).to_be_visible()


def test_a_step_that_succeeded_cannot_be_marked(open_console: OpenConsole) -> None:
    """The reason stands beside the button; on a read-only console, it is that."""
    world = World(script())
    run_id = world.start(OPEN)
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}/steps/a")
    expect(page.get_by_role("button", name="Mark …")).to_be_disabled()
    expect(page.get_by_text("there is nothing to mark")).to_be_visible()
    other = open_console(world.services, path=f"/runs/{run_id}", read_only=True)
    expect(other.get_by_role("button", name="Mark a step …")).to_be_disabled()
    expect(other.get_by_text("This console is read-only")).to_be_visible()


@pytest.mark.parametrize("text", HOSTILE[:40:8])
def test_hostile_reason_of_an_earlier_mark_is_harmless(open_console: OpenConsole, text: str) -> None:
    """The preview repeats who made the earlier mark, and why."""
    world = World(script(a={"duration": 900}))
    run_id = world.start(OPEN)
    world.settle_down()
    mark_step(world.services, run_id, Wish(step="b", state=StepState.SKIPPED), actor=text, reason=text)
    page = open_console(world.services, path=f"/runs/{run_id}/steps/b", width=360)
    act(page, "Mark …")
    expect(page.get_by_role("dialog")).to_contain_text("This replaces an earlier mark")
    require_harmless(page, "the preview of a mark")
