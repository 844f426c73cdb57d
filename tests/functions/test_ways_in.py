"""What a function refuses before it reads it: bodies that are too large, and what comes from web pages."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import pytest

from atom_emulator.testing.world import World
from atom_workflows.handlers.checker import on_tick
from atom_workflows.handlers.delivery import Answer
from atom_workflows.handlers.dispatcher import on_steps
from atom_workflows.handlers.entry import MAX_BODIES, MAX_FORGOTTEN, Handle, answer_request
from atom_workflows.handlers.start import on_start

JSON: Final = {"Content-Type": "application/json"}
PUSHED: Final = {**JSON, "User-Agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"}
HANDLERS: Final[dict[str, Handle]] = {"start": on_start, "steps": on_steps, "tick": on_tick}
FLOW: Final = json.dumps({"definition": "steps: [{id: a, task: {url: u}}]"}).encode()


@dataclass
class Sent:
    """A body as the server has it; without `content_length` it is sent in chunks."""

    stream: io.BytesIO
    content_length: int | None = None
    method: str = "POST"
    path: str = "/"


@dataclass
class Endless(io.BytesIO):
    """A body without end that counts what is read of it."""

    given: int = field(default=0)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return as many bytes as are wanted."""
        self.given += size or 0
        return b"[" * (size or 0)


def answered(world: World, topic: str, body: bytes, *, chunked: bool, **headers: str) -> Answer:
    """Send a request to the function of that topic."""
    sent = Sent(io.BytesIO(body), None if chunked else len(body))
    return answer_request(topic, HANDLERS[topic], world.services, PUSHED | headers, sent)


def pushed(size: int) -> bytes:
    """Return a push of that size."""
    frame = {"message": {"data": "", "messageId": "1234567890123456"}, "subscription": "s"}
    filling = "W10K" * ((size - len(json.dumps(frame))) // 4)
    frame["message"] = {"data": filling, "messageId": "1234567890123456"}
    return json.dumps(frame).encode().ljust(size)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("topic", HANDLERS)
def test_an_event_that_is_too_large_is_acknowledged(
    world: World, capsys: pytest.CaptureFixture[str], topic: str, *, chunked: bool
) -> None:
    """An event that is too large is acknowledged, with a small dead letter."""
    body = pushed(MAX_BODIES[topic] + 1)
    assert answered(world, topic, body, chunked=chunked)[1] == HTTPStatus.NO_CONTENT
    [letter] = world.bus.take_all("dead-letters")
    assert letter.data == b""
    assert letter.attributes["deadLetterEvent"] == "1234567890123456"
    assert letter.attributes["deadLetterError"] == "MalformedEvent"
    assert f"the function accepts up to {MAX_BODIES[topic]:,}" in letter.attributes["deadLetterReason"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("topic", HANDLERS)
def test_the_largest_body_is_read(world: World, topic: str, *, chunked: bool) -> None:
    """A body of just the largest size is read."""
    assert answered(world, topic, pushed(MAX_BODIES[topic]), chunked=chunked)[1] == HTTPStatus.NO_CONTENT
    [letter] = world.bus.take_all("dead-letters")
    assert "bytes" not in letter.attributes["deadLetterReason"]


def test_a_caller_with_a_large_body_gets_413(world: World) -> None:
    """A plain POST that is too large is answered 413 with the limit."""
    sent = Sent(io.BytesIO(bytes(9_000_000)), 9_000_000)
    text, status, _ = answer_request("start", on_start, world.services, JSON, sent)
    assert status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    said = "the request is 9,000,000 bytes long; the function accepts up to 8,388,608"
    assert json.loads(text)["error"].startswith(said)
    assert world.bus.take_all("dead-letters") == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_start_is_a_post(world: World, method: str) -> None:
    """Any other method is answered 405, and nothing is read."""
    body = Endless()
    text, status, headers = answer_request("start", on_start, world.services, JSON, Sent(body, method=method))
    assert (status, headers["Allow"], body.given) == (HTTPStatus.METHOD_NOT_ALLOWED, "POST", 0)
    assert f"'{method}' starts nothing; to start a run, POST" in json.loads(text)["error"]


def test_a_body_without_end_is_not_read_for_ever(world: World) -> None:
    """A body is read up to its limit, even if it never ends."""
    body = Endless()
    assert answer_request("tick", on_tick, world.services, PUSHED, Sent(body))[1] == HTTPStatus.NO_CONTENT
    assert body.given < MAX_FORGOTTEN + MAX_BODIES["tick"] + 500_000


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://127.0.0.1:8080", ""])
@pytest.mark.parametrize("topic", HANDLERS)
def test_no_web_page_calls_a_function(world: World, topic: str, origin: str) -> None:
    """A request of a web page is refused before its body is read."""
    body = Endless()
    text, status, headers = answer_request(
        topic, HANDLERS[topic], world.services, {**JSON, "Origin": origin}, Sent(body)
    )
    assert (status, body.given) == (HTTPStatus.FORBIDDEN, 0)
    assert "web page" in json.loads(text)["error"]
    assert not any(name.lower().startswith("access-control") for name in headers)


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        ((), "anything.test", HTTPStatus.ACCEPTED),
        (("127.0.0.1", "localhost"), "127.0.0.1:8080", HTTPStatus.ACCEPTED),
        (("127.0.0.1", "localhost"), "LOCALHOST", HTTPStatus.ACCEPTED),
        (("127.0.0.1", "localhost"), "evil.test", HTTPStatus.FORBIDDEN),
        (("127.0.0.1", "localhost"), "evil.test:8080", HTTPStatus.FORBIDDEN),
        (("127.0.0.1", "localhost"), "127.0.0.1.evil.test", HTTPStatus.FORBIDDEN),
        (("127.0.0.1", "localhost"), "", HTTPStatus.FORBIDDEN),
    ],
)
def test_a_function_may_be_called_by_some_names_alone(hosts: tuple[str, ...], host: str, status: int) -> None:
    """With WORKFLOW_HOSTS, other host names are refused."""
    world = World(hosts=hosts)
    sent = Sent(io.BytesIO(FLOW), len(FLOW))
    assert answer_request("start", on_start, world.services, {**JSON, "Host": host}, sent)[1] == status


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": ""}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}],
)
def test_a_start_says_that_it_is_json(world: World, headers: dict[str, Any]) -> None:
    """A start without JSON's content type is answered 415."""
    text, status, _ = on_start(world.services, headers, FLOW)
    assert status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert "Content-Type: application/json" in json.loads(text)["error"]
    assert on_start(world.services, {"Content-Type": "Application/JSON; charset=utf-8"}, FLOW)[1] == HTTPStatus.ACCEPTED
