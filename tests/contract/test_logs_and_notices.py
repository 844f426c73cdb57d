"""The log's address and `notifies` in an answer are read as they were sent, or are as if they were not there."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atom_workflows.adapters.task_runner.answers import MAX_LOGS_URL, read_status, receive_answer
from atom_workflows.ports import JobAnswer
from contract.answers import JOB, TOKEN, spellings
from contract.test_answers import holds_token

LOGS: Final = "https://console.cloud.google.com/logs/query;query=resource%3D%22job%22?project=acme#a(b),c;d=[1]|{e}^~@f"


def read(content: bytes, *pieces: bytes) -> JobAnswer:
    """Return the job in the body of a status call's answer."""
    return read_status(receive_answer(200, {}, iter([content, *pieces]), tokens=[TOKEN], job_id=JOB), JOB)


def answered(**fields: Any) -> JobAnswer:
    """Return the job of an answer with these fields, in their order."""
    return read(json.dumps({"job": {"state": "RUNNING", "jobId": JOB} | fields}).encode())


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "odd"])
def test_both_may_come_in_any_answer(state: str) -> None:
    """A job in progress has a log and may notify, too."""
    found = answered(state=state, logsUrl=LOGS, notifies=True)
    assert (found.state, found.logs_url, found.notifies) == (state, LOGS, True)


@pytest.mark.parametrize(
    "fields", [{}, {"logsUrl": None, "notifies": None}, {"logsUrl": "", "notifies": False}, {"logs_url": LOGS}]
)
def test_an_answer_without_them_is_as_before(fields: dict[str, Any]) -> None:
    """Without the fields, or with null, an answer is what it was before there were such fields."""
    assert answered(**fields) == JobAnswer(job_id=JOB, state="RUNNING")


@pytest.mark.parametrize("value", [1, "true", "yes", [True], {"by": "topic"}, 1.0])
def test_only_true_is_a_promise_to_notify(value: Any) -> None:
    """A Task Runner that is taken for one that notifies would be polled too rarely."""
    assert not answered(notifies=value).notifies


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/jobs/7/log",
        "http://localhost",
        "HTTPS://logs.example/7?after=2026-01-01T00:00:00Z&who=a@b.example",
        "https://[::1]:8080/log#end",
        "https://logs.example/größe/世界",
        "https://xn--gre-6ka8i.example/",
        "https://logs.example/" + "x" * (MAX_LOGS_URL - 21),
    ],
)
def test_an_address_for_people_is_kept_as_it_is(url: str) -> None:
    """An address over http or https is neither corrected nor escaped."""
    assert answered(logsUrl=url).logs_url == url


HOSTILE: Final = {
    "a script": "javascript:alert(1)",
    "data": "data:text/html,<script>alert(1)</script>",
    "a file": "file:///etc/passwd",
    "another protocol": "ftp://logs.example/7",
    "no protocol": "//logs.example/7",
    "no slashes": "https:logs.example/7",
    "a path": "/jobs/7/log",
    "spaces before it": " https://logs.example/7",
    "no host": "https:///7",
    "only a port": "https://:8080/7",
    "a user": "https://console.cloud.google.com@evil.example/7",
    "a password": "https://user:secret@logs.example/7",
    "an empty user": "https://@logs.example/7",
    "a backslash": "https://evil.example\\@logs.example/7",
    "a backslash in the path": "https://logs.example/\\evil",
    "half an IPv6 address": "https://[::1/7",
    "a space": "https://logs.example/a b",
    "a line break": "https://logs.example/7\r\nSet-Cookie: a=b",
    "a tab": "https://logs.example/\t7",
    "a zero": "https://logs.example/\x007",
    "an escape sequence": "https://logs.example/\x1b]8;;https://evil.example\x07",
    "C1 control characters": "https://logs.example/\x9b2J",
    "text from right to left": "https://logs.example/\u202egpj.exe",
    "a joiner": "https://logs\u200b.example/7",
    "a no-break space": "https://logs.example/\u00a0x",
    "a line separator": "https://logs.example/\u2028x",
    "half of a surrogate pair": "https://logs.example/\ud83d",
    "a tag": "https://logs.example/<script>",
    "a quote": 'https://logs.example/"onclick="alert(1)',
    "an apostrophe": "https://logs.example/'onclick='alert(1)",
    "a backquote": "https://logs.example/`id`",
    "too long": "https://logs.example/" + "x" * (MAX_LOGS_URL - 20),
    "megabytes": "https://logs.example/" + "x" * 900_000,
    "the token": f"https://logs.example/?token={TOKEN}",
    "part of the token": f"https://logs.example/?token={TOKEN[:24]}",
    "another JWT": "https://logs.example/?t=eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
}


@pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_address_is_left_out(url: str) -> None:
    """An address that could mislead, run a script or reveal a token is left out; the rest of the answer counts."""
    found = answered(logsUrl=url, message="on its way", notifies=True)
    assert found == JobAnswer(job_id=JOB, state="RUNNING", message="on its way", notifies=True)


@pytest.mark.parametrize("value", [17, True, 1.5, ["https://logs.example"], {"href": "https://logs.example"}])
def test_an_address_of_another_type_is_left_out(value: Any) -> None:
    """Whatever is no text is ignored."""
    assert answered(logsUrl=value) == JobAnswer(job_id=JOB, state="RUNNING")


@pytest.mark.parametrize("name", spellings())
def test_an_address_never_holds_the_token(name: str) -> None:
    """An address that quotes the token, in whatever spelling, is not kept."""
    found = answered(logsUrl=f"https://logs.example/?auth={spellings()[name]}")
    assert not holds_token(found.logs_url)


@given(st.text(max_size=60))
@example("a.example/7")
@example("[x]")
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever follows the scheme, the address is kept as it is or left out."""
    url = f"https://{text}"
    found = answered(logsUrl=url).logs_url
    assert found in {"", url}
    assert found.isprintable()
    assert not set(found) & set(" \\\"'<>`")


def test_both_are_read_before_the_cut_of_a_long_answer() -> None:
    """Of an answer that is read in part, the fields in that part count."""
    long = ["a line of the log, and another"] * 100_000
    before = {"state": "RUNNING", "jobId": JOB, "logsUrl": LOGS, "notifies": True, "message": long}
    behind = {"state": "RUNNING", "jobId": JOB, "message": long, "logsUrl": LOGS, "notifies": True}
    cut = {"state": "RUNNING", "jobId": JOB, "logsUrl": "https://logs.example/" + "x" * 2_000_000, "notifies": True}
    found = [read(json.dumps({"job": job}).encode()) for job in (before, behind, cut)]
    assert [(one.logs_url, one.notifies) for one in found] == [(LOGS, True), ("", False), ("", False)]
