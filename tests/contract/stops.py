"""Answers of a Task Runner that is asked to stop a job, each with its row of docs/reference/task-runner.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from contract.answers import (
    ANSWERED,
    BUSY,
    CASES,
    EARLY,
    JOB,
    LATER,
    NOT_FOUND,
    NOT_THE_CONTRACTS,
    NOTHING_DONE,
    UNKNOWN_JOB,
    WITHOUT_ID,
    Case,
    body,
    spellings,
    with_status,
)

ACCEPTED: Final = "`2xx`, whatever is in it"
GONE: Final = "`404`, `410` in the contract's form"
NO_SUCH_CALL: Final = "`404`, `410` that quote the method `DELETE`"
ELSEWHERE: Final = "any other `404`, `410`"
CANNOT: Final = "`405`, `501`"
NOT_NOW: Final = "`307`, `308`, `425`, `429`, `503` with `Retry-After`"
OTHER: Final = "any other status, no HTTP, or an answer that is cut"

_ROWS: Final = {
    ANSWERED: ACCEPTED,
    WITHOUT_ID: ACCEPTED,
    NOT_THE_CONTRACTS: ACCEPTED,
    UNKNOWN_JOB: GONE,
    NOT_FOUND: ELSEWHERE,
    NOTHING_DONE: NOT_NOW,
    EARLY: NOT_NOW,
    BUSY: NOT_NOW,
    LATER: NOT_NOW,
}
"""Rows about submissions and status calls, and the row about stops for the same answer; all others are `OTHER`."""

# Only the status of an answer to a stop is needed, and half a head contains it.
_BY_NAME: Final = {"405": CANNOT, "501": CANNOT, "wire: half a head": ACCEPTED}


def of_other_calls() -> Iterator[Case]:
    """Yield the answers to submissions and status calls, given to a stop."""
    for case in CASES:
        row = _BY_NAME.get(case.name) or _ROWS.get(case.row, OTHER)
        yield Case(case.name, row, case.raw, hangs_up=case.hangs_up)


def by_form_of_404() -> Iterator[Case]:
    """Yield the 404s of Task Runners, frameworks and gateways to a DELETE."""
    ours: dict[str, bytes] = {
        "message": body({"message": f"there is no job {JOB}"}),
        "a resource's name": body({"message": "projects/p/locations/l/jobs/load-3 does not exist"}),
        "another path": body({"message": "nothing at /jobs"}),
        "text that names the job": f"no job {JOB}".encode(),
        "a job that was deleted": body({"message": "it was deleted", "deleted": True}),
    }
    no_call: dict[str, bytes] = {
        "Express": b"<pre>Cannot DELETE /job</pre>",
        "Express with its query": f"Cannot DELETE /job?job_id={JOB}".encode(),
        "an object": body({"message": "no such endpoint: DELETE /job"}),
        "Fastify": body({"message": "Route DELETE:/job not found", "error": "Not Found", "statusCode": 404}),
        "a page that names the job": f"<html>DELETE is unknown; {JOB}</html>".encode(),
    }
    elsewhere: dict[str, bytes] = {
        "nothing": b"",
        "Go": b"404 page not found\n",
        "Spring": body({"status": 404, "error": "Not Found", "path": "/job"}),
        "an object that quotes the path": body({"detail": f"/job?job_id={JOB}"}),
        "Google": b"<!DOCTYPE html><p>The requested URL <code>/job</code> was not found on this server.",
        "in lower case": b"cannot delete",
        "half an object": b'{"message": "unk',
    }
    for status in (404, 410):
        for row, contents in ((GONE, ours), (NO_SUCH_CALL, no_call), (ELSEWHERE, elsewhere)):
            yield from (Case(f"{status} {name}", row, with_status(status, raw)) for name, raw in contents.items())


def by_status() -> Iterator[Case]:
    """Yield answers that frameworks and services give to a DELETE."""
    for status in (200, 202):
        for state in ("CANCELLING", "CANCELLED", "RUNNING", "SUCCEEDED"):
            yield Case(f"{status} and {state}", ACCEPTED, with_status(status, body(state=state)))
        yield Case(f"{status} and an operation", ACCEPTED, with_status(status, body({"name": "operations/7"})))
        yield Case(f"{status} and a text", ACCEPTED, with_status(status, b"deleted"))
    yield Case("204", ACCEPTED, b"HTTP/1.1 204 No Content\r\n\r\n")
    for status in (405, 501):
        yield Case(f"{status} and the calls it has", CANNOT, with_status(status, Allow="POST"))
        yield Case(f"{status} and nothing", CANNOT, with_status(status, b""))
        yield Case(f"{status} later", CANNOT, with_status(status, Retry_After="5"))
        yield Case(f"{status} and a job", CANNOT, with_status(status, body()))
        yield Case(f"{status} and no job", CANNOT, with_status(status, body({"message": f"no job {JOB}"})))
    for status in (400, 401, 403, 409, 412, 422, 423, 424, 500, 502, 504):
        yield Case(f"{status} and no job", OTHER, with_status(status, body({"message": f"there is no job {JOB}"})))
        yield Case(f"{status} and the method", OTHER, with_status(status, b"DELETE is not possible now"))
    yield Case("503", OTHER, with_status(503))
    yield Case("409 later", OTHER, with_status(409, Retry_After="5"))


def by_spelling() -> Iterator[Case]:
    """Yield answers that quote the token."""
    for name, spelt in spellings().items():
        for status, row in ((200, ACCEPTED), (403, OTHER), (405, CANNOT), (429, NOT_NOW), (500, OTHER)):
            yield Case(f"{status}, {name}", row, with_status(status, f"Bearer {spelt}".encode()))


STOPS: Final = [*by_form_of_404(), *by_status(), *by_spelling()]
EVERY_STOP: Final = [*of_other_calls(), *STOPS]
