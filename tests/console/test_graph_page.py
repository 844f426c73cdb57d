"""The graph of a run, drawn on a canvas, with a list of the same steps for the keyboard and screen readers."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from atom_client.graph.folding import Fold
from atom_client.graph.picture import Picture, PicturedStep
from atom_client.graph.plot import plot_picture
from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from console.graph_data import draw, layered, rows_of
from support.hostile import HOSTILE
from support.workflows import chain, fan, script


def failed_fan() -> tuple[World, str]:
    """Return a world with a run in which one of many similar steps failed."""
    world = World(script(leaf3={"fail_times": 9}))
    run_id = world.start(fan(40))
    world.run_to_end(run_id)
    return world, run_id


def open_graph(open_console: OpenConsole, world: World, run_id: str, query: str = "", **options: Any) -> Page:
    """Open the graph of a run and wait until it is drawn."""
    page = open_console(world.services, path=f"/runs/{run_id}/graph{query}", **options)
    page.wait_for_selector("[data-ready]")
    return page


def rows(page: Page) -> Locator:
    """Return the rows of the list beside the picture."""
    return page.get_by_role("listbox", name="Steps of the graph").get_by_role("option")


def color_at(page: Page, node: int) -> list[int]:
    """Return the color of the border of a node, from the canvas."""
    color: list[int] = page.evaluate(
        """async (node) => {
          const { plot, surface } = window.graph;
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          const { k, x, y } = surface.view;
          const at = (plot.middle(node) * k + x) * surface.ratio;
          const top = (plot.y[node] * k + y) * surface.ratio;
          return [...surface.canvas.getContext("2d").getImageData(at, top, 1, 1).data.slice(0, 3)];
        }""",
        node,
    )
    return color


def test_the_list_has_the_steps_of_the_picture_with_their_states(open_console: OpenConsole) -> None:
    """Barriers are hidden, a wide fan is one row with counts by state, and each row has sign and word."""
    page = open_graph(open_console, *failed_fan())
    listed = rows(page)
    expect(listed).to_have_count(3)
    expect(listed.nth(0)).to_have_text(re.compile(r"join.*⤼ SKIPPED"))
    expect(listed.nth(1)).to_have_text(re.compile(r"40 . leaf….*✔ 39 SUCCEEDED, ✘ 1 FAILED"))
    expect(page.get_by_role("application")).to_have_attribute("aria-label", re.compile("Graph of run .*: 3 nodes"))


def test_a_folded_node_is_opened_by_the_keyboard(open_console: OpenConsole) -> None:
    """Enter on a folded row unfolds it, the address says so, and everything can be folded again."""
    page = open_graph(open_console, *failed_fan())
    page.get_by_role("listbox", name="Steps of the graph").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(rows(page).first).to_have_attribute("aria-setsize", "42")
    assert "open=leaf0" in page.url
    page.get_by_role("button", name="Fold again").click()
    expect(rows(page)).to_have_count(3)


def test_everything_can_be_unfolded(open_console: OpenConsole) -> None:
    """The choice of what is folded is part of the address."""
    page = open_graph(open_console, *failed_fan())
    page.get_by_role("combobox", name="Fold").select_option("none")
    expect(rows(page).first).to_have_attribute("aria-setsize", "42")
    assert "fold=none" in page.url


def test_a_search_finds_as_it_is_typed_and_goes_on(open_console: OpenConsole) -> None:
    """Typing lists what was found; Enter goes from one to the next, and the chosen step is described."""
    page = open_graph(open_console, *failed_fan(), "?fold=none")
    page.get_by_label("Find a step").fill("leaf1")
    expect(page.get_by_role("status").filter(has_text="11 found")).to_be_visible()
    expect(rows(page).first).to_have_attribute("aria-setsize", "11")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Chosen step")).to_contain_text("leaf10")
    expect(page.get_by_role("status").filter(has_text="2 of 11 found")).to_be_visible()
    page.get_by_label("Find a step").fill("nowhere")
    expect(page.get_by_text("Nothing found")).to_be_visible()


def test_a_button_goes_to_what_failed(open_console: OpenConsole) -> None:
    """What failed is shown and chosen, whatever was in view before."""
    page = open_graph(open_console, *failed_fan(), "?fold=none")
    page.get_by_role("button", name="Go to failed steps 1").click()
    expect(page.get_by_label("Chosen step").get_by_role("link", name="leaf3")).to_be_visible()


def test_enter_opens_the_step_that_is_chosen(open_console: OpenConsole) -> None:
    """From the list and from the picture, Enter leads to the step's own page."""
    world, run_id = failed_fan()
    page = open_graph(open_console, world, run_id, "?step=root")
    page.get_by_role("application").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("root")
    assert page.url.endswith(f"#/runs/{run_id}/steps/root")


def test_a_pointer_chooses_and_opens_the_step_that_it_points_at(open_console: OpenConsole) -> None:
    """The first click in a list chooses its row, and a double click opens it; buttons count steps, not boxes."""
    world = World(script(leaf3={"fail_times": 9}, leaf5={"fail_times": 9}))
    run_id = world.start(fan(40))
    world.run_to_end(run_id)
    page = open_graph(open_console, world, run_id)
    expect(page.get_by_role("button", name="Go to failed steps 2")).to_be_visible()
    last = rows(page).nth(2)
    last.click()
    expect(last).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("Chosen step").get_by_role("heading")).to_have_text("root")
    rows(page).nth(1).click()
    last.dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text("root")
    draw(page, layered(60, 60))
    node, x, y = page.evaluate(
        """() => {
          window.opened = [];
          graph.options.openStep = (id) => opened.push(id);
          const { plot, surface } = graph;
          const { left, top } = surface.canvas.getBoundingClientRect();
          const { k, x, y } = surface.view;
          return [plot.ids[1234], plot.middle(1234) * k + x + left, plot.y[1234] * k + y + top];
        }"""
    )
    page.mouse.dblclick(x, y)
    assert page.evaluate("opened") == [node]


def test_keys_move_and_zoom_the_picture(open_console: OpenConsole) -> None:
    """Arrows pan, plus and minus zoom, and 0 shows everything again."""
    page = open_console(World().services)
    draw(page, layered(4, 5))
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("application").focus()
    view = "() => ({...graph.surface.view})"
    first = page.evaluate(view)
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    moved = page.evaluate(view)
    assert moved["k"] > first["k"]
    page.keyboard.press("0")
    assert page.evaluate(view) == pytest.approx(first)


def test_a_click_chooses_the_step_under_the_pointer(open_console: OpenConsole) -> None:
    """A click on a box describes its step and what it depends on."""
    page = open_console(World().services)
    draw(page, Picture(title="t", main=(PicturedStep("first", ()), PicturedStep("second", ("first",)))))
    x, y = page.evaluate(
        """() => {
          const { plot, surface } = graph;
          const { left, top } = surface.canvas.getBoundingClientRect();
          const { k, x, y } = surface.view;
          return [plot.middle(1) * k + x + left, plot.y[1] * k + y + top];
        }"""
    )
    page.mouse.click(x, y)
    chosen = page.get_by_label("Chosen step")
    expect(chosen.get_by_role("heading")).to_have_text("second")
    chosen.get_by_role("button", name="Depends on first").click()
    expect(chosen.get_by_role("heading")).to_have_text("first")


def test_a_change_of_states_repaints_and_asks_for_nothing(open_console: OpenConsole) -> None:
    """When the run is read again, steps are colored anew; places are neither asked for nor computed again."""
    world = World(script(s0={"duration": 15}))
    run_id = world.start(chain(3))
    world.tick()
    page = open_graph(open_console, world, run_id)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(rows(page).first).to_contain_text("▶ RUNNING")
    world.clock.move(timedelta(seconds=20))
    world.tick()
    page.get_by_role("button", name="Refresh").click()
    expect(rows(page).first).to_contain_text("✔ SUCCEEDED")
    assert [url for url in asked if "/graph" in url] == []


def test_the_canvas_shows_a_new_state(open_console: OpenConsole) -> None:
    """The pixels of a box change with its state, far away as well as near."""
    picture = layered(12, 40)
    page = open_console(World().services)
    draw(page, picture)
    before = color_at(page, 0)
    states = [
        {"id": step.id, "state": "FAILED" if rows_of(picture)[0]["state"] != "FAILED" else "SUCCEEDED"}
        for step in picture.steps
    ]
    page.evaluate("steps => graph.setSteps(steps)", states)
    page.evaluate("() => graph.surface.paintAtOnce()")
    assert color_at(page, 0) != before


def test_many_changes_cost_neither_elements_nor_memory(open_console: OpenConsole) -> None:
    """A thousand changes of ten thousand steps leave no more elements, and hardly more memory, than one."""
    picture = layered(100, 100)
    page = open_console(World().services)
    draw(page, picture)
    session = page.context.new_cdp_session(page)

    def used() -> tuple[int, float]:
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"]
        return page.evaluate("() => document.querySelectorAll('*').length"), heap

    change = """async ([ids, rounds]) => {
      const states = ["PENDING", "RUNNING", "SUCCEEDED", "FAILED"];
      for (let round = 0; round < rounds; round++) {
        const changed = ids.slice((round % 100) * 100, (round % 100) * 100 + 100);
        graph.setSteps(changed.map((id) => ({ id, state: states[round % 4] })));
        if (round % 50 === 0) await new Promise(requestAnimationFrame);
      }
      return graph.surface.frames;
    }"""
    ids = [step.id for step in picture.steps]
    page.evaluate(change, [ids, 50])
    elements, heap = used()
    page.evaluate(change, [ids, 1_000])
    more_elements, more_heap = used()
    assert more_elements <= elements + 20
    assert more_heap < heap * 1.2 + 2_000_000


def test_elements_do_not_grow_with_the_graph(open_console: OpenConsole) -> None:
    """Ten thousand steps need as many elements as a few hundred: only what is seen of the list exists."""
    page = open_console(World().services)
    counts = []
    for layers in (4, 100):
        draw(page, layered(layers, 100))
        counts.append(page.evaluate("() => document.querySelectorAll('*').length"))
    assert counts[1] <= counts[0] + 10


def test_what_is_out_of_view_is_not_painted(open_console: OpenConsole) -> None:
    """At reading size, a picture of ten thousand steps visits only the boxes and lines around the window."""
    page = open_console(World().services)
    draw(page, layered(100, 100))
    visited = page.evaluate(
        """() => {
          let [nodes, lines] = [0, 0];
          graph.plot.visitNodes(10000, 2000, 11280, 2800, () => nodes++);
          graph.plot.visitLines(10000, 2000, 11280, 2800, () => lines++);
          return [nodes, lines];
        }"""
    )
    assert 50 < visited[0] < 150
    assert visited[1] < 3_000


@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_the_graph_fits_each_width(open_console: OpenConsole, width: int) -> None:
    """No width makes the page scroll sideways."""
    page = open_graph(open_console, *failed_fan(), "?step=join", width=width)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => document.querySelector('canvas').clientWidth") > 0.5 * width


def test_hostile_names_and_notes_stay_text(open_console: OpenConsole) -> None:
    """Whatever a file says is drawn and listed as text: no script runs, and nothing turns the text around it."""
    names = [text[:200] for text in HOSTILE]
    steps = tuple(PicturedStep(f"{text}-{number}", (), notes=(text,)) for number, text in enumerate(names))
    page = open_console(World().services)
    draw(page, Picture(title="t", main=steps))
    for number in range(len(names)):
        page.evaluate("node => graph.choose(node)", number)
        assert page.evaluate("() => window.owned") is None
    drawn = page.evaluate(
        "() => [...graph.plot.ids.keys()].map((node) => graph.plot.name(node) + graph.plot.note(node))"
    )
    assert [text for text in drawn if re.search("[\u202a-\u202e\u2066-\u2069\x00-\x1f]", text)] == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280


def test_a_run_without_steps_says_so(open_console: OpenConsole) -> None:
    """A run that was not started has a sentence in place of a picture."""
    world = World()
    page = open_console(world.services, path=f"/runs/{world.start('name: bad')}/graph")
    expect(page.get_by_text("The run has no steps to show.")).to_be_visible()


def test_what_is_looked_at_stays_when_places_change(open_console: OpenConsole) -> None:
    """When a node is unfolded, or steps are added, the chosen step stays where it is in the window."""
    few, many = layered(3, 5), layered(6, 50)
    page = open_console(World().services)
    page.emulate_media(reduced_motion="reduce")
    draw(page, few)
    page.evaluate("() => graph.choose(7)")
    page.get_by_role("button", name="Zoom in").click()
    where = """() => {
      const { plot, surface, chosen } = graph;
      const { k, x, y } = surface.view;
      return [plot.ids[chosen], plot.middle(chosen) * k + x, plot.y[chosen] * k + y];
    }"""
    before = page.evaluate(where)
    page.evaluate("([data, steps]) => graph.setData(data, steps)", [plot_picture(many, Fold.NONE), rows_of(many)])
    after = page.evaluate(where)
    assert after[0] == before[0] == "layer-1-step-2"
    assert after[1:] == pytest.approx(before[1:])
