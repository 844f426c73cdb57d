"""A hostile Task Runner, on loopback: what its answers cost is bounded, and none of them holds up a run for good."""

from __future__ import annotations

import dataclasses
import gzip
import json
import socket
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from atom_emulator.testing.world import World
from atom_workflows.adapters.task_runner import client as task_runner_client
from atom_workflows.adapters.task_runner.answers import MAX_JOB_STATE, MAX_RETRY_AFTER_S
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.id_tokens import IdToken
from atom_workflows.adapters.task_runner.tokens import FixedToken, IdTokens
from atom_workflows.errors import JobRefused, TaskRunnerUnavailable
from atom_workflows.ports import MAX_JOB_ID, JobAnswer
from contract.canned import HOUR, Asked, answer, canned

TOKEN: Final = "s3cret-t0ken.of-some~length"  # noqa: S105 (it is for these tests)


def client(timeout_s: float = 10.0) -> TaskRunnerClient:
    """Return a client that sends TOKEN."""
    return TaskRunnerClient(FixedToken(TOKEN), submit_timeout_s=timeout_s, status_timeout_s=timeout_s)


def job(**fields: Any) -> bytes:
    """Return an answer in the contract's form."""
    return answer(json.dumps({"job": fields}).encode())


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X-One: 1\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: 1\r\n"),
    ],
    ids=["header", "headers", "continue", "body", "unbounded body", "chunks", "trailers"],
)
def test_no_drip_holds_a_caller(monkeypatch: pytest.MonkeyPatch, head: bytes, drop: bytes) -> None:
    """An answer that comes slowly is given up, wherever it is slow."""

    def respond(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(head)
        server.drip(connection, drop)
        return b""

    monkeypatch.setattr(task_runner_client, "CONNECT_TIMEOUT_S", 0.3)
    with canned(respond) as server, pytest.raises(TaskRunnerUnavailable, match="did not respond"):
        client(timeout_s=0.4).status(server.url, "7")
    assert not server.is_exhausted


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
def test_a_compressed_answer_is_measured_as_it_unpacks(encoding: str) -> None:
    """An answer that unpacks to too much is given up after 64 KB."""
    bomb = b" " * 200_000_000
    for _ in encoding.split():
        bomb = gzip.compress(bomb, compresslevel=1)
    with canned(lambda _asked, _connection: answer(bomb, Content_Encoding=encoding)) as server:
        tracemalloc.start()
        try:
            with pytest.raises(TaskRunnerUnavailable, match="65536 bytes"):
                client().status(server.url, "7")
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("head", "line"),
    [(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 70_000), (b"HTTP/1.1 200 OK\r\n", b"X-Many: 1\r\n" * 200)],
)
def test_a_head_has_a_largest_size(head: bytes, line: bytes) -> None:
    """An answer with a huge head is an outage."""

    def respond(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(head + line + b"\r\n\r\n")
        return b""

    with canned(respond) as server, pytest.raises(TaskRunnerUnavailable):
        client().status(server.url, "7")


def test_a_job_id_has_a_longest() -> None:
    """A job id that is too long is left out, and the state counts."""
    with canned(lambda _asked, _connection: job(state="RUNNING", jobId="j" * MAX_JOB_ID)) as server:
        assert len(client().status(server.url, "7").job_id) == MAX_JOB_ID
    with canned(lambda _asked, _connection: job(state="SUCCEEDED", jobId="j" * (MAX_JOB_ID + 1))) as server:
        assert client().status(server.url, "7") == JobAnswer(job_id="", state="SUCCEEDED")


def test_an_unknown_state_is_cut_short() -> None:
    """An unknown job state is kept up to a length."""
    with canned(lambda _asked, _connection: job(state="x" * 5_000, jobId="7")) as server:
        assert client().status(server.url, "7").state == "x" * MAX_JOB_STATE


@pytest.mark.parametrize("wish", ["1e300", "9" * 300, "100000"])
def test_an_absurd_pause_is_cut_short(wish: str) -> None:
    """A requested pause is limited."""
    busy = answer(b"", "503 Unavailable", Retry_After=wish)
    with canned(lambda _asked, _connection: busy) as server, pytest.raises(TaskRunnerUnavailable) as caught:
        client().submit(server.url, {}, idempotency_key="k", timeout=HOUR)
    assert caught.value.retry_after_s == MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    "job_id", ["../../job", "7&job_id=8", "7#x", "7\r\nX-Injected: 1", "7 HTTP/1.1", "%2e%2e", "é\0"]
)
def test_a_job_id_stays_one_parameter(job_id: str) -> None:
    """A job id is one quoted parameter of the status request."""
    with canned(lambda _asked, _connection: job(state="RUNNING", jobId="7")) as server:
        client().status(server.url, job_id)
    [asked] = server.asked
    assert asked.target.startswith("/jobstatus?job_id=")
    assert not set(asked.target.removeprefix("/jobstatus?job_id=")) & set("&#/? \r\n\0")
    assert "X-Injected" not in asked.headers


def test_a_token_that_a_redirection_quotes_is_masked() -> None:
    """A redirect is not followed, and a token in it is masked."""
    moved = answer(b"", "302 Found", Location=f"https://elsewhere.test/login?token={TOKEN}&x=1")
    with canned(lambda _asked, _connection: moved) as server, pytest.raises(TaskRunnerUnavailable) as caught:
        client().submit(server.url, {}, idempotency_key="k", timeout=HOUR)
    assert "s3cret" not in str(caught.value)
    assert "(token)&x=1" in str(caught.value)


def test_a_custom_audience_is_for_one_address_alone() -> None:
    """Another allowed Task Runner gets a token for its own address."""
    asked: list[str] = []

    def fetch(audience: str) -> IdToken:
        asked.append(audience)
        return IdToken(text=f"token for {audience}", expires_at=datetime.max.replace(tzinfo=UTC))

    tokens = IdTokens(audiences={"https://own.test": "inner-audience"}, fetch=fetch)
    assert tokens.token_for("https://own.test") == "token for inner-audience"
    assert tokens.token_for("https://own.test.evil.test/") == "token for https://own.test.evil.test"
    assert tokens.token_for("https://x@other.test/own") == "token for https://other.test"
    assert asked == ["inner-audience", "https://own.test.evil.test", "https://other.test"]


HTML: Final = answer(b"<html><script>alert(1)</script>\x1b[2J \xff\xfe" + b"<" * 9_000, "200 OK")
ENDLESS: Final = {
    "html": HTML,
    "long id": job(state="RUNNING", jobId="j" * 3_000),
    "long state": job(state="\x1b[2J" + "x" * 5_000, jobId="7", message="m" * 9_000),
    "later": answer(b"", "503 Unavailable", Retry_After="1e300"),
    "refused": answer(b"\x1b]0;owned\x07<b>no</b>" + b"\x9b" * 9_000, "403 Forbidden"),
    "nothing": answer(b"", "204 No Content"),
    "nan": answer(b'{"job": {"state": NaN, "jobId": NaN}}'),
    "lists": answer(
        b'{"job": {"state": "SUCCEEDED", "jobId": ' + b"[" * 400 + b"]" * 400 + b', "message": {"a": [1]}}}'
    ),
    "failed": job(state="FAILED", jobId="7" * 500, message="\x1b[31m\u202e" * 3_000),
}


@pytest.mark.parametrize(("length", "kept"), [(9_000, f"{'m' * 1_999}…"), (2_000, "m" * 2_000)])
def test_message_that_is_cut_ends_with_an_ellipsis(length: int, kept: str) -> None:
    """A reader knows that there was more; one that is just as long as allowed is left alone."""
    with canned(lambda _asked, _connection: job(state="FAILED", jobId="7", message="m" * length)) as server:
        assert client().status(server.url, "7").message == kept


@pytest.mark.parametrize("kind", ENDLESS)
def test_whatever_is_answered_the_run_ends(kind: str) -> None:
    """A run ends by its step's timeout, whatever its Task Runner answers."""
    with canned(lambda _asked, _connection: ENDLESS[kind]) as server:
        world = World(task_runner_url=server.url)
        world.services = dataclasses.replace(world.services, task_runner=client())
        run_id = world.start("steps: [{id: a, timeout: 2m, task: {url: u}}, {id: b, dependsOn: [a]}]")
        run = world.run_to_end(run_id, within=timedelta(minutes=15))
    assert run.state.is_terminal
    step = world.steps(run_id)["a"]
    assert len(step.message) <= 2_000
    assert "s3cret" not in step.message


def test_a_refusal_is_quoted_in_short() -> None:
    """A refusal's text is kept up to 500 characters."""
    with (
        canned(lambda _asked, _connection: answer(b"n" * 60_000, "400 Bad Request")) as server,
        pytest.raises(JobRefused) as caught,
    ):
        client().submit(server.url, {}, idempotency_key="k", timeout=HOUR)
    assert len(caught.value.text) == 500
