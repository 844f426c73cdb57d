"""What the console answers to actions: previews in the command line's words, and changes that are bound to them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_client.console.actions import RETRY_WORDS
from atom_client.views.dead_letters import Desk
from atom_client.views.rerun_plan import OF_COMMANDS
from atom_emulator.testing.world import World
from atom_workflows.coordinator.commands import retry_run
from atom_workflows.coordinator.services import Services
from atom_workflows.messages.dead_letters import GivenUp, dead_letter_message
from atom_workflows.ports import HeldMessage
from support.letters import MemoryDeadLetters
from support.repairs import BASE, FAILING, ended_run
from support.workflows import chain, script
from unit.client.console.asking import Page

SLOW: Final = json.dumps({"default": {"duration": 100_000}})
PLAIN: Final = "name: plain\nsteps: [{id: a, task: {imageUri: image}}]\n"
REFUSED: Final = 409
OUTDATED: Final = 412
WRONG: Final = 400
MISSING: Final = 404


def failed_run() -> tuple[World, str]:
    """Return a world with a run whose second of three steps failed."""
    world = World(script(s1={"fail_times": 9}))
    run_id = world.start(chain(3))
    world.run_to_end(run_id)
    return world, run_id


def call(world: World, *args: str) -> str:
    """Return what a command prints."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, list(args), obj=connect).stdout


def on_page(line: str) -> str:
    """Replace the options of a printed line by the choices of the page."""
    commands = OF_COMMANDS
    said = line.replace(" ".join(commands.heading), " ".join(RETRY_WORDS.heading))
    for command, page in zip(commands[4:], RETRY_WORDS[4:], strict=True):
        said = said.replace(command, page)
    return re.sub(r"--(from|only)$", RETRY_WORDS.step, said)


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ((), {}),
        (("--from", "s0"), {"from": ["s0"]}),
        (("--only", "s0"), {"only": ["s0"]}),
        (("--only", "s0", "--failed"), {"only": ["s0"], "failed": True}),
    ],
)
def test_preview_of_a_retry_has_the_words_of_the_command(options: Sequence[str], body: dict[str, Any]) -> None:
    """The preview has each sentence and row of `runs retry --dry-run`, with other names of choices."""
    world, run_id = failed_run()
    found = Page(world.services).preview(f"/runs/{run_id}/retry", **body).body
    printed = call(world, "runs", "retry", run_id, *options, "--dry-run")
    rows = [" ".join(row) for row in found["table"]["rows"]]
    shown = [on_page(" ".join(line.split())) for line in printed.splitlines() if line.strip()]
    assert shown == [" ".join(found["table"]["heading"]), *rows, *found["lines"][1:]]
    counted = json.loads(call(world, "runs", "retry", run_id, *options, "--dry-run", "--json"))
    assert counted == {name: found[name] for name in counted}
    assert world.run(run_id).retries == 0


def test_repair_previews_have_the_words_of_the_command() -> None:
    """What a new run would keep is told in the sentences of `runs retry --param --dry-run`."""
    earlier = ended_run(script=FAILING)
    page = Page(earlier.world.services)
    file = {"name": "nightly.yaml", "text": BASE}
    found = page.preview(f"/runs/{earlier.run_id}/repair", file=file, params={"limit": "4"})
    assert "params.limit: 3 is now 4" in found.text
    assert [one["what"] for one in found.body["steps"]].count("run") == found.body["again"]


def test_run_that_was_retried_after_a_preview_is_not_cancelled() -> None:
    """A cancellation is for the execution that its user has seen."""
    world = World(SLOW)
    run_id = world.start(chain(1))
    page = Page(world.services)
    seen = page.preview(f"/runs/{run_id}/cancel").body["seen"]
    assert page.post(f"/runs/{run_id}/cancel", seen=seen).status == 200
    retry_run(world.services, run_id, actor="ana@there")
    again = page.post(f"/runs/{run_id}/cancel", seen=seen)
    assert again.status == OUTDATED
    assert "changed after the preview was shown" in again.error


def test_repair_is_refused_once_the_ended_run_was_retried() -> None:
    """What would be kept has changed, so nothing is published."""
    earlier = ended_run(script=FAILING)
    world, path = earlier.world, f"/runs/{earlier.run_id}/repair"
    page, file = Page(world.services), {"name": "nightly.yaml", "text": BASE}
    seen = page.preview(path, file=file).body["seen"]
    retry_run(world.services, earlier.run_id, actor="ana@there")
    world.run_to_end(earlier.run_id)
    answer = page.post(path, file=file, seen=seen)
    assert answer.status == REFUSED
    assert world.bus.unacknowledged("start") == 0


@pytest.mark.parametrize("action", ["cancel", "retry", "repair"])
def test_changes_need_the_whole_id_of_a_run(action: str) -> None:
    """An abbreviation or a workflow's name could mean another run by the time of the confirmation."""
    world, run_id = failed_run()
    for name in (run_id[:-1], "flow", "--last"):
        assert Page(world.services).preview(f"/runs/{name}/{action}").status == MISSING


@pytest.mark.parametrize(
    "body",
    [
        {"from": "s1"},
        {"only": [1]},
        {"failed": 1},
        {"reason": []},
        {"failed": True},
        {"from": [f"s{i}" for i in range(101)]},
    ],
)
def test_retries_of_another_shape_are_refused(body: dict[str, Any]) -> None:
    """Each member has its type, and nothing happens if one is wrong."""
    world, run_id = failed_run()
    page = Page(world.services)
    seen = page.preview(f"/runs/{run_id}/retry").body["seen"]
    assert page.post(f"/runs/{run_id}/retry", **{"seen": seen, **body}).status in {WRONG, REFUSED}
    assert world.run(run_id).retries == 0


def test_run_can_be_started_twice_with_one_key_only_if_it_is_the_same() -> None:
    """The second request starts nothing, and a different one is refused."""
    world = World()
    page, file = Page(world.services), {"name": "plain.yaml", "text": PLAIN}
    assert page.post("/start", file=file, key="one").body["started_before"] is False
    world.settle_down("start")
    again = page.preview("/start", file=file, key="one")
    assert "already started with this key" in again.text
    assert page.post("/start", file=file, key="one").body["started_before"] is True
    assert world.bus.unacknowledged("start") == 0
    other = page.preview("/start", file={"name": "plain.yaml", "text": PLAIN.replace("image}", "other}")}, key="one")
    assert other.body["can_start"] is False
    assert "give each run its own key" in other.body["problems"][0]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"labels": ["team"]}, "labels"),
        ({"labels": ["Team=data"]}, "request"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"path": "gs://bucket"}, "path"),
        ({"path": "gs://bucket/none.yaml"}, "path"),
        ({"params": {"none": "1"}}, "params"),
        ({"file": None}, "file"),
        ({"file": {"name": "a.yaml", "text": "steps: 1"}}, "file"),
    ],
)
def test_each_problem_of_a_start_names_its_field(body: dict[str, Any], field: str) -> None:
    """A problem is shown beside the field that has it, and such a request is not published."""
    world = World()
    file = {"name": "plain.yaml", "text": "params: {n: {type: int, default: 1}}\n" + PLAIN}
    page = Page(world.services)
    found = page.preview("/start", **{"file": file, **body}).body
    assert (found["can_start"], found["problems"][0]["field"]) == (False, field)
    assert page.post("/start", **{"file": file, **body}).status in {WRONG, REFUSED}
    assert world.bus.unacknowledged("start") == 0


def test_file_that_is_too_large_is_refused_with_its_size() -> None:
    """A file may have 4 MB."""
    text = "#" * (4 * 1024 * 1024 + 1)
    answer = Page(World().services).post("/files/check", file={"name": "a.yaml", "text": text})
    assert (answer.status, "4,194,305 bytes" in answer.error) == (WRONG, True)


def test_picture_of_a_file_has_each_step_and_what_it_comes_after() -> None:
    """The graph is made of `graph`'s own values."""
    text = chain(2).replace('"steps"', '"finally": [{"id": "tidy", "task": {"imageUri": "i"}}], "steps"')
    picture = Page(World().services).post("/files/check", file={"name": "a.json", "text": text}).body["picture"]
    steps = [(one["id"], one["after"], one["kind"], one["finally"]) for one in picture["steps"]]
    assert steps == [("s0", [], "job", False), ("s1", ["s0"], "job", False), ("tidy", [], "job", True)]


# -- dead letters ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Watched:
    """A dead-letter box that notices if a letter is wanted while another request holds some."""

    inner: MemoryDeadLetters
    holders: set[int] = field(default_factory=set)
    most: int = 0

    def take(self, limit: int) -> list[HeldMessage]:
        """See `ports.DeadLetterBox.take`."""
        self.holders.add(threading.get_ident())
        self.most = max(self.most, len(self.holders))
        return self.inner.take(limit)

    def release(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.release`."""
        self.inner.release(messages)
        self.holders.discard(threading.get_ident())

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.remove`."""
        self.inner.remove(messages)


def world_with_letter() -> tuple[World, Watched, Page]:
    """Return a world with a dead letter, its box, and a page that shows it."""
    world = World()
    box = Watched(MemoryDeadLetters(world.bus, world.clock))
    given_up = GivenUp(
        topic="start",
        event_id="e-1",
        data=b'{"workflow_path": "gs://b/w.yaml"}',
        attributes={},
        published_at="2026-01-01T00:00:00Z",
        deliveries=10,
        error="StoreUnavailable",
        reason="the store is away",
    )
    world.bus.publish([dead_letter_message(given_up)])
    return world, box, Page(world.services, desk=lambda: Desk(bus=world.bus, box=box, project="demo"))


def test_requests_for_dead_letters_take_turns() -> None:
    """Two tabs do not hide letters from each other."""
    _, box, page = world_with_letter()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(page.get("/dead-letters").body["total"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, box.most) == ([1] * 8, 1)


def test_letter_that_a_command_holds_is_said_to_come_back() -> None:
    """A letter that someone else holds is missing from the list, and asked for in vain."""
    world, box, page = world_with_letter()
    [letter] = page.get("/dead-letters").body["dead_letters"]
    held = box.inner.take(10)
    assert page.get("/dead-letters").body["dead_letters"] == []
    answer = page.post("/dead-letters/replay", ids=[letter["id"]])
    assert answer.status == REFUSED
    assert "is available again within a minute" in answer.error
    box.inner.release(held)
    world.clock.move(timedelta(minutes=1))
    assert page.post("/dead-letters/replay", ids=[letter["id"]]).text == "Replayed 1 dead letter: 1 to start."


@pytest.mark.parametrize(
    "body", [{}, {"all": True}, {"ids": [], "hopeless": True}, {"ids": ["1"], "all": True, "hopeless": True}]
)
@pytest.mark.parametrize("action", ["replay", "drop"])
def test_only_named_letters_are_changed(action: str, body: dict[str, Any]) -> None:
    """A change never means more letters than its preview showed."""
    world, _, page = world_with_letter()
    assert page.post(f"/dead-letters/{action}", **body).status in {WRONG, REFUSED}
    assert world.bus.unacknowledged("dead-letters") == 1


def test_history_has_no_dead_letters() -> None:
    """Without a platform there is no one to ask, and the sentence says so."""
    answer = Page(World().services).get("/dead-letters")
    assert (answer.status, "none is up" in answer.error) == (REFUSED, True)
