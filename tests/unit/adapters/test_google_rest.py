"""Requests to Google's APIs: tries, time limits, and errors that quote no token."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import google.auth.exceptions
import pytest

from atom_workflows.adapters.google_rest import GoogleRestClient
from atom_workflows.errors import GoogleUnavailable
from atom_workflows.runner.cloud.rest import Api, Call
from contract.canned import Asked, Canned, answer, canned
from functions.runner import TOKEN, open_session

CALL = Call(api=Api.BATCH, method="POST", path="/v1/x", query={"jobId": "a b"}, body={"labels": {}}, total_s=5)
JSON = {"Content_Type": "application/json"}


@dataclass(slots=True)
class Pauses:
    """The pauses between tries, which take no time here."""

    taken: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Note the pause."""
        self.taken.append(seconds)


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[GoogleRestClient, Canned, Pauses]]:
    """Run a server that gives these answers in order, the last one again and again."""
    left = list(answers)

    def respond(_asked: Asked, _connection: socket.socket) -> bytes:
        return left.pop(0) if len(left) > 1 else left[0]

    pauses = Pauses()
    with canned(respond) as server:
        yield GoogleRestClient({Api.BATCH: server.url}, open_session, pauses.sleep), server, pauses


def error(status: str, message: str = "no", **headers: str) -> bytes:
    """Return an error as Google's APIs write it."""
    return answer(f'{{"error": {{"message": "{message}"}}}}'.encode(), status, **JSON, **headers)


def test_a_request_is_sent_as_it_is_described() -> None:
    """A call's method, path, query, body and token are sent, and the JSON object of the answer is read."""
    with answering(answer(b'{"name": "x"}', **JSON)) as (client, server, _):
        reply = client.send(CALL)
    [asked] = server.asked
    assert (asked.method, asked.target, asked.body) == ("POST", "/v1/x?jobId=a+b", b'{"labels": {}}')
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert (reply.is_ok, reply.document) == (True, {"name": "x"})


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_busy_api_is_asked_again(status: str) -> None:
    """A refusal for the moment is tried again, after pauses that grow or that the API names."""
    with answering(error(status), error(status, Retry_After="2"), answer(b"{}", **JSON)) as (client, server, pauses):
        assert client.send(CALL).is_ok
    assert len(server.asked) == 3
    assert 0 < pauses.taken[0] <= 0.5
    assert pauses.taken[1] == 2


@pytest.mark.parametrize(
    ("call", "tries"),
    [
        (CALL, 3),
        (Call(api=Api.BATCH, method="POST", path="/v1/x", total_s=5, is_repeatable=False), 1),
        (Call(api=Api.BATCH, method="POST", path="/v1/x", total_s=0.3), 1),
    ],
)
def test_tries_are_bounded(call: Call, tries: int) -> None:
    """A call that cannot be repeated, or has no time left, is made once; any other three times."""
    with answering(error("503 Service Unavailable", "busy")) as (client, server, _):
        reply = client.send(call)
    assert (reply.status, reply.message, len(server.asked)) == (503, "busy", tries)


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "409 Conflict", "500 Internal Server Error"])
def test_any_other_error_is_returned_at_once(status: str) -> None:
    """An error that another try would not change is returned as it is."""
    with answering(error(status)) as (client, server, _):
        assert client.send(CALL).status == int(status[:3])
    assert len(server.asked) == 1


def test_a_retry_after_beyond_the_time_is_reported() -> None:
    """The caller learns when to come again."""
    with answering(error("429 Too Many Requests", Retry_After="90")) as (client, server, _):
        assert client.send(CALL).retry_after_s == 90
    assert len(server.asked) == 1


def test_an_answer_that_does_not_come_is_unclear() -> None:
    """A connection that is cut after the request may have had an effect."""
    with answering(b"") as (client, server, _), pytest.raises(GoogleUnavailable) as raised:
        client.send(CALL)
    assert (raised.value.nothing_sent, len(server.asked)) == (False, 3)


def test_without_a_connection_nothing_was_sent() -> None:
    """A refused connection is reported as such."""
    with answering(b"") as (client, _, _):
        pass
    with pytest.raises(GoogleUnavailable, match="connection refused") as raised:
        client.send(CALL)
    assert raised.value.nothing_sent


def test_a_lost_answer_before_a_refused_connection_is_unclear() -> None:
    """If an earlier try was sent, the request may have had an effect."""
    with ExitStack() as stack:
        server = stack.enter_context(canned(lambda _asked, _connection: b""))
        client = GoogleRestClient({Api.BATCH: server.url}, open_session, lambda _seconds: stack.close())
        with pytest.raises(GoogleUnavailable, match="connection refused") as raised:
            client.send(CALL)
    assert (raised.value.nothing_sent, len(server.asked)) == (False, 1)


def test_without_a_credential_nothing_was_sent() -> None:
    """A process without a credential says so, and quotes nothing of it."""

    def no_session() -> Any:
        raise google.auth.exceptions.DefaultCredentialsError("/secret/path does not exist")  # type: ignore[no-untyped-call]  # google-auth is only partly typed

    with pytest.raises(GoogleUnavailable, match="no token") as raised:
        GoogleRestClient({Api.BATCH: "http://127.0.0.1:1"}, no_session).send(CALL)
    assert raised.value.nothing_sent
    assert "secret" not in str(raised.value)


def test_a_quoted_token_is_masked() -> None:
    """An error of the API that quotes the token is shown without it."""
    with answering(error("400 Bad Request", f"bad header: Bearer {TOKEN}")) as (client, _, _):
        assert TOKEN not in client.send(CALL).message


def test_a_long_answer_is_cut() -> None:
    """No more than the call allows is read."""
    short = Call(api=Api.BATCH, method="GET", path="/v1/x", total_s=5, most_bytes=10)
    with answering(answer(b"x" * 100_000)) as (client, _, _):
        reply = client.send(short)
    assert (len(reply.content), reply.is_cut) == (10, True)


@pytest.mark.parametrize("body", [b"[1]", b"<html>", b"", b"[" * 5_000])
def test_an_answer_that_is_no_object_is_empty(body: bytes) -> None:
    """What is no JSON object counts as an answer without content."""
    with answering(answer(body, **JSON)) as (client, _, _):
        assert client.send(CALL).document == {}


def test_no_redirect_is_followed() -> None:
    """The token is sent to no other server."""
    with answering(answer(b"", "302 Found", Location="http://127.0.0.1:1/")) as (client, server, _):
        assert client.send(CALL).status == 302
    assert len(server.asked) == 1
