"""Ways to and through the console: links, tabs, another token, the skip link, and going back."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from atom_client.console.app import Console
from atom_client.console.guard import new_token
from atom_client.console.server import ConsoleServer
from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import chain


def test_skip_link_goes_to_the_content_of_the_same_view(open_console: OpenConsole) -> None:
    """The first Tab and Enter move the focus, and nothing else."""
    world = World()
    run_id = world.start(chain(1))
    page = open_console(world.services, path=f"/runs/{run_id}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(run_id)
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_contain_text(run_id)
    assert page.url.endswith(f"#/runs/{run_id}")


def test_link_in_another_tab_opens_there(open_console: OpenConsole) -> None:
    """A tab that another one opened asks that one for the token."""
    world = World()
    run_id = world.start(chain(1))
    page = open_console(world.services)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=run_id).click(modifiers=["Control"])
    expect(opened.value.get_by_role("heading", level=1)).to_contain_text(run_id)


def test_address_with_a_new_token_is_taken_in_the_same_tab(browser: Browser) -> None:
    """A console that was started again on the same port is opened by pasting its new address."""
    world = World()
    tokens = [new_token(), new_token()]
    servers = [ConsoleServer(Console(services=world.services, token=tokens[0], place="a test"))]
    port = servers[0].address.split(":")[2].split("/")[0]
    page = browser.new_context().new_page()
    with servers[0]:
        page.goto(servers[0].address)
        expect(page.get_by_text("There are no runs yet.")).to_be_visible()
    with ConsoleServer(Console(services=world.services, token=tokens[1], place="a test"), port=int(port)) as again:
        page.goto(again.address)
        expect(page.get_by_text("There are no runs yet.")).to_be_visible()
        assert tokens[1] not in page.url
        page.goto(f"http://127.0.0.1:{port}/#token=wrong")
        expect(page.get_by_role("alert")).to_contain_text("open the address")
        page.goto(again.address)
        expect(page.get_by_text("There are no runs yet.")).to_be_visible()
    page.context.close()


def test_link_on_another_page_needs_the_token(browser: Browser) -> None:
    """With it, the console opens; without it, the page shows nothing, even in a tab that knows the token."""
    world = World()
    run_id = world.start(chain(1))
    with ConsoleServer(Console(services=world.services, token=new_token(), place="a test")) as server:
        base = server.address.partition("#")[0]
        page = browser.new_context().new_page()
        links = f"<a href='{server.address}'>whole</a> <a href='{base}#/runs/{run_id}'>bare</a>"
        page.route("http://chat.example/**", lambda route: route.fulfill(body=links, content_type="text/html"))
        page.goto("http://chat.example/")
        page.get_by_role("link", name="whole").click()
        expect(page.get_by_role("link", name=run_id)).to_be_visible()
        page.reload()
        expect(page.get_by_role("link", name=run_id)).to_be_visible()
        page.goto("http://chat.example/")
        page.get_by_role("link", name="bare").click()
        expect(page.get_by_role("alert")).to_contain_text("Open the address")
        page.context.close()


def test_an_error_can_be_tried_again(open_console: OpenConsole) -> None:
    """A run that was requested and has not begun is shown as soon as it exists."""
    world = World()
    run_id = World().start(chain(1))
    page = open_console(world.services, path=f"/runs/{run_id}")
    expect(page.get_by_role("alert")).to_be_visible()
    assert world.start(chain(1)) == run_id
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(run_id)


def test_earlier_address_takes_a_choice_back(open_console: OpenConsole) -> None:
    """The select says what the view shows, also after its reader has used it."""
    world = World()
    run_id = world.start(chain(2))
    world.run_to_end(run_id)
    for tab, name in (("timeline", "Order"), ("graph", "Fold")):
        page = open_console(world.services, path=f"/runs/{run_id}/{tab}")
        select = page.locator(f"label:has-text('{name}') select").first
        before = select.input_value()
        values = [one.get_attribute("value") for one in select.locator("option").all()]
        other = next(value for value in values if value != before)
        address = page.url
        for _ in range(2):
            select.select_option(other)
            expect(page).not_to_have_url(address)
            page.evaluate("address => { location.href = address; }", address)
            expect(select).to_have_value(before)
