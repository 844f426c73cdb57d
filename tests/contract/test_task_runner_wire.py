"""The TaskRunner port over HTTP, byte by byte: what is sent, and what an odd server may do."""

from __future__ import annotations

import json
import logging
import socket
import threading
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from atom_workflows.adapters import http
from atom_workflows.adapters.task_runner.answer_body import MAX_ANSWER_BYTES
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.tokens import FixedToken
from atom_workflows.errors import JobRefused, TaskRunnerError, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer
from contract.canned import HOUR, Asked, Respond, answer, canned

TOKEN = "s3cret-token"  # noqa: S105 (not one)
BODY = {"job_name": "lädt 世界", "args": [1, {"a": None}]}
FINE = answer(b'{"job": {"state": "RUNNING", "jobId": "7", "message": ""}}', Content_Type="application/json")


def client(token: str = TOKEN, *, timeout_s: float = 60) -> TaskRunnerClient:
    """Return a client."""
    return TaskRunnerClient(FixedToken(token), submit_timeout_s=timeout_s, status_timeout_s=timeout_s)


def always(response: bytes) -> Respond:
    """Answer each request like this."""
    return lambda _asked, _connection: response


def test_the_requests_are_the_contracts() -> None:
    """Method, path, headers and body are exactly the contract's."""
    with canned(always(FINE)) as server:
        client().submit(server.url, BODY, idempotency_key="run/load/1", timeout=HOUR)
        client().status(server.url, "a/b c&d=ü")
    submitted, status = server.asked
    assert (submitted.method, submitted.target) == ("POST", "/job")
    assert json.loads(submitted.body) == BODY
    assert submitted.headers["Content-Type"] == "application/json"
    assert submitted.headers["Idempotency-Key"] == "run/load/1"
    assert submitted.headers["Atom-Job-Timeout"] == "3600"
    assert submitted.headers["Authorization"] == status.headers["Authorization"] == f"Bearer {TOKEN}"
    assert (status.method, status.target) == ("GET", "/jobstatus?job_id=a%2Fb%20c%26d%3D%C3%BC")
    assert status.body == b""


def test_a_submission_is_sent_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers and the body are sent together, so that the server need not wait for a second packet."""
    sent: list[bytes] = []

    def send(connection: socket.socket, data: bytes) -> None:
        sent.append(bytes(data))
        assert connection.send(data) == len(data)

    monkeypatch.setattr(socket.socket, "sendall", send)
    with canned(always(FINE)) as server:
        client().submit(server.url, BODY, idempotency_key="run/load/1", timeout=HOUR)
    (submission,) = (data for data in sent if not data.startswith(b"HTTP/"))
    assert json.loads(submission.partition(b"\r\n\r\n")[2]) == BODY


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (timedelta(seconds=1), "1"),
        (timedelta(seconds=1, microseconds=1), "2"),
        (timedelta(days=30), "2592000"),
        (timedelta(milliseconds=1), "1"),
        (timedelta(0), "1"),
        (timedelta(seconds=-90), "1"),
    ],
)
def test_a_submission_says_how_long_its_attempt_has_left(left: timedelta, seconds: str) -> None:
    """The time that is left is sent as whole seconds, rounded up, and at least one."""
    with canned(always(FINE)) as server:
        client().submit(server.url, BODY, idempotency_key="run/load/1", timeout=left)
    assert server.asked[0].headers["Atom-Job-Timeout"] == seconds


def test_a_base_url_may_have_a_path() -> None:
    """The contract's paths follow the base URL's own."""
    with canned(always(FINE)) as server:
        client().status(f"{server.url}/team a/runner", "7")
    assert server.asked[0].target == "/team%20a/runner/jobstatus?job_id=7"


def test_no_token_means_no_header() -> None:
    """Without a token no Authorization header is sent."""
    with canned(always(FINE)) as server:
        client("none").status(server.url, "7")
    assert "Authorization" not in server.asked[0].headers


@pytest.mark.parametrize("chunked", [False, True])
def test_one_connection_serves_many_calls(*, chunked: bool) -> None:
    """Answers are read to their end, so that connections can be used again."""
    body = b'{"job": {"state": "RUNNING", "jobId": "7"}}'
    pieces = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n"
    fine = pieces % (body[:5], len(body) - 5, body[5:]) if chunked else FINE
    kinds = [fine, answer(b"no", "400 Bad Request"), answer(b"busy" * 5_000, "503 Unavailable"), fine]
    one = client()
    with canned(lambda _asked, _connection: kinds[len(server.asked) % len(kinds)]) as server:
        for _ in range(20):
            try:
                one.submit(server.url, BODY, idempotency_key="k", timeout=HOUR)
            except TaskRunnerError:
                continue
    assert len(server.asked) == 20
    assert server.connections == 1


def test_a_connection_that_the_server_closed_is_replaced() -> None:
    """A server that ends idle connections costs no call."""
    closing = answer(FINE.partition(b"\r\n\r\n")[2], Connection="close")
    one = client()

    def close(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(closing)
        return b""

    with canned(close) as server:
        assert [one.status(server.url, "7").state for _ in range(3)] == ["RUNNING"] * 3
    assert server.connections == 3


def test_a_connection_that_was_idle_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is not used again, as the server may close it."""
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.0)
    one = client()
    with canned(always(FINE)) as server:
        assert [one.status(server.url, "7").state for _ in range(3)] == ["RUNNING"] * 3
    assert server.connections == 3


def test_a_task_runner_of_one_thread_serves_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stays with one connection still gets to the next client."""
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.05)
    dispatcher, checker = client(), client()
    with canned(always(FINE), one_thread=True) as server:
        assert dispatcher.submit(server.url, {}, idempotency_key="k", timeout=HOUR).job_id == "7"
        assert checker.status(server.url, "7").state == "RUNNING"
    assert server.connections == 2


def test_a_server_that_hangs_up_on_a_large_request_is_heard() -> None:
    """An early answer to a large request is no outage."""

    def refuse() -> None:
        with listener.accept()[0] as connection:
            connection.recv(1_000)
            connection.sendall(answer(b"too large", "413 Content Too Large", Connection="close"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        with pytest.raises(JobRefused, match="too large"):
            client().submit(
                f"http://127.0.0.1:{listener.getsockname()[1]}",
                {"x": "x" * 20_000_000},
                idempotency_key="k",
                timeout=HOUR,
            )
    thread.join(30)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str) -> None:
    """A redirect is no answer, as it could carry the token elsewhere."""
    with canned(always(FINE)) as elsewhere, canned(always(answer(b"", status, Location=elsewhere.url))) as server:
        with pytest.raises(TaskRunnerUnavailable, match=status[:3]):
            client().submit(server.url, BODY, idempotency_key="k", timeout=HOUR)
        with pytest.raises(TaskRunnerUnavailable, match=status[:3]):
            client().status(server.url, "7")
    assert elsewhere.asked == []


def test_nothing_of_the_environment_changes_a_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Calls use no proxy, password or cookie of the machine."""
    (tmp_path / "netrc").write_text("default login someone password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    one = client("none")
    cookie = FINE.replace(b"\r\n", b"\r\nSet-Cookie: a=b\r\n", 1)
    with canned(always(cookie)) as server:
        one.status(server.url, "7")
        one.status(server.url, "7")
    assert all("Authorization" not in asked.headers and "Cookie" not in asked.headers for asked in server.asked)
    assert [asked.target for asked in server.asked] == ["/jobstatus?job_id=7"] * 2


@pytest.mark.parametrize("length", [True, False])
def test_a_huge_answer_is_not_read(*, length: bool) -> None:
    """More than 64 KB is no answer, with or without Content-Length."""
    head = b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 1000000000\r\n" if length else b"") + b"\r\n"

    def flood(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(head)
        while not server.over.is_set():
            connection.sendall(b"x" * 65_536)
        return b""

    with canned(flood) as server, pytest.raises(TaskRunnerUnavailable, match=str(MAX_ANSWER_BYTES)):
        client().status(server.url, "7")


@pytest.mark.parametrize(
    "response",
    [
        answer(b'{"job": {"sta')[:-3] + b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_broken_http_is_an_outage(response: bytes) -> None:
    """Broken HTTP raises TaskRunnerUnavailable only."""

    def cut(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(response)
        return b""

    with canned(cut) as server, pytest.raises(TaskRunnerUnavailable):
        client().submit(server.url, BODY, idempotency_key="k", timeout=HOUR)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'"job"',
        b'{"job": null}',
        b'{"job": []}',
        b'{"job": {}}',
        b'{"job": {"state": null, "jobId": "7"}}',
        b'{"job": {"state": "", "jobId": "7"}}',
        b'{"job": {"state": {"a": 1}, "jobId": "7"}}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"job": {"state": ' + b"9" * 5_000 + b"}}",
    ],
)
def test_json_that_is_not_the_contracts_is_an_outage(body: bytes) -> None:
    """An answer without a state says nothing of the job."""
    with canned(always(answer(body))) as server, pytest.raises(TaskRunnerUnavailable, match="not follow the contract"):
        client().status(server.url, "7")


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"state": "SUCCEEDED"}, JobAnswer(job_id="", state="SUCCEEDED")),
        ({"state": "NEW", "jobId": 0, "message": None}, JobAnswer(job_id="0", state="NEW")),
        ({"state": "odd", "jobId": "ü", "message": 3, "x": 1}, JobAnswer(job_id="ü", state="odd", message="3")),
        (
            {"state": "FAILED", "message": "half \ud83d a pair"},
            JobAnswer(job_id="", state="FAILED", message="half ? a pair"),
        ),
    ],
)
def test_answers_are_read_kindly(job: dict[str, Any], expected: JobAnswer) -> None:
    """Missing texts are empty, numbers become texts, and unknown fields are ignored."""
    with canned(always(answer(json.dumps({"job": job}).encode()))) as server:
        assert client().status(server.url, "7") == expected


def _echo(asked: Asked, _connection: socket.socket) -> bytes:
    """Quote the request's headers."""
    return answer(str(asked.headers).encode(), "400 Bad Request" if asked.method == "POST" else "500 Oops")


@pytest.mark.parametrize("token", [TOKEN, "s3cret-token\nwith a line end", "s3cret-tökén-世界"])
def test_the_token_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture, token: str) -> None:
    """The token is in no error, trace or debug log."""
    caplog.set_level(logging.DEBUG)
    traces = []
    one = client(token)
    with canned(_echo) as server:
        for url in (server.url, "http://127.0.0.1:9", "nonsense", "ftp://x"):
            with pytest.raises((JobRefused, TaskRunnerUnavailable)) as submitted:
                one.submit(url, BODY, idempotency_key="k", timeout=HOUR)
            with pytest.raises(TaskRunnerUnavailable) as asked:
                one.status(url, "7")
            traces += ["".join(traceback.format_exception(error.value)) for error in (submitted, asked)]
    assert len(traces) == 8
    assert "s3cret" not in "".join(traces)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://host", "http://", "http://[::1", "http://a b", "http://127.0.0.1:9"]
)
def test_an_address_that_cannot_be_reached_is_an_outage(url: str) -> None:
    """An address that cannot be reached raises TaskRunnerUnavailable only."""
    with pytest.raises(TaskRunnerUnavailable):
        client().submit(url, BODY, idempotency_key="k", timeout=HOUR)
    with pytest.raises(TaskRunnerUnavailable):
        client().status(url, "7")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message": "the task has \\u201cengine: proces\\u201d"}', "the task has “engine: proces”"),
        (b'{"message": "no", "code": 7}', '{"message": "no", "code": 7}'),
        (b'{"message": {"a": 1}}', '{"message": {"a": 1}}'),
        (b'{"message": "the token is s3cret-token"}', "the token is (token)"),
    ],
)
def test_a_refusal_that_is_a_message_is_shown_as_its_text(body: bytes, said: str) -> None:
    """A JSON object with nothing but a message is read for people; whatever else is answered is quoted as it came."""
    refusal = answer(body, "400 Bad Request", Content_Type="application/json")
    with canned(always(refusal)) as server, pytest.raises(JobRefused) as caught:
        client().submit(server.url, BODY, idempotency_key="k", timeout=HOUR)
    assert caught.value.text == said
