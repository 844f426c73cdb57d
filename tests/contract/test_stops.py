"""Asking a Task Runner to stop a job: each answer means what docs/reference/task-runner.md says."""

from __future__ import annotations

import re
import socket
import traceback
from collections.abc import Iterator

import pytest

from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.tokens import FixedToken, IdTokens
from atom_workflows.errors import CredentialUnusable, RequestNotAccepted, TaskRunnerUnavailable
from atom_workflows.ports import StopAnswer
from contract.answers import JOB, Case, body, with_status
from contract.canned import Asked, Canned, answer, canned
from contract.stops import EVERY_STOP, STOPS
from contract.test_answers import client, holds_token, not_listening, play, table

MEANINGS = {row[0]: row[1] for row in table("stops")}
NAMES = {
    StopAnswer.STOPPING: "accepted",
    StopAnswer.GONE: "no such job",
    StopAnswer.CANNOT: "cannot stop jobs",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Canned]:
    """Return a server that knows every answer."""
    with canned(play(EVERY_STOP)) as story:
        yield story


def stopped(one: TaskRunnerClient, url: str, job_id: str = JOB) -> tuple[str, str]:
    """Return a stop's result by the page's name, and its texts."""
    try:
        return NAMES[one.stop(url, job_id)], ""
    except TaskRunnerUnavailable as error:
        texts = repr(vars(error)) + "".join(traceback.format_exception(error))
        return ("not accepted" if isinstance(error, RequestNotAccepted) else "no answer"), texts


def ids(cases: list[Case]) -> list[str]:
    """Return a test id for each case."""
    return [re.sub(r"[^ -~]|::", "?", case.name) for case in cases]


@pytest.mark.parametrize("number", range(len(EVERY_STOP)), ids=ids(EVERY_STOP))
def test_each_answer_to_a_stop_means_what_the_page_says(server: Canned, number: int) -> None:
    """Each answer has the result of its row on the page, and shows no token."""
    result, texts = stopped(client(), f"{server.url}/case-{number}")
    assert result == MEANINGS[EVERY_STOP[number].row]
    assert not holds_token(texts)


def test_the_page_has_a_row_for_each_answer_to_a_stop() -> None:
    """Each row of the page has an answer here, unless another test shows it."""
    ends = "::test_each_answer_to_a_stop_means_what_the_page_says`"
    assert {case.row for case in EVERY_STOP} == {row[0] for row in table("stops") if row[3].endswith(ends)}
    assert len({case.row for case in STOPS}) == len({case.row for case in EVERY_STOP})


def test_a_stop_is_a_delete_of_the_job() -> None:
    """Method, path, token and the job's id are the contract's, and there is no body."""
    with canned(lambda _asked, _connection: answer(b"", "202 Accepted")) as server:
        assert client().stop(f"{server.url}/runner", "a/b c&d=ü") is StopAnswer.STOPPING
    [asked] = server.asked
    assert (asked.method, asked.target) == ("DELETE", "/runner/job?job_id=a%2Fb%20c%26d%3D%C3%BC")
    assert asked.headers["Authorization"].startswith("Bearer ")
    assert (asked.body, asked.headers["Content-Type"], asked.headers["Idempotency-Key"]) == (b"", None, None)


def test_an_id_that_contains_the_method_is_no_missing_call() -> None:
    """A job whose own id contains DELETE is unknown, and the Task Runner can stop others."""
    no_job = with_status(404, body({"message": "there is no job DELETE-7"}))
    with canned(lambda _asked, _connection: no_job) as server:
        assert client().stop(server.url, "DELETE-7") is StopAnswer.GONE


def test_a_pause_that_the_answer_asks_for_is_reported() -> None:
    """The pause in Retry-After is reported, and 429 as a Task Runner that is busy."""
    for status, is_busy in ((429, True), (503, False)):
        later = with_status(status, Retry_After="7")
        with canned(play([Case("", "", later)])) as server, pytest.raises(RequestNotAccepted) as caught:
            client().stop(f"{server.url}/case-0", JOB)
        assert (caught.value.retry_after_s, caught.value.is_busy) == (7, is_busy)


def test_a_stop_that_takes_too_long_may_have_had_an_effect() -> None:
    """An answer that comes too late, or in drops, is no answer; the limit is that of a status call."""

    def respond(asked: Asked, connection: socket.socket) -> bytes:
        if "slow" in asked.target:
            story.over.wait(20)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            story.drip(connection, b"x")
        return b""

    hasty = TaskRunnerClient(FixedToken("none"), submit_timeout_s=60, status_timeout_s=0.2)
    with canned(respond) as story:
        for job_id in ("slow", "dripping"):
            with pytest.raises(TaskRunnerUnavailable, match="no response in time") as caught:
                hasty.stop(story.url, job_id)
            assert not isinstance(caught.value, RequestNotAccepted)
    assert not story.is_exhausted


def test_a_stop_without_a_connection_or_a_token_was_not_accepted() -> None:
    """Without a connection or a token nothing was sent, which says nothing about the job."""
    with not_listening() as nowhere:
        result, texts = stopped(client(), nowhere)
    assert (result, "nothing is listening" in texts) == ("not accepted", True)

    def no_token(_audience: str) -> None:
        raise CredentialUnusable("there is no account")

    with canned(play(EVERY_STOP)) as server:
        tokens = IdTokens(fetch=no_token)  # type: ignore[arg-type]  # it returns no token, since it raises
        result, texts = stopped(TaskRunnerClient(tokens), server.url)
    assert (result, "there is no account" in texts, server.asked) == ("not accepted", True, [])


def test_a_refused_token_is_renewed_once_for_a_stop() -> None:
    """After HTTP 401 a stop is repeated with another token, and what to do is explained if that is refused too."""
    sent = iter(["first-token-of-two", "second-token-of-two"])

    class Two:
        def token_for(self, _base_url: str) -> str:
            return next(sent)

        def renew(self, base_url: str, _refused: str) -> str:
            return self.token_for(base_url)

        def explain_denial(self, _base_url: str, status: int) -> str:
            return f"explained {status}"

    with canned(lambda _asked, _connection: with_status(401)) as server:
        result, texts = stopped(TaskRunnerClient(Two()), server.url)
    assert result == "no answer"
    assert "explained 401" in texts
    assert [asked.headers["Authorization"][7:] for asked in server.asked] == [
        "first-token-of-two",
        "second-token-of-two",
    ]
