"""Dead letters: listed, shown, replayed and dropped."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from atom_client.views.dead_letters import Desk
from atom_emulator.testing.world import World
from atom_workflows.messages.dead_letters import REPLAYED_BY, GivenUp, dead_letter_message
from console.conftest import OpenConsole
from support.letters import MemoryDeadLetters


class Office:
    """A world with dead letters, and the desk at which they are read."""

    def __init__(self) -> None:
        self.world = World()
        box = MemoryDeadLetters(self.world.bus, self.world.clock)
        self._desk = Desk(bus=self.world.bus, box=box, project="demo")

    def desk(self) -> Desk:
        """Return the desk."""
        return self._desk

    def give_up(self, reason: str, **changed: Any) -> None:
        """Keep an event as the functions do."""
        fields: dict[str, Any] = {
            "topic": "start",
            "event_id": "e-1",
            "data": b'{"workflow_path": "gs://b/w.yaml"}',
            "attributes": {},
            "published_at": "2026-01-01T00:00:00Z",
            "deliveries": 10,
            "error": "StoreUnavailable",
        }
        self.world.bus.publish([dead_letter_message(GivenUp(reason=reason, **{**fields, **changed}))])

    def left(self) -> int:
        """Return how many letters there are."""
        return self.world.bus.unacknowledged("dead-letters")


def test_list_says_that_there_are_none(open_console: OpenConsole) -> None:
    """No dead letters are good news, said in a sentence."""
    office = Office()
    page = open_console(office.world.services, path="/dead-letters", desk=office.desk)
    expect(page.get_by_text("There are no dead letters")).to_be_visible()


def test_letter_is_shown_whole_with_advice(open_console: OpenConsole) -> None:
    """A letter's page has its facts, its event, and what to do."""
    office = Office()
    office.give_up("the store is away")
    page = open_console(office.world.services, path="/dead-letters", desk=office.desk)
    page.get_by_role("row").filter(has_text="the store is away").get_by_role("link").click()
    expect(page.get_by_label("The event")).to_contain_text("gs://b/w.yaml")
    expect(page.get_by_text("Once the cause is fixed")).to_be_visible()


def test_chosen_letters_are_replayed_after_a_preview(open_console: OpenConsole) -> None:
    """Only the chosen letter is published again, with the name of whoever replayed it."""
    office = Office()
    office.give_up("the store is away")
    office.give_up("the bus is away")
    page = open_console(office.world.services, path="/dead-letters", desk=office.desk)
    page.get_by_role("row").filter(has_text="the bus is away").get_by_role("checkbox").check()
    page.get_by_role("button", name="Replay 1 letter …").click()
    expect(page.get_by_role("dialog")).to_contain_text("This replays 1 dead letter: 1 to start.")
    assert office.left() == 2
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("Replayed 1 dead letter: 1 to start.")
    expect(page.get_by_role("row").filter(has_text="the bus is away")).to_have_count(0)
    [replayed] = office.world.bus.take_all("start")
    assert replayed.attributes[REPLAYED_BY] == "someone@here"
    assert office.left() == 1


def test_hopeless_letters_are_dropped_after_a_preview(open_console: OpenConsole) -> None:
    """All letters that can never be handled go, and the others stay."""
    office = Office()
    office.give_up("the store is away")
    office.give_up("it is not JSON", error="MalformedEvent")
    page = open_console(office.world.services, path="/dead-letters", desk=office.desk)
    page.get_by_role("button", name="Drop all hopeless …").click()
    expect(page.get_by_role("dialog")).to_contain_text("This drops 1 dead letter; its event is lost for good.")
    page.get_by_role("button", name="Drop for good").click()
    expect(page.get_by_role("status").first).to_contain_text("Dropped 1 dead letter.")
    assert office.left() == 1
    page.get_by_role("button", name="Drop all hopeless …").click()
    expect(page.get_by_role("dialog")).to_contain_text("There are none of this kind.")
    expect(page.get_by_role("button", name="Drop for good")).to_be_disabled()


def test_letter_that_is_gone_by_the_confirmation_is_said(open_console: OpenConsole) -> None:
    """A letter that someone else dropped after the preview is not replayed."""
    office = Office()
    office.give_up("the store is away")
    page = open_console(office.world.services, path="/dead-letters", desk=office.desk)
    page.get_by_role("button", name="Replay all that may succeed …").click()
    expect(page.get_by_role("dialog")).to_contain_text("This replays 1 dead letter")
    [letter] = office.world.bus.take_all("dead-letters")
    office.world.bus.ack(letter)
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("there is no dead letter")


def test_read_only_console_replays_nothing(open_console: OpenConsole) -> None:
    """Letters can be read, and no button can be pressed."""
    office = Office()
    office.give_up("the store is away")
    page = open_console(office.world.services, path="/dead-letters", desk=office.desk, read_only=True)
    expect(page.get_by_role("cell", name="the store is away")).to_be_visible()
    expect(page.get_by_role("button", name="Replay all that may succeed …")).to_be_disabled()


def test_reason_is_seen_on_a_narrow_screen(open_console: OpenConsole) -> None:
    """It is why one looks at the list, so it is not scrolled out of sight."""
    office = Office()
    office.give_up("the store is away, and nobody knows when it comes back to answer what was asked")
    page = open_console(office.world.services, path="/dead-letters", desk=office.desk, width=360)
    box = page.get_by_text("the store is away").bounding_box()
    assert box is not None
    assert 0 <= box["x"] < box["x"] + box["width"] <= 360
