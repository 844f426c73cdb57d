"""Whatever a Task Runner answers means what docs/reference/task-runner.md says, and brings no token anywhere."""

from __future__ import annotations

import html
import json
import logging
import re
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_emulator.testing.world import World
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.tokens import FixedToken
from atom_workflows.core.outcomes import is_known_state, outcome_of
from atom_workflows.errors import (
    JobConflict,
    JobRefused,
    JobUnknown,
    RequestNotAccepted,
    TaskRunnerError,
    TaskRunnerUnavailable,
)
from atom_workflows.log import JsonLines
from atom_workflows.messages.dead_letters import GivenUp, dead_letter_message
from atom_workflows.ports import Bus, Message, Query
from contract.answers import ANSWERED, CASES, JOB, QUOTING, TOKEN, WITHOUT_ID, Case, body, spellings, with_status
from contract.canned import HOUR, Asked, Canned, Respond, answer, canned
from support.workflows import definition
from unit.core.test_transitions import step

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "task-runner.md").read_text(encoding="utf-8")


def table(name: str) -> list[list[str]]:
    """Return the cells of each row of one of the page's tables."""
    part = PAGE.split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


MEANINGS = {row[0]: (row[1], row[2]) for row in table("answers")}


def client() -> TaskRunnerClient:
    """Return a client that sends TOKEN."""
    return TaskRunnerClient(FixedToken(TOKEN), submit_timeout_s=60, status_timeout_s=60)


def play(cases: list[Case]) -> Respond:
    """Answer each request with the case that its path or job numbers."""

    def respond(asked: Asked, connection: socket.socket) -> bytes:
        job = json.loads(asked.body)["job_name"] if asked.body else asked.target
        numbers = re.findall(r"case-(\d+)", asked.target) or re.findall(r"case-(\d+)", job)
        # A job that is asked for by another id than its own is none of the cases.
        case = cases[int(numbers[0])] if numbers else Case("", "", answer(body()))
        if not case.hangs_up:
            return case.raw
        connection.sendall(case.raw)
        return b""

    return respond


@pytest.fixture(scope="module")
def server() -> Iterator[Canned]:
    """Return a server that knows every case."""
    with canned(play(CASES)) as story:
        yield story


@pytest.fixture(scope="module")
def one() -> TaskRunnerClient:
    """Return the client of this file."""
    return client()


def submitted(one: TaskRunnerClient, url: str) -> tuple[str, str]:
    """Return a submission's result by the page's name, and its texts."""
    try:
        found = one.submit(url, {"job_name": "load"}, idempotency_key="run/load/1", timeout=HOUR)
    except JobConflict as error:
        return "conflict", repr(vars(error)) + str(error)
    except JobRefused as error:
        return "refused", repr(vars(error)) + str(error)
    except RequestNotAccepted as error:
        return "not accepted", repr(vars(error)) + str(error)
    except TaskRunnerUnavailable as error:
        return "unknown", repr(vars(error)) + str(error)
    goes_on = outcome_of(step(), job_id=found.job_id, job_state=found.state, message="") is None
    return "unknown" if goes_on and not found.job_id else "answered", repr(found)


def looked_at(one: TaskRunnerClient, url: str) -> tuple[str, str]:
    """Return a status call's result by the page's name, and its texts."""
    try:
        found = one.status(url, JOB)
    except JobUnknown as error:
        return "unknown job", repr(vars(error)) + str(error)
    except TaskRunnerUnavailable as error:
        return "no answer", repr(vars(error)) + str(error)
    return "answered", repr(found)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[re.sub(r"[^ -~]|::", "?", case.name) for case in CASES])
def test_each_answer_means_what_the_page_says(server: Canned, one: TaskRunnerClient, number: int) -> None:
    """Each answer has the results of its row on the page, and shows no token."""
    url = f"{server.url}/case-{number}"
    # A connection that the server closes without saying so must not be used for another call.
    hangs_up = CASES[number].hangs_up
    submission, texts = submitted(client() if hangs_up else one, url)
    status, told_too = looked_at(client() if hangs_up else one, url)
    assert (submission, status) == MEANINGS[CASES[number].row]
    assert not holds_token(texts)
    assert not holds_token(told_too)


def test_the_page_has_a_row_for_each_answer_and_an_answer_for_each_row() -> None:
    """Each row of the page has an answer here, unless another test shows it."""
    shown = {row[0] for row in table("answers") if row[4].endswith("::test_each_answer_means_what_the_page_says`")}
    assert {case.row for case in CASES} == shown
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)


def test_each_word_means_what_the_page_says() -> None:
    """Each job state on the page has its meaning, in any case and spacing."""
    ends = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELLED": "cancelled", "CANCELED": "cancelled"}
    named = [word for row in table("states") for word in re.findall(r"`([A-Z_]+)`", row[0])]
    assert set(ends) < set(named)
    for word in named:
        for spelt in (word, word.lower(), word.title(), f" {word}\r\n", f"JOB_STATE_{word}"):
            found = outcome_of(step(), job_id="j", job_state=spelt, message="")
            assert (found.kind.value if found else None) == ends.get(word)
            assert is_known_state(spelt)
    for word in ("COMPLETED", "DONE", "SUCCESS", "SUCCEEDEDX", "SUC CEEDED", "ERROR", "TIMEOUT", "FAILED.", "0"):
        assert outcome_of(step(), job_id="j", job_state=word, message="") is None
        assert not is_known_state(word)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"code": 7, "why": ["größe", None]}, '{"code": 7, "why": ["größe", null]}'),
        ([1, True], "[1, true]"),
        (False, "false"),
        (1.5, "1.5"),
        (None, ""),
    ],
)
def test_a_message_that_is_no_text_is_shown_as_json(message: object, shown: str) -> None:
    """A message that is no text is shown as JSON."""
    with canned(lambda _asked, _connection: answer(body(message=message))) as server:
        assert client().status(server.url, "7").message == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("2.5", 2.5),
        ("0", 0),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("Thu, 01 Jan 2026 00:01:30 GMT", 90),
        ("Thursday, 01-Jan-26 00:01:30 GMT", 90),
        ("Thu, 01 Jan 2026 01:01:30 +0100", 90),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0),
        ("Fri, 01 Jan 2027 00:00:00 GMT", 86_400),
        ("Thu, 32 Jan 2026 00:01:30 GMT", None),
        ("tomorrow", None),
    ],
)
def test_each_retry_after_is_read(text: str, seconds: float | None) -> None:
    """Retry-After is read as seconds from 0, or as a date by the server's clock."""
    busy = with_status(429, Retry_After=text, Date="Thu, 01 Jan 2026 00:00:00 GMT")
    with canned(lambda _asked, _connection: busy) as server, pytest.raises(RequestNotAccepted) as caught:
        client().submit(server.url, {}, idempotency_key="k", timeout=HOUR)
    assert caught.value.retry_after_s == seconds


@contextmanager
def not_listening() -> Iterator[str]:
    """Yield an address where no one listens or can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_failed_connection_is_explained() -> None:
    """A failed connection is explained, and nothing was sent."""
    with not_listening() as nowhere, canned(play(CASES)) as plain:
        for url, reason in (
            ("http://no-such-host.invalid", r"no connection: DNS .* the name no-such-host\.invalid"),
            (nowhere, r"no connection: nothing is listening at 127\.0\.0\.1:\d+"),
            (
                plain.url.replace("http:", "https:"),
                r"no connection: 127\.0\.0\.1:\d+ does not speak TLS .*http://\?",
            ),
            ("http://[::1", "the request cannot be sent"),
        ):
            with pytest.raises(RequestNotAccepted, match=reason):
                client().submit(url, {}, idempotency_key="k", timeout=HOUR)
            with pytest.raises(RequestNotAccepted, match=reason):
                client().status(url, "7")


# -- the token -------------------------------------------------------------------------------------------------------

LETTERS = re.compile(r"[^0-9A-Za-z]")
PARTS = {LETTERS.sub("", TOKEN).lower()[at : at + 16] for at in range(len(LETTERS.sub("", TOKEN)) - 15)}


def holds_token(text: str) -> bool:
    """Return True if a text holds part of the token, however it is encoded."""
    ways: list[Callable[[str], str]] = [
        html.unescape,
        unquote,
        lambda text: re.sub(r"<[^<>]*>", "", text),
        lambda text: re.sub(r"\\[nrt]|\\u200b", " ", text.replace("\\\\", "\\")),
        lambda text: re.sub(r"\\u\{?0*([0-9a-fA-F]{2})\}?|\\x([0-9a-fA-F]{2})|%u00([0-9a-fA-F]{2})", _letter, text),
    ]
    for _ in range(4):
        bare = LETTERS.sub("", text).lower()
        if any(part in bare for part in PARTS):
            return True
        for way in ways:
            text = way(text)
    return False


def _letter(match: re.Match[str]) -> str:
    return chr(int(match[1] or match[2] or match[3], 16))


@pytest.mark.parametrize("name", spellings())
def test_the_search_for_the_token_finds_it(name: str) -> None:
    """The search for the token finds it in every spelling."""
    assert holds_token(f"x {spellings()[name]}")
    assert holds_token(repr({"message": f"x {spellings()[name]}"}))
    assert not holds_token("x " * 500 + "nothing of it")


class Lines(logging.Handler):
    """Keeps each line of every package's log, as the functions would write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        self.texts += [self.format(record), repr(record.__dict__)]


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Return what is logged, by whomever."""
    lines = Lines()
    loggers = [logging.getLogger(), logging.getLogger("atom_workflows")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(lines)
        logger.setLevel(logging.DEBUG)
    yield lines.texts
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(lines)
        logger.setLevel(level)


@dataclass(slots=True)
class WatchedBus:
    """Keeps each message that is published, and the dead letter that would be made of it."""

    inner: Bus
    seen: list[str]

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        for message in messages:
            letter = GivenUp(
                topic=message.topic,
                event_id="1",
                data=json.dumps(message.body).encode(),
                attributes=message.attributes,
                published_at="",
                deliveries=10,
                error="StoreUnavailable",
                reason="the store gave no answer",
            )
            self.seen += [repr(message), repr(dead_letter_message(letter))]
        self.inner.publish(messages)


def test_no_answer_brings_the_token_anywhere(logged: list[str]) -> None:
    """A quoted token gets into no document, message, dead letter, log or terminal."""
    with canned(play(QUOTING)) as server:
        world = World(task_runner_url=server.url)
        bus = WatchedBus(world.services.bus, [])
        world.services = replace(world.services, task_runner=client(), bus=bus)
        steps = {f"case-{number}": {"timeout": "20s"} for number in range(len(QUOTING))}
        run_id = world.start(definition({name: [] for name in steps}, **steps))
        seen: list[str] = []
        world.settle_down()
        # A job that is to be stopped but goes on holds its run up for a while.
        for pause_s in (10, 10, 10, 10, 10, 10, 300, 300, 300):
            if not world.run(run_id).state.is_terminal:
                seen += documents(world) + printed(world, run_id)
                world.clock.sleep(pause_s)
                world.tick()
    seen += bus.seen + logged + documents(world) + printed(world, run_id)
    assert world.run(run_id).state.is_terminal
    assert len(seen) > len(QUOTING)
    assert any("(token)" in text for text in seen)
    assert [text for text in seen if holds_token(text)] == []


def documents(world: World) -> list[str]:
    """Return every document of runs and steps."""
    queries = [Query(collection=name, group=True) for name in ("runs", "steps")]
    return [repr(document) for query in queries for document in world.store.inner.query(query)]


def printed(world: World, run_id: str) -> list[str]:
    """Return what the commands about a run print."""
    calls = (["show", run_id], ["show", run_id, "--json"], ["doctor", run_id])
    return [CliRunner().invoke(cli, ["runs", *call], obj=lambda _: world.services).output for call in calls]


def test_errors_hold_no_token_either() -> None:
    """No error holds the token, nor any error behind it."""
    refusing = [case for case in QUOTING if case.row not in {ANSWERED, WITHOUT_ID}]
    with canned(play(refusing)) as server:
        for number in range(len(refusing)):
            with pytest.raises(TaskRunnerError) as caught:
                client().submit(f"{server.url}/case-{number}", {"job_name": "load"}, idempotency_key="k", timeout=HOUR)
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)
            assert not holds_token("".join(traceback.format_exception(caught.value)))
