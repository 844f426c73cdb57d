"""A step and its items: why they are where they are, their attempts, and what was sent and returned."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import definition, script

FLOW = """
name: flow
params: {day: {type: text, default: "2026-03-01"}}
steps:
- id: first
  task: {imageUri: i, args: {day: "${{ params.day }}"}}
  outputs: {count: number}
  retry: {maxAttempts: 2, backoff: {initial: 30s, jitter: 0}}
- {id: second, dependsOn: [first], task: {imageUri: i}}
"""


def ended(**behavior: Any) -> tuple[World, str]:
    """Return a world with a run that has ended, in which the job of `first` behaved like this."""
    world = World(script(first={"duration": 5, "outputs": {"count": 3}, **behavior}))
    run_id = world.start(FLOW)
    world.run_to_end(run_id)
    return world, run_id


def test_a_step_has_its_attempts_and_times(open_console: OpenConsole) -> None:
    """Each attempt has its end, its times and its message, and the back-off is told."""
    world, run_id = ended(fail_times=1, reason="OOM", message="no memory")
    page = open_console(world.services, path=f"/runs/{run_id}/steps/first")
    attempts = page.get_by_role("table", name="Attempts").locator("tbody tr")
    expect(attempts).to_have_count(2)
    expect(attempts.first).to_contain_text("OOM: no memory")
    expect(attempts.last).to_contain_text("30 s back-off")
    expect(page.get_by_label("Times")).to_contain_text("30 s in back-off")
    expect(page.get_by_label("Why it is where it is")).to_contain_text("Step first SUCCEEDED")


def test_a_step_shows_what_was_sent_and_returned(open_console: OpenConsole) -> None:
    """The body that was sent has the values of its expressions, and the outputs are those of the job."""
    world, run_id = ended()
    page = open_console(world.services, path=f"/runs/{run_id}/steps/first")
    expect(page.get_by_label("What was sent").first).to_contain_text('"day": "2026-03-01"')
    expect(page.get_by_label("Outputs").first).to_contain_text('"count": 3')


def test_a_step_leads_to_what_it_depends_on(open_console: OpenConsole) -> None:
    """Dependencies are links, and so is the step that blocks another one."""
    world, run_id = ended(always_fail=True)
    page = open_console(world.services, path=f"/runs/{run_id}/steps/second")
    expect(page.get_by_label("Blocked by").get_by_role("link", name="first")).to_be_visible()
    page.get_by_label("Dependencies").get_by_role("link", name="first").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("first")
    page.get_by_role("link", name=run_id).click()
    expect(page.get_by_role("table", name="Steps")).to_be_visible()


def test_the_log_of_a_job_is_a_link(open_console: OpenConsole) -> None:
    """A log on the web opens in a tab of its own, which learns nothing of the console."""
    world, run_id = ended(logsUrl="https://logs.example.com/first?job=1")
    page = open_console(world.services, path=f"/runs/{run_id}/steps/first")
    link = page.get_by_label("Why it is where it is").get_by_role("link")
    expect(link).to_have_attribute("href", "https://logs.example.com/first?job=1")
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_other_places_of_a_log_are_text(open_console: OpenConsole) -> None:
    """Only an address of the web is a link; a path or a script is shown as text."""
    addresses = ["javascript:alert(1)", "/var/log/job.txt", "file:///etc/passwd", "data:text/html,x"]
    steps = {f"s{number}": {"logsUrl": address} for number, address in enumerate(addresses)}
    world = World(script(**steps))
    run_id = world.start(definition({step: [] for step in steps}))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}")
    for step in steps:
        page.evaluate("path => { location.hash = path; }", f"/runs/{run_id}/steps/{step}")
        expect(page.get_by_label("Why it is where it is")).to_contain_text(f"Step {step} SUCCEEDED")
        expect(page.locator("main a:not([href^='#/'])")).to_have_count(0)


def test_an_item_has_its_value_and_leads_to_its_step(open_console: OpenConsole) -> None:
    """An item is shown as a step is, with its value."""
    world = World()
    run_id = world.start("name: flow\nsteps:\n- {id: train, forEach: [red, green], task: {imageUri: i}}\n")
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}/steps/train")
    page.get_by_role("table", name="Items of train").get_by_role("link", name="train[1]").click()
    expect(page.get_by_label("Item", exact=True).first).to_contain_text('"green"')
    page.get_by_role("link", name="train", exact=True).click()
    expect(page.get_by_role("table", name="Items of train")).to_be_visible()


def test_a_step_that_does_not_exist_is_a_sentence(open_console: OpenConsole) -> None:
    """A wrong id is answered with the one that was probably meant."""
    world = World()
    run_id = world.start(definition({"extract": []}))
    page = open_console(world.services, path=f"/runs/{run_id}/steps/extrakt")
    expect(page.get_by_role("alert")).to_contain_text("did you mean extract?")
