"""A workflow file, as `validate` and `plan` see it."""

from __future__ import annotations

from playwright.sync_api import expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import definition

FLOW = """name: nightly
params: {limit: {type: int, default: 3}}
steps:
  - {id: load, task: {imageUri: image, args: ["${{ params.limit }}"]}}
  - {id: report, dependsOn: [load], when: "${{ params.limit > 5 }}", task: {imageUri: image}}
"""


def test_each_problem_is_shown_with_its_line(open_console: OpenConsole) -> None:
    """A problem has its place, its sentence and a caret below the line."""
    page = open_console(World().services, path="/file")
    page.get_by_label("Text").fill(FLOW.replace("dependsOn: [load]", "dependsOn: [lode]"))
    problems = page.get_by_role("region", name="Problems")
    expect(problems).to_contain_text("pasted.yaml:5:")
    expect(problems).to_contain_text("did you mean load?")
    expect(problems.locator("pre")).to_contain_text("^")


def test_plan_follows_the_params(open_console: OpenConsole) -> None:
    """What a run would do depends on its params, as in `plan --param`."""
    page = open_console(World().services, path="/file")
    page.get_by_label("Text").fill(FLOW)
    plan = page.get_by_role("region", name="Plan", exact=True)
    expect(plan.get_by_label("The plan")).to_contain_text("report  skipped")
    page.get_by_label("limit").fill("6")
    expect(plan.get_by_label("The plan")).to_contain_text("report  runs")


def test_chosen_file_keeps_its_name(open_console: OpenConsole) -> None:
    """Problems name the file that was chosen."""
    page = open_console(World().services, path="/file")
    page.get_by_label("Workflow file").set_input_files(
        {"name": "mine.json", "mimeType": "application/json", "buffer": definition({"a": []}).encode()}
    )
    expect(page.get_by_text("Valid, 1 step.")).to_be_visible()
    expect(page.get_by_label("Name of the file")).to_have_value("mine.json")


def test_file_that_is_too_large_is_not_read(open_console: OpenConsole) -> None:
    """The limit is said, with the size that the file has."""
    page = open_console(World().services, path="/file")
    page.get_by_label("Workflow file").set_input_files(
        {"name": "big.yaml", "mimeType": "text/yaml", "buffer": b"#" * (4 * 1024 * 1024 + 1)}
    )
    expect(page.get_by_role("alert")).to_contain_text("4,194,305 bytes; a workflow file may have 4,194,304 bytes")


def test_read_only_console_checks_files(open_console: OpenConsole) -> None:
    """To check a file changes nothing."""
    page = open_console(World().services, path="/file", read_only=True)
    page.get_by_label("Text").fill(FLOW)
    expect(page.get_by_text("Valid, 2 steps.")).to_be_visible()


def test_graph_of_the_file_is_drawn_and_follows_it(open_console: OpenConsole) -> None:
    """A valid file has the picture and the list of a run's graph, without states, and changes with the text."""
    page = open_console(World().services, path="/file")
    page.get_by_label("Text").fill(FLOW)
    rows = page.get_by_role("listbox", name="Steps of the graph").get_by_role("option")
    expect(rows).to_have_count(2)
    page.get_by_label("Text").fill(f"{FLOW}  - {{id: more, task: {{imageUri: i}}}}\n")
    expect(rows).to_have_count(3)
