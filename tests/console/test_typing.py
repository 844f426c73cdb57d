"""What is typed and chosen stays: letters, positions of the focus, files, and words of the server."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import chain, fan, script

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


def test_letters_of_one_view_do_not_reach_the_next(open_console: OpenConsole) -> None:
    """Whoever types and then follows a link at once comes to that link's page, without the search."""
    world = World()
    run_id = world.start(chain(1))
    page = open_console(world.services)
    page.clock.install()
    page.get_by_label("Search").press("f")
    page.get_by_role("link", name=run_id).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(run_id)
    page.clock.run_for(1000)
    assert page.url.endswith(f"#/runs/{run_id}")


def test_focus_stays_on_its_run_when_another_comes_in(open_console: OpenConsole) -> None:
    """Enter opens the run that was focused, not the one that took its place."""
    world = World()
    run_id = world.start(chain(1), run_key="1")
    page = open_console(world.services)
    link = page.get_by_role("link", name=run_id)
    link.focus()
    world.start(chain(1), run_key="2")
    page.evaluate(REDRAW)
    expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(2)
    expect(link).to_be_focused()


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


def test_a_click_in_the_list_of_a_graph_chooses_its_row(open_console: OpenConsole) -> None:
    """Not the first row, which the list would choose for the keyboard; a second click opens the same one."""
    world = World(script(leaf3={"fail_times": 9}))
    run_id = world.start(fan(4))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}/graph?fold=none")
    page.wait_for_selector("[data-ready]")
    rows = page.get_by_role("listbox", name="Steps of the graph").get_by_role("option")
    third = rows.nth(2)
    name = third.locator(".graph-name").inner_text()
    third.click()
    expect(page.locator("[role=option][aria-selected=true] .graph-name")).to_have_text(name)
    third.dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def value_of(page: Page, script: str) -> object:
    """Return what a script makes of the page's modules."""
    return page.evaluate(f"async () => {{ {script} }}")


def test_numbers_on_buttons_of_a_graph_count_steps(open_console: OpenConsole) -> None:
    """Of several failed steps in one folded node, each is counted."""
    world = World(script(leaf3={"fail_times": 9}, leaf5={"fail_times": 9}))
    run_id = world.start(fan(40))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}/graph")
    page.wait_for_selector("[data-ready]")
    expect(page.get_by_role("button", name="Go to what failed 2")).to_be_visible()


def test_a_folded_row_of_a_timeline_has_the_worst_state(open_console: OpenConsole) -> None:
    """A failure among many is seen without unfolding them; a search that leaves one step folds nothing."""
    world = World(script(leaf3={"fail_times": 9}))
    run_id = world.start(fan(40))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}/timeline")
    row = page.get_by_role("listitem").filter(has_text="leaf…")
    expect(row.get_by_role("img", name="FAILED")).to_be_visible()
    expect(page.get_by_text("3 rows, of 42 steps")).to_be_visible()
    page.get_by_label("Search ids").fill("leaf7")
    expect(page.locator(".timeline-rows").get_by_role("link", name="leaf7")).to_be_visible()


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
