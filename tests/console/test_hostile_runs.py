"""Names, messages, outputs and labels that someone else chose, in each view of runs."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from atom_client.text import clean
from atom_emulator.testing.world import World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.documents import run_path, step_path
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import Update
from console.conftest import OpenConsole
from support.hostile import HOSTILE, require_harmless
from support.workflows import script

BATCH: Final = 6


def start_hostile(world: World, text: str, key: str) -> str:
    """Return a run that has the text wherever someone else may have written it."""
    steps = [
        {
            "id": name,
            "task": {"imageUri": "i", "args": {"x": text}},
            "outputs": {"out": "text"},
            "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}},
        }
        for name in "ab"
    ]
    steps += [{"id": "each", "forEach": [text, text], "task": {"imageUri": "i", "args": {"x": "${{ item }}"}}}]
    body = {"definition": json.dumps({"name": "flow", "steps": steps}), "run_key": key, "labels": {"team": "a"}}
    run_id = handle_start(world.services, read_start_event(body, event_id=key)).run_id
    world.run_to_end(run_id)
    named = {text[:60]: text}
    of_run = {"workflow": text, "description": text, "labels": named}
    of_json = {"params": json.dumps(named), "outputs": json.dumps(named)}
    of_step = {"message": text, "logs_url": text, "job_id": text}
    world.services.store.commit([Update(path=run_path(run_id), fields={**of_run, **of_json, "warnings": [text]})])
    world.services.store.commit([Update(path=step_path(run_id, "a"), fields=of_step)])
    return run_id


def open_view(page: Page, address: str, label: str) -> None:
    """Open a view and wait for the part of it that has the label."""
    page.evaluate("address => { location.hash = address; }", address)
    expect(page.get_by_label(label, exact=True).first).to_be_visible()


@pytest.mark.parametrize("first", range(0, len(HOSTILE), BATCH))
def test_hostile_text_is_harmless_in_each_view(open_console: OpenConsole, first: int) -> None:
    """No name, message, output or label runs a script, makes an element, hides text or breaks the layout."""
    texts = HOSTILE[first : first + BATCH]
    behavior: dict[str, Any] = {
        "outputs": {"out": texts[0]},
        "message": texts[-1],
        "reason": "".join(clean(texts[-1])[:50].split()),
    }
    world = World(script(a={**behavior, "fail_times": 1}, b={**behavior, "always_fail": True}))
    runs = {start_hostile(world, text, str(number)): text for number, text in enumerate(texts)}
    page = open_console(world.services, width=360)
    require_harmless(page, "/runs")
    for run_id, text in runs.items():
        views = {
            f"/runs/{run_id}": "Steps",
            f"/runs/{run_id}/graph": "Zoom",
            f"/runs/{run_id}/timeline": "Critical path",
            f"/runs/{run_id}/details": "Facts",
            f"/runs/{run_id}/steps/a": "What was sent",
            f"/runs/{run_id}/steps/each": "Items",
            f"/runs/{run_id}/steps/each[0]": "What was sent",
            f"/workflows/{quote(text, safe='')}": "Runs by steps",
        }
        for address, label in views.items():
            open_view(page, address, label)
            require_harmless(page, f"{text[:40]!r} in {address}")
        require_harmless_dialogs(page, run_id, text)


def require_harmless_dialogs(page: Page, run_id: str, text: str) -> None:
    """Require that the dialogs that show the run's parameters and steps are harmless."""
    open_view(page, f"/runs/{run_id}", "Steps")
    for name in ("Retry …", "Retry with an edited file or parameters …"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("dialog").get_by_label("What it will do")).to_have_attribute("aria-busy", "false")
        require_harmless(page, f"{text[:40]!r} in {name}")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
