"""Looking up the key of a submission: each answer means what docs/reference/task-runner.md says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from atom_workflows.adapters.task_runner.answer_body import MAX_READ_BYTES
from atom_workflows.errors import LookupUnsupported, TaskRunnerUnavailable
from contract.answers import CASES, JOB, Case, body, with_status
from contract.canned import Canned, answer, canned
from contract.test_answers import client, holds_token, not_listening, play, table

KEY = "run/load/1"
FOUND = "`2xx` with the key and a job's state"
NONE = '`2xx` with the key and `"jobId": null`'
OTHER_2XX = "`2xx` with anything else"
NO_SUCH_CALL = "`405`, `501`, and any other `4xx`"
NO_ANSWER = (
    "`401`, `403`, `408`, `425`, `429`, `499`, `3xx`, any other status, no HTTP, an answer that is cut, or one in "
    "which the key and the job do not [come early enough](#how-an-answer-is-read)"
)
MEANINGS = {row[0]: row[1] for row in table("lookups")}

RUNS = {"state": "RUNNING", "jobId": JOB}


def cases() -> Iterator[Case]:
    """Yield answers to a lookup."""
    yield Case("a job", FOUND, with_status(200, body({"key": KEY, "job": RUNS})))
    yield Case("a job, and more", FOUND, with_status(202, body({"key": KEY, "job": RUNS, "jobId": None, "x": 1})))
    yield Case("an end without an id", FOUND, with_status(200, body({"key": KEY, "job": {"state": "FAILED"}})))
    yield Case("none", NONE, with_status(200, body({"key": KEY, "jobId": None})))
    yield Case("none, with a message", NONE, with_status(200, body({"message": "-", "jobId": None, "key": KEY})))
    yield from long_and_deep()
    elsewhere = {
        "no key": {"jobId": None},
        "another key": {"key": f"{KEY}0", "jobId": None},
        "a key in other case": {"key": KEY.upper(), "jobId": None},
        "no id": {"key": KEY},
        "an empty id": {"key": KEY, "jobId": ""},
        "an id without a job": {"key": KEY, "jobId": JOB},
        "null": {"key": KEY, "jobId": None, "job": None},
        "a job without a state": {"key": KEY, "jobId": None, "job": {"jobId": None}},
        "a job without a key": {"job": RUNS},
        "a job of another key": {"key": "run/load/2", "job": RUNS},
        "a job without an id": {"key": KEY, "job": {"state": "RUNNING"}},
        "a key in the job": {"job": {**RUNS, "key": KEY}},
        "no job at all": {"job": {"jobId": None, "state": None}},
        "an echo": {"args": {"key": KEY}, "jobId": None},
    }
    yield from (Case(name, OTHER_2XX, with_status(200, body(found))) for name, found in elsewhere.items())
    for name, raw in {"nothing": b"", "a page": b"<html>", "a list": b"[]", "half": b'{"key": "run/l'}.items():
        yield Case(name, OTHER_2XX, with_status(200, raw))
    for status in (400, 404, 405, 409, 410, 422, 501):
        for name, found in {"none": {"key": KEY, "jobId": None}, "a message": {"message": "no job "}}.items():
            yield Case(f"{status} and {name}", NO_SUCH_CALL, with_status(status, body(found)))
    for status in (301, 303, 307, 308, 401, 403, 408, 425, 429, 499, 500, 502, 503, 504):
        for name, found in {"none": {"key": KEY, "jobId": None}, "a job": {"key": KEY, "job": RUNS}}.items():
            yield Case(f"{status} and {name}", NO_ANSWER, with_status(status, body(found)))


def long_and_deep() -> Iterator[Case]:
    """Yield answers that are too long, or nested too deeply, to be read in full."""
    long, deep = "x" * MAX_READ_BYTES, b"[" * 100_000 + b"]" * 100_000
    yield Case("a job, then a long text", FOUND, with_status(200, body({"key": KEY, "job": RUNS, "x": long})))
    yield Case(
        "a job with a long message", FOUND, with_status(200, body({"key": KEY, "job": {**RUNS, "message": long}}))
    )
    for name, key in {"of this key": KEY, "of another": f"{KEY}0"}.items():
        raw = b'{"x": %s, "job": {"state": "RUNNING", "jobId": "%s"}, "key": "%s"}' % (deep, JOB.encode(), key.encode())
        yield Case(f"a job {name} after deep JSON", FOUND if key == KEY else NO_ANSWER, with_status(200, raw))
    unread = {
        "a key after a long message": {"job": {**RUNS, "message": long}, "key": KEY},
        "a job after a long text": {"key": KEY, "x": long, "job": RUNS},
        "none, and a long text": {"key": KEY, "jobId": None, "message": long},
        "a long key": {"key": long},
    }
    yield from (Case(name, NO_ANSWER, with_status(200, body(found))) for name, found in unread.items())
    none = b'{"key": "%s", "jobId": null, "x": %s}' % (KEY.encode(), deep)
    yield Case("none, and deep JSON", NO_ANSWER, with_status(200, none))


EVERY = list(cases())


@pytest.fixture(scope="module")
def server() -> Iterator[Canned]:
    """Return a server that knows every answer."""
    with canned(play([*EVERY, *CASES])) as story:
        yield story


def looked_up(url: str) -> tuple[str, str]:
    """Return a lookup's result by the page's name, and its texts."""
    try:
        found = client().look_up(url, KEY)
    except LookupUnsupported as error:
        return "cannot look up", str(error)
    except TaskRunnerUnavailable as error:
        return "no answer", str(error)
    return ("no job" if found is None else "the job"), repr(found)


@pytest.mark.parametrize("number", range(len(EVERY)), ids=[re.sub(r"[^ -~]|::", "?", case.name) for case in EVERY])
def test_each_answer_to_a_lookup_means_what_the_page_says(server: Canned, number: int) -> None:
    """Each answer has the result of its row on the page."""
    result, _ = looked_up(f"{server.url}/case-{number}")
    assert result == MEANINGS[EVERY[number].row]


def test_no_answer_of_another_call_is_mistaken_for_a_lookup(server: Canned) -> None:
    """A Task Runner that ignores the parameter answers as it would to a status call, which finds no job and no lack."""
    for number, case in enumerate(CASES, start=len(EVERY)):
        result, texts = looked_up(f"{server.url}/case-{number}")
        assert result in {"cannot look up", "no answer"}, case.name
        assert not holds_token(texts)


def test_the_page_has_a_row_for_each_answer_to_a_lookup() -> None:
    """Each row of the page has an answer here."""
    assert {case.row for case in EVERY} == set(MEANINGS)


def test_a_lookup_is_a_status_call_with_a_key() -> None:
    """Method, path, token and key are the contract's, and there is no body."""
    none = body({"key": "a/b c&d=ü/1", "jobId": None})
    with canned(lambda _asked, _connection: answer(none)) as server:
        assert client().look_up(f"{server.url}/runner", "a/b c&d=ü/1") is None
    [asked] = server.asked
    assert (asked.method, asked.target) == ("GET", "/runner/jobstatus?key=a%2Fb%20c%26d%3D%C3%BC%2F1")
    assert asked.headers["Authorization"].startswith("Bearer ")
    assert asked.body == b""


def test_a_lookup_without_a_connection_is_no_answer() -> None:
    """Nothing was sent, which says nothing about a job."""
    with not_listening() as nowhere:
        assert looked_up(nowhere)[0] == "no answer"
