"""Names, messages, outputs and labels that someone else chose, in each view of runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from support.workflows import chain, script

BATCH: Final = 6


def start_hostile(world: World, texts: Sequence[str]) -> str:
    """Return a run that has the texts wherever someone else may have written them."""
    steps = [
        {
            "id": f"s{number}",
            "task": {"imageUri": "i", "args": {"x": text}},
            "outputs": {"out": "text"},
            "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}},
        }
        for number, text in enumerate(texts)
    ]
    steps += [{"id": "each", "forEach": list(texts), "task": {"imageUri": "i", "args": {"x": "${{ item }}"}}}]
    body = {"definition": json.dumps({"name": "flow", "steps": steps}), "run_key": "all", "labels": {"team": "a"}}
    run_id = handle_start(world.services, read_start_event(body, event_id="all")).run_id
    world.run_to_end(run_id)
    named = {text[:60]: text for text in texts}
    of_run = {"workflow": texts[0], "description": texts[-1], "labels": named, "warnings": list(texts)}
    of_json = {"params": json.dumps(named), "outputs": json.dumps(named)}
    world.services.store.commit([Update(path=run_path(run_id), fields={**of_run, **of_json})])
    for number, text in enumerate(texts):
        of_step = {"message": text, "logs_url": text, "job_id": text}
        world.services.store.commit([Update(path=step_path(run_id, f"s{number}"), fields=of_step)])
    return run_id


def behavior(number: int, texts: Sequence[str]) -> dict[str, Any]:
    """Return what the job of a step does: every other one fails for good."""
    fails = {"always_fail": True} if number % 2 else {"fail_times": 1}
    reason = "".join(clean(texts[-1])[:50].split())
    return {**fails, "outputs": {"out": texts[0]}, "message": texts[-1], "reason": reason}


def open_view(page: Page, address: str, label: str) -> None:
    """Open a view and wait for the part of it that has the label."""
    page.evaluate("address => { location.hash = address; }", address)
    expect(page.get_by_label(label, exact=True).first).to_be_visible()


@pytest.mark.parametrize("first", range(0, len(HOSTILE), BATCH))
def test_hostile_text_is_harmless_in_each_view(open_console: OpenConsole, first: int) -> None:
    """No name, message, output or label runs a script, makes an element, hides text or breaks the layout."""
    texts = HOSTILE[first : first + BATCH]
    world = World(script(**{f"s{number}": behavior(number, texts) for number in range(len(texts))}))
    run_id = start_hostile(world, texts)
    for number, text in enumerate(texts[1:]):
        named = world.start(chain(1), run_key=str(number))
        world.services.store.commit([Update(path=run_path(named), fields={"workflow": text})])
    page = open_console(world.services, width=360)
    require_harmless(page, "/runs")
    views = {
        f"/runs/{run_id}": "Steps",
        f"/runs/{run_id}/graph": "Zoom",
        f"/runs/{run_id}/timeline": "Critical path",
        f"/runs/{run_id}/details": "Facts",
        f"/runs/{run_id}/steps/each": "Items",
        **{f"/runs/{run_id}/steps/s{number}": "What was sent" for number in range(len(texts))},
        **{f"/runs/{run_id}/steps/each[{number}]": "What was sent" for number in range(len(texts))},
        **{f"/workflows/{quote(text, safe='')}": "Runs by steps" for text in texts},
    }
    for address, label in views.items():
        open_view(page, address, label)
        require_harmless(page, f"the texts from {first} in {address}")
    require_harmless_dialogs(page, run_id)


def require_harmless_dialogs(page: Page, run_id: str) -> None:
    """Require that the dialogs that show the run's parameters and steps are harmless."""
    open_view(page, f"/runs/{run_id}", "Steps")
    for name in ("Retry …", "Retry with an edited file or parameters …"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("dialog").get_by_label("What it will do")).to_have_attribute("aria-busy", "false")
        require_harmless(page, name)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
