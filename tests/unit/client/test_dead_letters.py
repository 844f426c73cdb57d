"""The `dead-letters` commands on a coordinator in one process."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_client.cli.dead_letters import drop_letters, list_letters, replay_letters, show_letter
from atom_client.errors import Failure, Misuse
from atom_client.text import TIME_MARK, escaped, mark_times
from atom_client.views.dead_letters import Desk, facts, reason
from atom_emulator.testing.world import START, World
from atom_workflows.errors import BusUnavailable
from atom_workflows.messages.dead_letters import REPLAY_OF, REPLAYED_BY, DeadLetter, GivenUp, dead_letter_message
from atom_workflows.ports import DEAD_LETTERS, HeldMessage, Message
from support.commands import ACTOR
from support.letters import MemoryDeadLetters
from support.no_cloud import NO_CLOUD

NATIVE = "CloudPubSubDeadLetterSource"
READY = b'{"type": "step.ready", "run_id": "flow-1", "steps": [{"id": "a"}]}'


@dataclass(slots=True)
class Platform:
    """A world's dead letters, and what a command printed of them."""

    world: World
    desk: Desk
    capsys: pytest.CaptureFixture[str]

    def give_up(self, topic: str = "start", **changed: Any) -> None:
        """Keep an event as the functions do."""
        fields = {
            "event_id": "e-1",
            "data": b'{"workflow_path": "gs://b/w.yaml"}',
            "attributes": {"who": "me"},
            "published_at": "2026-01-01T00:00:00Z",
            "deliveries": 10,
            "error": "StoreUnavailable",
            "reason": "the store is away",
        }
        self.world.bus.publish([dead_letter_message(GivenUp(topic=topic, **{**fields, **changed}))])

    def forward(self, subscription: str = "start", data: bytes = READY) -> None:
        """Give up an event as Pub/Sub itself does."""
        attributes = {
            f"{NATIVE}DeliveryCount": "10",
            f"{NATIVE}Subscription": subscription,
            f"{NATIVE}SubscriptionProject": "demo",
            f"{NATIVE}TopicPublishTime": "2026-01-01T00:00:00.000+00:00",
            "who": "me",
        }
        self.world.bus.publish([Message(topic=DEAD_LETTERS, raw=data, attributes=attributes)])

    def printed(self) -> str:
        """Return what was printed since the last call."""
        return self.capsys.readouterr().out

    def listed(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the letters as a program reads them."""
        self.printed()
        list_letters(self.desk, limit=limit, as_json=True)
        return list(json.loads(self.printed())["dead_letters"])

    def ids(self) -> list[str]:
        """Their ids, the newest first."""
        return [letter["id"] for letter in self.listed()]


@pytest.fixture
def platform(capsys: pytest.CaptureFixture[str]) -> Platform:
    """Return a platform without dead letters."""
    world = World()
    box = MemoryDeadLetters(world.bus, world.clock)
    return Platform(world, Desk(bus=world.bus, box=box, project="demo"), capsys)


def test_no_letters_are_said_in_a_sentence(platform: Platform) -> None:
    """An empty list is good news, and for programs an empty one."""
    list_letters(platform.desk, limit=20, as_json=False)
    assert platform.printed().startswith("There are no dead letters")
    assert platform.listed() == []


def test_list_shows_where_each_came_from_and_why(platform: Platform) -> None:
    """`list` shows each letter's reason, or where to find it."""
    platform.give_up("start")
    platform.forward("steps")
    list_letters(platform.desk, limit=20, as_json=False)
    heading, native, ours = platform.printed().splitlines()
    assert heading.split()[:2] == ["ID", "TOPIC"]
    assert "steps" in native
    assert "flow-1" in native
    assert "delivered 10 times without success; the log of the dispatcher function shows why" in native
    assert ours.endswith("the store is away")


LETTER: Final = DeadLetter(
    id="1",
    topic="steps",
    reason="",
    error="",
    deliveries=1,
    event_id="e-1",
    published_at="",
    dead_since=START,
    data=b"",
    attributes={},
)


def test_one_delivery_is_one_time() -> None:
    """A letter that was delivered once was delivered one time."""
    assert reason(LETTER).startswith("delivered 1 time without success; ")


@dataclass(slots=True)
class Lent:
    """A box of which another command holds what there is, and gives it back when it is looked into once more."""

    box: MemoryDeadLetters
    held: list[HeldMessage]
    looks: int = 0

    def take(self, limit: int) -> list[HeldMessage]:
        """See `ports.DeadLetterBox.take`."""
        self.looks += 1
        if self.looks == 2:
            self.box.release(self.held)
        return self.box.take(limit)

    def release(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.release`."""
        self.box.release(messages)

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.remove`."""
        self.box.remove(messages)


def test_show_waits_for_a_letter_that_another_command_holds(platform: Platform) -> None:
    """`show` waits for a letter that another command holds, and says so."""
    platform.give_up()
    [letter_id] = platform.ids()
    box = MemoryDeadLetters(platform.world.bus, platform.world.clock)
    desk = replace(platform.desk, box=Lent(box, box.take(10)))
    show_letter(desk, letter_id, as_json=False)
    printed = platform.capsys.readouterr()
    assert "the store is away" in printed.out
    assert f"Not found yet: `{letter_id}`" in printed.err


def test_times_for_programs_have_one_form(platform: Platform) -> None:
    """Times are in UTC with milliseconds, and texts that are no times stay unchanged."""
    for published in ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00.000+01:00", "yesterday"):
        platform.give_up(published_at=published)
    platform.forward()
    listed = platform.listed()
    assert [letter["published_at"] for letter in listed] == [
        "2026-01-01T00:00:00.000Z",
        "yesterday",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000Z",
    ]
    assert all(re.fullmatch(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", letter["dead_since"]) for letter in listed)


def test_list_shows_the_newest_and_says_that_there_are_more(platform: Platform) -> None:
    """`list` shows the newest letters and how many there are in all."""
    for number in range(120):
        platform.give_up(reason=f"reason {number}")
    list_letters(platform.desk, limit=2, as_json=False)
    lines = platform.printed().splitlines()
    assert [line.rpartition("  ")[2] for line in lines[1:3]] == ["reason 119", "reason 118"]
    assert lines[-1] == "The newest 2 of 120; `--limit` shows more."
    assert len(platform.listed(limit=1_000)) == 120


def test_show_prints_everything_and_what_to_do(platform: Platform) -> None:
    """`show` decodes the event's body, and gives programs its bytes too."""
    platform.give_up("steps", data=READY)
    [letter_id] = platform.ids()
    show_letter(platform.desk, letter_id, as_json=False)
    shown = platform.printed()
    for text in ("the store is away", "StoreUnavailable", "flow-1", "who=me", '"type": "step.ready"', "e-1"):
        assert text in shown
    assert "the checker makes up for the lost event" in shown
    assert f"`atom-workflows dead-letters replay {letter_id}`" in shown
    show_letter(platform.desk, letter_id, as_json=True)
    printed = json.loads(platform.printed())
    assert printed["body"]["run_id"] == "flow-1"
    assert printed["attributes"] == {"who": "me"}


@pytest.mark.parametrize(
    ("is_local", "where"), [(True, "event.failed` in start.log"), (False, "gcloud logging read 'jsonPayload.action=")]
)
def test_show_names_the_place_of_a_native_letters_reason(platform: Platform, is_local: bool, where: str) -> None:  # noqa: FBT001 (a parameter)
    """The reason of a native letter is in the function's log or in Cloud Logging."""
    platform.forward()
    [letter_id] = platform.ids()
    desk = Desk(bus=platform.desk.bus, box=platform.desk.box, project="demo", is_local=is_local)
    show_letter(desk, letter_id, as_json=False)
    assert where in platform.printed()


@pytest.mark.parametrize(
    "data", [b"\x1b[31mred\x07\r\n", b'{"a": "\\u001b[2J\\u202e\\u009b"}', b"\xff\xfe", b"", b"[" * 9_000]
)
def test_nothing_printed_moves_the_cursor(platform: Platform, data: bytes) -> None:
    """Control characters in body, attributes and reason are spelt out."""
    platform.give_up(data=data, attributes={"a\x1b[2J": "b\x1b]0;x\x07"}, reason="\x1b[31mred", error="MalformedEvent")
    [letter_id] = platform.ids()
    show_letter(platform.desk, letter_id, as_json=False)
    list_letters(platform.desk, limit=5, as_json=False)
    assert not set(platform.printed()) & set("\x1b\x07\x9b\u202e\r")


def test_a_huge_body_is_cut(platform: Platform) -> None:
    """A terminal gets a screen or two, a program everything."""
    platform.give_up(data=b"x" * 3_000_000)
    [letter_id] = platform.ids()
    show_letter(platform.desk, letter_id, as_json=False)
    shown = platform.printed()
    assert len(shown) < 30_000
    assert "3,000,000 bytes in all" in shown


def test_replay_publishes_the_event_and_takes_the_letter_away(platform: Platform) -> None:
    """A replayed event goes to its topic unchanged, but for an attribute with its id."""
    platform.give_up("start")
    platform.forward("steps")
    replay_letters(platform.desk, platform.ids(), every=False, dry_run=False, actor=ACTOR)
    assert platform.printed() == "Replayed 2 dead letters: 1 to start, 1 to steps.\n"
    assert platform.ids() == []
    [start], [steps] = platform.world.bus.take_all("start"), platform.world.bus.take_all("steps")
    assert (start.data, start.attributes) == (
        b'{"workflow_path": "gs://b/w.yaml"}',
        {"who": "me", REPLAY_OF: "e-1", REPLAYED_BY: ACTOR},
    )
    assert (steps.data, steps.attributes["who"]) == (READY, "me")
    assert not [name for name in steps.attributes if name.startswith(NATIVE)]


def test_a_newer_versions_event_waits_for_that_version(platform: Platform) -> None:
    """A replay before that version is deployed would be given up again, and the advice says so."""
    platform.give_up("steps", error="NewerVersion", reason="schema 9")
    [letter_id] = platform.ids()
    show_letter(platform.desk, letter_id, as_json=False)
    assert "Once that version, or a newer one, is deployed, `atom-workflows dead-letters replay" in platform.printed()


def test_replay_all_leaves_out_what_no_replay_can_fix(platform: Platform) -> None:
    """A malformed event is replayed only if its id is given."""
    platform.give_up(error="MalformedEvent")
    platform.give_up()
    replay_letters(platform.desk, [], every=True, dry_run=False, actor=ACTOR)
    assert platform.printed().splitlines() == [
        "Skipped 1 dead letter that cannot be fixed by a replay; `dead-letters list` shows why.",
        "Replayed 1 dead letter: 1 to start.",
    ]
    replay_letters(platform.desk, platform.ids(), every=False, dry_run=False, actor=ACTOR)
    assert platform.ids() == []


def test_a_dry_run_changes_nothing(platform: Platform) -> None:
    """A dry run prints what it would replay and changes nothing."""
    platform.give_up()
    replay_letters(platform.desk, [], every=True, dry_run=True, actor=ACTOR)
    assert platform.printed() == "Would replay 1 dead letter: 1 to start.\n"
    assert platform.world.bus.take_all("start") == []
    assert len(platform.ids()) == 1


def test_drop_takes_a_letter_away(platform: Platform) -> None:
    """A dropped letter is gone for good and not published."""
    platform.give_up()
    platform.give_up()
    first, second = platform.ids()
    drop_letters(platform.desk, [first, first])
    assert platform.printed() == "Dropped 1 dead letter.\n"
    assert platform.ids() == [second]
    assert platform.world.bus.take_all("start") == []


def test_an_unknown_id_changes_nothing(platform: Platform) -> None:
    """One unknown id among several is an error, before anything is done."""
    platform.give_up()
    [known] = platform.ids()
    sentence = r"there is no dead letter .*dead-letters list"
    with pytest.raises(Failure, match=sentence):
        replay_letters(platform.desk, [known, "no\x1bne"], every=False, dry_run=False, actor=ACTOR)
    with pytest.raises(Failure, match=sentence):
        drop_letters(platform.desk, [known, "no\x1bne"])
    with pytest.raises(Failure, match=sentence):
        show_letter(platform.desk, "", as_json=False)
    assert platform.ids() == [known]


def test_what_no_replay_can_fix_is_dropped_together(platform: Platform) -> None:
    """`--hopeless` drops malformed events and keeps those that an outage caused."""
    for error in ("MalformedEvent", "StoreUnavailable", "MalformedEvent"):
        platform.give_up(error=error, event_id=error)
    drop_letters(platform.desk, [], hopeless=True)
    assert platform.printed() == "Dropped 2 dead letters.\n"
    list_letters(platform.desk, limit=20, as_json=True)
    assert [letter["error"] for letter in json.loads(platform.printed())["dead_letters"]] == ["StoreUnavailable"]
    with pytest.raises(Misuse, match="--hopeless"):
        drop_letters(platform.desk, [])


def test_a_replay_that_cannot_help_is_reported(platform: Platform) -> None:
    """Replaying a malformed event by its id prints a warning."""
    platform.give_up(error="MalformedEvent")
    list_letters(platform.desk, limit=20, as_json=True)
    [letter] = json.loads(platform.printed())["dead_letters"]
    replay_letters(platform.desk, [letter["id"]], every=False, dry_run=True, actor=ACTOR)
    assert "will be dead-lettered again" in platform.capsys.readouterr().err


def test_what_came_from_nowhere_can_only_be_dropped(platform: Platform) -> None:
    """A message without a known source is shown, and never replayed."""
    platform.world.bus.publish([Message(topic=DEAD_LETTERS, raw=b"hello", attributes={"deadLetterTopic": "billing"})])
    [letter] = platform.listed()
    assert (letter["topic"], letter["reason"]) == (None, "its origin is unknown")
    with pytest.raises(Failure, match="nothing was replayed"):
        replay_letters(platform.desk, [letter["id"]], every=False, dry_run=False, actor=ACTOR)
    show_letter(platform.desk, letter["id"], as_json=False)
    assert f"`atom-workflows dead-letters drop {letter['id']}` deletes it" in platform.printed()
    drop_letters(platform.desk, [letter["id"]])


@pytest.mark.parametrize(("ids", "every"), [([], False), (["1"], True)])
def test_replay_needs_ids_or_all(platform: Platform, ids: list[str], every: bool) -> None:  # noqa: FBT001 (a parameter)
    """Replaying needs ids or `--all`."""
    with pytest.raises(Misuse, match="--all"):
        replay_letters(platform.desk, ids, every=every, dry_run=False, actor=ACTOR)


class ClosedBus:
    """A bus that takes nothing."""

    def publish(self, messages: Sequence[Message]) -> None:  # noqa: ARG002 (the port names it)
        """Raise."""
        raise BusUnavailable("no answer in time")


def test_a_replay_that_fails_says_how_far_it_got(platform: Platform) -> None:
    """Letters that were not replayed stay, and can be taken at once."""
    platform.give_up()
    desk = Desk(bus=ClosedBus(), box=platform.desk.box, project="demo")
    with pytest.raises(Failure, match=r"no answer in time\. 0 of 1 had been replayed by then; the others"):
        replay_letters(desk, [], every=True, dry_run=False, actor=ACTOR)
    assert len(platform.ids()) == 1


def test_the_prefix_of_the_deployments_names_is_left_out(platform: Platform) -> None:
    """The topic of a native letter is shown without the deployment's prefix."""
    platform.forward("flow-start")
    desk = Desk(bus=platform.desk.bus, box=platform.desk.box, project="demo", topic_prefix="flow-")
    list_letters(desk, limit=1, as_json=True)
    assert [letter["topic"] for letter in json.loads(platform.printed())["dead_letters"]] == ["start"]


@pytest.mark.parametrize("args", [["list"], ["show", "1"], ["replay", "1"], ["drop", "1"]])
def test_the_commands_need_to_know_where_the_letters_are(args: list[str]) -> None:
    """Without a platform in the environment the message says how to name one."""
    result = CliRunner().invoke(cli, ["dead-letters", *args], env=NO_CLOUD, catch_exceptions=False)
    assert (result.exit_code, "GOOGLE_CLOUD_PROJECT" in result.stderr) == (2, True)


def test_what_would_move_a_cursor_is_spelt_out() -> None:
    """Letters of every script stay, as do tabs and line ends."""
    assert escaped("é\t世\n\x1b[31m\x9b\u202e\ud800\r") == "é\t世\n\\x1b[31m\\x9b\\u202e\\ud800\\r"


def test_the_times_of_a_letter_keep_their_marks() -> None:
    """A page finds times by their marks, which are not escaped like what others have written."""
    letter = replace(LETTER, published_at=START.isoformat(), error="\x1b[31m")

    def shown() -> dict[str, str]:
        mark_times()
        return dict(facts(letter))

    found = copy_context().run(shown)
    assert found["error"] == r"\x1b[31m"
    for name in ("published", "dead since"):
        assert found[name].startswith(TIME_MARK)
        assert "\\u" not in found[name]
