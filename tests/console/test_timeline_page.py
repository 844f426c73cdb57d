"""The timeline of a run: where its time went, as a chart and as a table."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import chain, definition, fan, script


def ended_fan(width: int = 40) -> tuple[World, str]:
    """Return a world with a run in which one of many similar steps took longest."""
    world = World(script(root={"duration": 15}, leaf3={"duration": 125}, leaf4={"duration": 65}))
    run_id = world.start(fan(width))
    world.run_to_end(run_id)
    return world, run_id


def open_timeline(open_console: OpenConsole, world: World, run_id: str, query: str = "", **options: Any) -> Page:
    """Open the timeline of a run."""
    page = open_console(world.services, path=f"/runs/{run_id}/timeline{query}", **options)
    page.wait_for_selector("section[aria-label=Timeline]")
    return page


def test_it_says_where_the_time_went_and_on_which_path(open_console: OpenConsole) -> None:
    """The sentence, the sums and the critical path are those of the steps that took longest."""
    page = open_timeline(open_console, *ended_fan())
    expect(page.get_by_text(re.compile(r"The run took .*; its critical path spent .* running jobs"))).to_be_visible()
    path = page.get_by_role("region", name="Critical path").get_by_role("listitem")
    expect(path).to_have_count(3)
    expect(path.nth(1)).to_contain_text("leaf3")
    expect(page.get_by_role("table", name="Where the time went")).to_contain_text("waiting for dependencies")


def test_alike_steps_are_one_row_until_they_are_opened(open_console: OpenConsole) -> None:
    """A folded row stands for a fan, and has the worst of its states; opened, it is followed by its steps."""
    world = World(script(leaf3={"fail_times": 9}))
    run_id = world.start(fan(40))
    world.run_to_end(run_id)
    page = open_timeline(open_console, world, run_id)
    rows = page.locator(".timeline-rows li")
    expect(rows).to_have_count(3)
    expect(page.get_by_text("3 rows of 42 steps")).to_be_visible()
    expect(rows.filter(has_text="leaf").get_by_role("img", name="FAILED")).to_be_visible()
    page.get_by_label("Search ids").fill("leaf7")
    expect(rows.get_by_role("link", name="leaf7")).to_be_visible()
    page.get_by_label("Search ids").fill("")
    page.get_by_role("button", name=re.compile("40 . leaf")).click()
    expect(rows.nth(0)).to_have_attribute("aria-setsize", "43")
    page.get_by_label("Fold similar steps").uncheck()
    expect(rows.nth(0)).to_have_attribute("aria-setsize", "42")


def test_the_longest_steps_come_first_if_wanted(open_console: OpenConsole) -> None:
    """Sorted by duration, the step that took longest is the first row; a search leaves out the others."""
    page = open_timeline(open_console, *ended_fan(), "?fold=none")
    page.get_by_label("Order").select_option("longest")
    rows = page.locator(".timeline-rows li")
    expect(rows.nth(0)).to_contain_text("leaf3")
    expect(rows.nth(1)).to_contain_text("leaf4")
    page.get_by_label("Search ids").fill("leaf12")
    expect(rows).to_have_count(1)


def test_the_table_has_the_same_numbers(open_console: OpenConsole) -> None:
    """As a table, each row has the state and each part's duration, so no one needs to see bars."""
    page = open_timeline(open_console, *ended_fan(), "?order=path")
    page.get_by_role("button", name="As a table").click()
    row = page.get_by_role("table", name="Steps and their times").get_by_role("row").filter(has_text="leaf3")
    expect(row).to_contain_text("SUCCEEDED")
    expect(row).to_contain_text("yes")
    expect(row).to_contain_text(re.compile("2 min"))


def test_only_rows_in_view_exist(open_console: OpenConsole) -> None:
    """Hundreds of steps need as many elements as dozens, also after scrolling."""
    counts = []
    for width in (60, 600):
        page = open_timeline(open_console, *ended_fan(width), "?fold=none")
        page.wait_for_selector(".timeline-chart[data-ready]")
        page.locator(".timeline-chart").evaluate("chart => { chart.scrollTop = 600; }")
        expect(page.locator(".timeline-rows li").last).to_be_attached()
        counts.append(page.locator(".timeline-rows li").count())
    assert max(counts) < 60


def test_a_run_that_ended_is_read_once_more(open_console: OpenConsole) -> None:
    """Refreshing an open run brings its new bars; nothing is read in between."""
    world = World(script(s0={"duration": 15}))
    run_id = world.start(chain(2))
    world.tick()
    page = open_timeline(open_console, world, run_id)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.get_by_text("The run has taken")).to_be_visible()
    world.run_to_end(run_id, within=timedelta(minutes=5))
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("The run took")).to_be_visible()
    assert 1 <= len([url for url in asked if url.endswith("/timeline")]) <= 2


@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_the_timeline_fits_each_width(open_console: OpenConsole, width: int) -> None:
    """Neither the chart nor the table makes the page scroll sideways."""
    edges = {"a": [], "a-step-with-a-name-that-is-much-longer-than-the-column-for-names": ["a"]}
    world = World(script(a={"duration": 25}))
    run_id = world.start(definition(edges))
    world.run_to_end(run_id)
    page = open_timeline(open_console, world, run_id, width=width)
    looks = {
        "": ".timeline-chart[data-ready]",
        "?as=table": "table[aria-label='Steps and their times']",
        "?zoom=8": ".timeline-inside[style*='800%']",
    }
    for query, ready in looks.items():
        page.evaluate("path => { location.hash = path; }", f"/runs/{run_id}/timeline{query}")
        page.wait_for_selector(ready)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_run_without_steps_says_so(open_console: OpenConsole) -> None:
    """A run that was not started has a sentence in place of a timeline."""
    world = World()
    page = open_timeline(open_console, world, world.start("name: bad"))
    expect(page.get_by_text("The run has no steps to show.")).to_be_visible()
