"""Files, schedules and dead letters that others have written, in each view that shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from atom_client.views.dead_letters import Desk
from atom_emulator.testing.world import World
from atom_workflows.coordinator.schedules import pause_schedules
from atom_workflows.errors import AtomWorkflowsError
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.dead_letters import GivenUp, dead_letter_message
from console.conftest import OpenConsole
from support.hostile import HOSTILE, require_harmless, require_harmless_views
from support.letters import MemoryDeadLetters
from support.workflows import chain

SCHEDULED = "schedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]"


def write_file(texts: Sequence[str]) -> str:
    """Return a file that has these texts wherever it can."""
    params = {
        f"p{number}": {"type": "text", "description": text, "default": text, "enum": [text, "other"]}
        for number, text in enumerate(texts)
    }
    steps = [{"id": f"s{number}", "task": {"imageUri": "i", "args": [text]}} for number, text in enumerate(texts)]
    return json.dumps({"name": "flow", "description": texts[0], "params": params, "steps": steps})


def is_valid(text: str) -> bool:
    """Return True if the language accepts the text in a file."""
    try:
        parse_workflow(write_file([text]).encode(), filename="a.json")
    except InvalidWorkflow:
        return False
    return True


def paste(page: Page, text: str, name: str = "a.json") -> None:
    """Give the page a file."""
    page.get_by_label("Name of the file").fill(name)
    page.get_by_role("textbox", name="Text (paste").fill(text)


@pytest.mark.parametrize("path", ["/file", "/start"])
def test_params_and_plans_of_hostile_files_are_harmless(open_console: OpenConsole, path: str) -> None:
    """Descriptions, defaults, choices and arguments are shown as text."""
    texts = [text for text in HOSTILE if is_valid(text)]
    assert len(texts) > len(HOSTILE) / 2
    page = open_console(World().services, path=path, width=360)
    paste(page, write_file(texts))
    expect(page.get_by_label("The plan")).to_be_visible()
    require_harmless(page, path)


@pytest.mark.parametrize("path", ["/file", "/start"])
def test_problems_of_hostile_files_are_harmless(open_console: OpenConsole, path: str) -> None:
    """Names that are not allowed, and the lines in which they stand, are shown as text; so is the file's name."""
    page = open_console(World().services, path=path, width=360)
    unknown = {text[:300]: text for text in HOSTILE}
    paste(page, json.dumps({**unknown, "steps": [{"id": text} for text in HOSTILE]}, indent=1, ensure_ascii=False))
    expect(page.get_by_text("no run can be started from it")).to_be_visible()
    require_harmless(page, path)
    for name in HOSTILE[:12]:
        paste(page, "steps: 1", name)
    expect(page.get_by_text("1 problem: no run can be started from it")).to_be_visible()
    require_harmless(page, "a name")


def test_hostile_schedules_are_harmless(open_console: OpenConsole) -> None:
    """Paths of files and reasons of pauses are shown as text, in the list and in a dialog."""
    world = World()
    for text in HOSTILE:
        path = f"gs://bucket/{text[:200]}.yaml"
        try:
            world.upload(SCHEDULED, path=path)
        except AtomWorkflowsError:
            continue
        pause_schedules(world.services, path, actor=text, reason=text)
    page = open_console(world.services, path="/schedules", width=360)
    buttons = page.get_by_role("button", name="Resume …")
    expect(buttons.first).to_be_visible()
    assert buttons.count() > len(HOSTILE) / 2
    require_harmless(page, "schedules")
    for number in range(0, buttons.count(), 5):
        buttons.nth(number).click()
        expect(page.get_by_role("dialog")).to_contain_text("This resumes 1 schedule")
        require_harmless(page, "the dialog")
        page.keyboard.press("Escape")


def test_hostile_dead_letters_are_harmless(open_console: OpenConsole) -> None:
    """Reasons, attributes and events are shown as text, in the list, on a letter's page and in a dialog."""
    world = World()
    for text in HOSTILE:
        given_up = GivenUp(
            topic="steps",
            event_id=text[:100],
            data=json.dumps({"run_id": text, "x": text}).encode(),
            attributes={"who": text[:200]},
            published_at=text[:100],
            deliveries=1,
            error=text[:100],
            reason=text,
        )
        world.bus.publish([dead_letter_message(given_up)])
    desk = Desk(bus=world.bus, box=MemoryDeadLetters(world.bus, world.clock), project="demo")
    page = open_console(world.services, path="/dead-letters", width=360, desk=lambda: desk)
    expect(page.get_by_role("row")).to_have_count(len(HOSTILE) + 1)
    require_harmless(page, "the list")
    page.get_by_role("button", name="Replay all that may succeed …").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"This replays {len(HOSTILE)} dead letters")
    require_harmless(page, "the dialog")
    page.keyboard.press("Escape")
    ids = page.locator("tbody th a").all_inner_texts()
    require_harmless_views(page, {f"/dead-letters/{quote(one)}": "The event" for one in ids})


def test_hostile_names_of_steps_are_harmless(open_console: OpenConsole) -> None:
    """What is typed into a dialog comes back as text."""
    world = World()
    run_id = world.start(chain(1))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}", width=360)
    page.get_by_role("button", name="Retry …", exact=True).click()
    for text in HOSTILE[::4]:
        page.get_by_role("textbox", name="Steps").fill(text)
        expect(page.get_by_role("alert")).to_be_visible()
        require_harmless(page, text)
