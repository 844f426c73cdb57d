"""What is typed and chosen stays: letters, positions of the focus, files, and words of the server."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import chain

REDRAW = "() => document.querySelector('.as-of button').click()"


def test_letters_stay_while_the_page_is_redrawn(open_console: OpenConsole) -> None:
    """A list that is redrawn between two keys keeps what was typed, also a space."""
    world = World()
    world.start(chain(1))
    page = open_console(world.services)
    field = page.get_by_label("Search")
    for letter in "fl ow":
        field.press(letter if letter != " " else "Space")
        page.evaluate(REDRAW)
    expect(field).to_have_value("fl ow")
    expect(page).to_have_url(re.compile(r"q=fl\+ow$"))
    expect(field).to_have_value("fl ow")


def test_a_file_that_was_edited_is_chosen_again(open_console: OpenConsole, tmp_path: Path) -> None:
    """The second choice of the same file shows its new text; Windows line ends keep the place of the caret."""
    file = tmp_path / "flow.yaml"
    file.write_bytes(b"steps:\r\n- {id: a, task: {imageUri: i}}\r\n")
    page = open_console(World().services, path="/file")
    page.get_by_label("Workflow file").set_input_files(file)
    text = page.get_by_role("textbox", name="Text")
    expect(text).to_have_value("steps:\n- {id: a, task: {imageUri: i}}\n")
    expect(page.get_by_text("Valid, 1 step.")).to_be_visible()
    file.write_bytes(b"steps:\n- {id: a, task: {imageUri: i}}\n- {id: b, task: {imageUri: i}}\n")
    page.get_by_label("Workflow file").set_input_files(file)
    expect(page.get_by_text("Valid, 2 steps.")).to_be_visible()


def value_of(page: Page, script: str) -> object:
    """Return what a script makes of the page's modules."""
    return page.evaluate(f"async () => {{ {script} }}")


def test_small_and_large_prices_are_plain_numbers(open_console: OpenConsole) -> None:
    """A run may cost a millionth or a hundred dollars."""
    page = open_console(World().services)
    script = """
    const { drawPlan } = await import("/assets/examined.js");
    const { render } = await import("/assets/vendor/lit-html/lit-html.js");
    return [123, 0.00000012, 0.0123].map((run_usd) => {
      const element = document.createElement("div");
      render(drawPlan({ plan: { run_usd }, plan_lines: [], valid: true }), element);
      return /[$]([\\d.,e+-]+), /.exec(element.textContent)[1];
    });"""
    assert value_of(page, script) == ["120", "0.00000012", "0.012"]


def test_params_may_have_the_names_of_javascript(open_console: OpenConsole) -> None:
    """A param that is named like a function of objects has its own default, and no function as its value."""
    page = open_console(World().services, path="/file")
    names = ("toString", "constructor", "valueOf")
    params = "".join(f"  {name}: {{type: text, default: mine}}\n" for name in names)
    page.get_by_role("textbox", name="Text").fill(f"params:\n{params}steps: [{{id: a, task: {{imageUri: i}}}}]\n")
    for name in names:
        expect(page.get_by_label(name)).to_have_value("mine")
