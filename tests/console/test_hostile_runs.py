"""Names, messages, outputs and labels that someone else chose, in each view of runs."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Page, expect

from atom_client.text import clean
from atom_emulator.task_runner.script_file import build_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.documents import run_path, step_path
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import Update
from console.conftest import OpenConsole
from support.hostile import HOSTILE, require_harmless, require_harmless_views
from support.workflows import chain


def start_hostile(world: World) -> str:
    """Return a run that has the texts wherever someone else may have written them."""
    steps = [
        {
            "id": f"s{number}",
            "task": {"imageUri": "i", "args": {"x": text}},
            "outputs": {"out": "text"},
            "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}},
        }
        for number, text in enumerate(HOSTILE)
    ]
    steps += [{"id": "each", "forEach": list(HOSTILE), "task": {"imageUri": "i", "args": {"x": "${{ item }}"}}}]
    body = {"definition": json.dumps({"name": "flow", "steps": steps}), "run_key": "all", "labels": {"team": "a"}}
    run_id = handle_start(world.services, read_start_event(body, event_id="all")).run_id
    world.run_to_end(run_id)
    named = {text[:60]: text for text in HOSTILE}
    of_run = {"workflow": HOSTILE[0], "description": HOSTILE[-1], "labels": named, "warnings": list(HOSTILE)}
    of_json = {"params": json.dumps(named), "outputs": json.dumps(named)}
    world.services.store.commit([Update(path=run_path(run_id), fields={**of_run, **of_json})])
    for number, text in enumerate(HOSTILE):
        of_step = {"message": text, "logs_url": text, "job_id": text}
        world.services.store.commit([Update(path=step_path(run_id, f"s{number}"), fields=of_step)])
    return run_id


def start_named(world: World, text: str, key: str) -> str:
    """Return a run whose workflow, description and label have the text."""
    run_id = world.start(chain(1), run_key=key)
    fields = {"workflow": text, "description": text, "labels": {text[:60]: text}}
    world.services.store.commit([Update(path=run_path(run_id), fields=fields)])
    return run_id


def behavior(number: int, text: str) -> dict[str, Any]:
    """Return what the job of a step does: every other one fails for good."""
    fails = {"always_fail": True} if number % 2 else {"fail_times": 1}
    # A reason is a word of at most 64 characters.
    reason = "".join(sign for sign in clean(text)[:50] if sign.isalnum() or sign in "<>&{}'\"`")
    return {**fails, "outputs": {"out": text}, "message": text, "reason": reason or "NONE"}


def test_hostile_text_is_harmless_in_each_view(open_console: OpenConsole) -> None:
    """No name, message, output or label runs a script, makes an element, hides text or breaks the layout."""
    rules = [{"step": f"s{number}", **behavior(number, text)} for number, text in enumerate(HOSTILE)]
    world = World(build_script({"rules": rules}))
    run_id = start_hostile(world)
    named = [start_named(world, text, str(number)) for number, text in enumerate(HOSTILE)]
    page = open_console(world.services, width=360)
    expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(len(HOSTILE) + 1)
    require_harmless(page, "/runs")
    views = {
        f"/runs/{run_id}": "Steps",
        f"/runs/{run_id}/graph": "Zoom",
        f"/runs/{run_id}/timeline": "Critical path",
        f"/runs/{run_id}/details": "Facts",
        f"/runs/{run_id}/steps/each": "Items",
        **{f"/runs/{run_id}/steps/s{number}": "What was sent" for number in range(len(HOSTILE))},
        **{f"/runs/{run_id}/steps/each[{number}]": "What was sent" for number in range(len(HOSTILE))},
        **{f"/workflows/{quote(text, safe='')}": "Runs by steps" for text in HOSTILE},
        **{f"/runs/{one}/details": "Facts" for one in named},
        **{f"/runs/{one}/steps/s0": "Why it is where it is" for one in named},
    }
    require_harmless_views(page, views)
    require_harmless_dialogs(page, run_id)


def require_harmless_dialogs(page: Page, run_id: str) -> None:
    """Require that the dialogs that show the run's parameters and steps are harmless."""
    page.evaluate("address => { location.hash = address; }", f"/runs/{run_id}")
    for name in ("Retry …", "Retry with an edited file or parameters …"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("dialog").get_by_label("What it will do")).to_have_attribute("aria-busy", "false")
        require_harmless(page, name)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
