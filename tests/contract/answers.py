"""Some hundreds of answers of a Task Runner, byte by byte, each with its row of docs/reference/task-runner.md."""

from __future__ import annotations

import gzip
import html
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from contract.canned import answer

TOKEN: Final = "Fixed-t0ken.that_must~not+leak/anywhere=="  # noqa: S105 (it is for these tests)
JOB: Final = "job-17-of-load"

ANSWERED: Final = "`2xx` with a job's state"
WITHOUT_ID: Final = "`2xx`, in progress, without a usable `jobId`"
NOT_THE_CONTRACTS: Final = "`2xx` with anything else: nothing, a page, other JSON"
NOTHING_DONE: Final = "`307`, `308`"
ELSEWHERE: Final = "any other `3xx`"
UNKNOWN_JOB: Final = "`404`, `410` in the contract's form"
NOT_FOUND: Final = "`404`, `410` in another form"
TOO_SLOW: Final = "`408`, `499`"
CONFLICT: Final = "`409`"
EARLY: Final = "`425`"
BUSY: Final = "`429`"
REFUSED: Final = "any other `4xx`"
LATER: Final = "`503` with `Retry-After`"
BROKEN: Final = "any other `5xx`"
NO_STATUS: Final = "any other status"
NO_HTTP: Final = "no HTTP, an answer that is cut, or cannot be decompressed"

FINE: Final = {"state": "RUNNING", "jobId": JOB, "message": "on its way"}


@dataclass(frozen=True, slots=True)
class Case:
    """An answer, the row of the page that it belongs to, and whether the server hangs up after it."""

    name: str
    row: str
    raw: bytes
    hangs_up: bool = False


def body(value: Any = None, **fields: Any) -> bytes:
    """Return the contract's body with these fields replaced, or another value as JSON."""
    return json.dumps({"job": FINE | fields} if value is None else value).encode()


def with_status(status: int, content: bytes = b"sorry", **headers: str) -> bytes:
    """Return an answer of that status."""
    return answer(content, f"{status} Whatever", **headers)


def with_lines(lines: bytes) -> bytes:
    """Return a good answer with these lines in its head."""
    return b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n" + body()


def by_status() -> Iterator[Case]:
    """Yield an answer of each status in use, and of some that are not."""
    for status in (200, 201, 202, 203, 206, 207, 208, 226, 299):
        yield Case(f"{status} with a job", ANSWERED, with_status(status, body()))
        yield Case(f"{status} with nothing", NOT_THE_CONTRACTS, with_status(status, b""))
        yield Case(f"{status} with a page", NOT_THE_CONTRACTS, with_status(status, b"<h1>Thank you</h1>"))
    for status in (204, 205):
        yield Case(f"{status}", NOT_THE_CONTRACTS, f"HTTP/1.1 {status} No Content\r\n\r\n".encode(), hangs_up=True)
    for status in (307, 308):
        yield Case(f"{status}", NOTHING_DONE, with_status(status, Location="https://elsewhere.test/job"))
        yield Case(f"{status} with a job", NOTHING_DONE, with_status(status, body()))
    for status in (300, 301, 302, 303, 304, 305, 306, 310, 399):
        yield Case(f"{status}", ELSEWHERE, with_status(status, b"", Location="https://elsewhere.test/done"))
    yield Case("302 with a job", ELSEWHERE, with_status(302, body()))
    for status in (408, 499):
        yield Case(f"{status}", TOO_SLOW, with_status(status))
        yield Case(f"{status} later", TOO_SLOW, with_status(status, Retry_After="5"))
    yield Case("409", CONFLICT, with_status(409))
    yield Case("409 later", CONFLICT, with_status(409, Retry_After="5"))
    yield Case("425", EARLY, with_status(425))
    yield Case("425 later", EARLY, with_status(425, Retry_After="5"))
    yield Case("429", BUSY, with_status(429))
    yield Case("429 later", BUSY, with_status(429, Retry_After="5"))
    yield Case("429 with a job", BUSY, with_status(429, body()))
    refused = {400, *range(401, 432), 440, 444, 449, 450, 451, 460, 463, 494, 495, 496, 497, 498}
    for status in sorted(refused - {404, 408, 409, 410, 425, 429}):
        yield Case(f"{status}", REFUSED, with_status(status))
    yield Case("400 with a job", REFUSED, with_status(400, body()))
    yield Case("400 with a large page", REFUSED, with_status(400, b"<p>no</p>" * 20_000))
    yield Case("422 later", REFUSED, with_status(422, Retry_After="5"))
    for status in (*range(500, 512), 520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 561, 598, 599):
        yield Case(f"{status}", BROKEN, with_status(status))
    yield Case("500 later", BROKEN, with_status(500, Retry_After="5"))
    yield Case("502 with a job", BROKEN, with_status(502, body()))
    yield Case("504 with a page", BROKEN, with_status(504, b"<html><center>Gateway Time-out</center></html>"))
    for status in (600, 777, 999):
        yield Case(f"{status}", NO_STATUS, with_status(status, body()))
    yield Case("101", NO_STATUS, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", hangs_up=True)


def by_retry_after() -> Iterator[Case]:
    """Give answers that wish for a pause, or seem to."""
    for text in (
        "0",
        "7",
        "2.5",
        " 7 ",
        "1e2",
        "Thu, 01 Jan 2026 00:01:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "9" * 300,
    ):
        yield Case(f"503 Retry-After: {text[:30]}", LATER, with_status(503, Retry_After=text))
    for text in ("", "soon", "-1", "nan", "inf", "5s", "5, 5", "2026-01-01T00:00:00Z", "Thu, 99 Foo 2026", "0x10"):
        yield Case(f"503 Retry-After: {text}", BROKEN, with_status(503, Retry_After=text))


def by_form_of_404() -> Iterator[Case]:
    """Yield the 404s of Task Runners, frameworks, gateways and proxies."""
    ours: dict[str, bytes] = {
        "message": body({"message": f"there is no job {JOB}"}),
        "error": body({"error": {"code": 404, "status": "NOT_FOUND"}}),
        "detail": body({"detail": "Job not found"}),
        "empty object": b"{}",
        "no job": body({"job": None}),
        "job without a state": body({"job": {"state": "", "jobId": ""}}),
        "with a BOM": b"\xef\xbb\xbf" + body({"message": "unknown"}),
        "in UTF-16": '{"message": "unknown"}'.encode("utf-16"),
        "text that names the job": f"job {JOB} not found\n".encode(),
        "quoted name": f'no such job: "{JOB}"'.encode(),
    }
    others: dict[str, bytes] = {
        "nothing": b"",
        "Go": b"404 page not found\n",
        "ingress": b"default backend - 404",
        "nginx": b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body><center>nginx</center></body></html>",
        "Google": b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title><p>The requested URL was not found.",
        "page that names the job": f"<html>/jobstatus?job_id={JOB}</html>".encode(),
        "Express": f"Cannot GET /jobstatus?job_id={JOB}".encode(),
        "Spring": body({"status": 404, "error": "Not Found", "path": "/jobstatus"}),
        "list": b"[]",
        "JSON text": b'"not found"',
        "null": b"null",
        "other job": b"job job-18-of-load not found",
        "longer name": f"job {JOB}er not found".encode(),
        "half an object": b'{"message": "unk',
        "with a job": body(),
        "large object": body({"message": "x" * 70_000}),
    }
    for status in (404, 410):
        for name, content in ours.items():
            yield Case(f"{status} {name}", UNKNOWN_JOB, with_status(status, content))
        for name, content in others.items():
            yield Case(f"{status} {name}", NOT_FOUND, with_status(status, content))


def by_encoding() -> Iterator[Case]:
    """Give the contract's body in many encodings, and some that are none."""
    text = json.dumps({"job": FINE | {"message": "fertig: lädt 世界"}}, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        yield Case(f"in {encoding}", ANSWERED, answer(text.encode(encoding)))
        yield Case(
            f"in {encoding}, declared",
            ANSWERED,
            answer(text.encode(encoding), Content_Type="application/json; charset=utf-8"),
        )
    for charset in ("iso-8859-1", '"ISO-8859-15"', "windows-1252", "us-ascii", "latin1", "cp1250"):
        raw = text.encode("latin-1", "replace")
        yield Case(f"charset {charset}", ANSWERED, answer(raw, Content_Type=f"application/json;charset={charset}"))
    for charset in ("none", "utf-7", "rot13", "idna", "punycode", "unicode_escape", "base64", "utf8mb4", "", "a" * 999):
        yield Case(
            f"charset {charset[:20]}", ANSWERED, answer(body(), Content_Type=f"application/json; charset={charset}")
        )
    for kind in ("text/html", "text/plain", "application/problem+json", "x", ""):
        yield Case(f"as {kind}", ANSWERED, answer(body(), Content_Type=kind))
    yield Case("bytes that are no UTF-8", ANSWERED, answer(body().replace(b"on its way", b"caf\xe9 \xff\xfe")))
    raw, deflate = body(), zlib.compressobj(wbits=-15)
    packed = {"gzip": gzip.compress(raw), "x-gzip": gzip.compress(raw), "deflate": zlib.compress(raw), "identity": raw}
    for name, content in packed.items():
        yield Case(f"packed by {name}", ANSWERED, answer(content, Content_Encoding=name))
    yield Case("raw deflate", ANSWERED, answer(deflate.compress(raw) + deflate.flush(), Content_Encoding="deflate"))
    yield Case("packed twice", ANSWERED, answer(gzip.compress(gzip.compress(raw)), Content_Encoding="gzip, gzip"))
    yield Case("said to be packed", NO_HTTP, answer(raw, Content_Encoding="gzip"))
    yield Case("packed, and not said so", NOT_THE_CONTRACTS, answer(gzip.compress(raw)))
    yield Case("packed in an unknown way", NOT_THE_CONTRACTS, answer(gzip.compress(raw), Content_Encoding="zip"))
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in (raw[:7], raw[7:20], raw[20:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield Case("in chunks", ANSWERED, head + chunks + b"0\r\n\r\n")
    yield Case("in chunks with a trailer", ANSWERED, head + chunks + b"0\r\nX-Sum: 1\r\n\r\n")
    yield Case("up to the connection's end", ANSWERED, b"HTTP/1.1 200 OK\r\n\r\n" + raw, hangs_up=True)
    yield Case("by HTTP/1.0", ANSWERED, b"HTTP/1.0 200 OK\r\n\r\n" + raw, hangs_up=True)
    yield Case("after 100 Continue", ANSWERED, b"HTTP/1.1 100 Continue\r\n\r\n" + answer(raw))
    yield Case("without a reason", ANSWERED, b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)


def by_shape() -> Iterator[Case]:
    """Give the contract's JSON in all of its shapes."""
    good: dict[str, bytes] = {
        "no message": body({"job": {"state": "RUNNING", "jobId": JOB}}),
        "message null": body(message=None),
        "message a number": body(message=3),
        "message an object": body(message={"code": 7, "why": ["disk", None]}),
        "message a list": body(message=[1, [2]]),
        "jobId a number": body(jobId=17),
        "jobId a large number": b'{"job": {"state": "RUNNING", "jobId": 123456789012345678901234567890}}',
        "more fields": body({"job": FINE | {"x": {"state": "FAILED"}}, "state": "FAILED", "jobs": []}),
        "keys escaped": rb'{"\u006aob": {"\u0073tate": "RUNNING", "jobId": "job-17"}}',
        "spaces": b" \r\n\t" + json.dumps({"job": FINE}, indent=8).encode() + b"\n\n",
        "same key twice": b'{"job": {"state": "x"}, "job": ' + json.dumps(FINE).encode() + b"}",
        "not a number": b'{"job": {"state": "RUNNING", "jobId": "7", "message": {"loss": NaN, "max": -Infinity}}}',
        "control characters": b'{"job": {"state": "RUNNING", "jobId": "7", "message": "line\n\ttab \x00\x1b[2J"}}',
        "half a pair": rb'{"job": {"state": "RUNNING", "jobId": "7", "message": "\ud83d"}}',
        "thousands of digits": b'{"job": {"state": "RUNNING", "jobId": "7", "message": ' + b"9" * 5_000 + b"}}",
        "deep": b'{"job": {"state": "RUNNING", "jobId": "7", "message": ' + b"[" * 9_000 + b"]" * 9_000 + b"}}",
        "deep before the job": b'{"a": '
        + b"[" * 9_000
        + b"]" * 9_000
        + b', "job": '
        + json.dumps(FINE).encode()
        + b"}",
        "ended without an id": body({"job": {"state": "SUCCEEDED"}}),
        "outputs": body(state="SUCCEEDED", outputs={"rows": 1200, "files": ["gs://b/a"]}, reason=""),
        "outputs that are no object": body(state="SUCCEEDED", outputs=[1]),
        "outputs and reason null": body(state="FAILED", outputs=None, reason=None),
        "large outputs": body(state="SUCCEEDED", outputs={"log": "x" * 40_000}),
        "outputs before the end": body(outputs={"rows": 1}, reason="OOM"),
        "deep outputs": b'{"job": {"state": "SUCCEEDED", "outputs": {"a": ' + b"[" * 9_000 + b"]" * 9_000 + b"}}}",
        "reason a number": body(state="FAILED", reason=137),
        "a log and a promise to notify": body(logsUrl="https://logs.test/7", notifies=True),
        "a log that is no address": body(logsUrl={"href": "javascript:alert(1)"}, notifies="yes"),
        "ended with a long id": body(state="FAILED", jobId="j" * 501),
        "the longest id": body(jobId="j" * 500),
        "odd word": body(state="OUT TO LUNCH"),
        "long word": body(state="x" * 5_000),
    }
    no_id: dict[str, Any] = {
        "missing": None,
        "empty": "",
        "a list": [7],
        "an object": {},
        "true": True,
        "long": "j" * 501,
    }
    yield from (Case(f"shape: {name}", ANSWERED, answer(content)) for name, content in good.items())
    yield from (Case(f"jobId {name}", WITHOUT_ID, answer(body(jobId=value))) for name, value in no_id.items())
    yield Case("jobId half a pair", WITHOUT_ID, answer(rb'{"job": {"state": "NEW", "jobId": "7\ud83d"}}'))


def by_wrong_shape() -> Iterator[Case]:
    """Give other JSON, and what resembles it."""
    bad: dict[str, bytes] = {
        "half": body()[:-2],
        "quarter": b'{"job": {"sta',
        "empty object": b"{}",
        "null": b"null",
        "true": b"true",
        "number": b"17",
        "text": b'"RUNNING"',
        "list": b"[" + body() + b"]",
        "job null": body({"job": None}),
        "job a text": body({"job": "started"}),
        "job a list": body({"job": [FINE]}),
        "job empty": body({"job": {}}),
        "no state": body({"job": {"jobId": JOB}}),
        "state null": body(state=None),
        "state a number": body(state=3),
        "state true": body(state=True),
        "state a list": body(state=["RUNNING"]),
        "state empty": body(state=""),
        "state a space": body(state=" \t"),
        "other case": body({"Job": {"State": "RUNNING"}}),
        "flat": json.dumps(FINE).encode(),
        "two documents": body() + body(),
        "something behind it": body() + b"<!-- served in 3 ms -->",
        "something before it": b")]}'\n" + body(),
        "JSONP": b"callback(" + body() + b")",
        "single quotes": b"{'job': {'state': 'RUNNING'}}",
        "YAML": b"job:\n  state: RUNNING\n",
        "XML": b"<job><state>RUNNING</state></job>",
        "spaces alone": b"  \r\n ",
        "zeros": bytes(100),
        "noise": bytes(range(256)),
    }
    yield from (Case(f"shape: {name}", NOT_THE_CONTRACTS, answer(content)) for name, content in bad.items())


def by_size() -> Iterator[Case]:
    """Yield answers from small to huge, with the state at either end."""
    for size in (1_000, 65_000, 66_000, 500_000):
        long = "x\\ \n世" * (size // 5)
        yield Case(
            f"{size} before the state", ANSWERED, answer(body({"job": {"message": long, **FINE, "state": "RUNNING"}}))
        )
        yield Case(f"{size} after the state", ANSWERED, answer(body(message=long)))
        yield Case(f"{size} of spaces", ANSWERED, answer(b" " * size + body()))
        yield Case(
            f"{size} of lists", ANSWERED, answer(b'{"log": [' + b"[]," * (size // 3) + b'0], "job": ' + body()[8:])
        )
    log = ["a line of the log, and another"] * 100_000
    yield Case("3 MB after the state", ANSWERED, answer(body(message="\n".join(log))))
    yield Case("3 MB of fields after the state", ANSWERED, answer(body({"job": FINE, "log": log})))
    yield Case("3 MB of outputs", ANSWERED, answer(body(state="SUCCEEDED", outputs={"log": log})))
    yield Case("3 MB before the state", NOT_THE_CONTRACTS, answer(body({"log": log, "job": FINE})))
    yield Case(
        "3 MB before the id", WITHOUT_ID, answer(body({"job": {"state": "RUNNING", "message": log, "jobId": JOB}}))
    )
    yield Case("3 MB of another's", NOT_THE_CONTRACTS, answer(b"x" * 3_000_000))
    fake = {"message": {"state": "SUCCEEDED", "jobId": "other"}, "log": log, **FINE}
    yield Case("a state within a message that is cut", NOT_THE_CONTRACTS, answer(body({"job": fake})))
    yield Case("1 MB, packed", ANSWERED, answer(gzip.compress(body(message="y" * 900_000)), Content_Encoding="gzip"))


def by_wire() -> Iterator[Case]:
    """Give what is no HTTP, or less of it than was promised."""
    raw = body()
    whole = answer(raw)
    no_http: dict[str, bytes] = {
        "nothing": b"",
        "half a line": b"HTTP/1.1 2",
        "half a head": whole[:30],
        "no body": whole[: -len(raw)],
        "half a body": whole[:-5],
        "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
        "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x16",
        "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        "no version": b"200 OK\r\n\r\n" + raw,
        "a word for a status": b"HTTP/1.1 OK\r\n\r\n" + raw,
        "a large status": b"HTTP/1.1 2000 OK\r\n\r\n" + raw,
        "a small status": b"HTTP/1.1 20 OK\r\n\r\n" + raw,
        "a long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n" + raw,
        "many lines": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n" + raw,
        "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + raw,
        "a chunk of no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "half of the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + raw[:5] + b"\r\n",
        "half of what is packed": answer(gzip.compress(raw)[:-9], Content_Encoding="gzip")[:-3],
    }
    for name, content in no_http.items():
        yield Case(f"wire: {name}", NO_HTTP, content, hangs_up=True)
    odd: dict[str, bytes] = {
        "a line without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw,
        "a folded line": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw,
        "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(raw) + raw,
        "a name with a space": b"HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw,
    }
    for name, content in odd.items():
        yield Case(f"wire: {name}", ANSWERED, content, hangs_up=True)


def spellings(text: str = TOKEN) -> dict[str, str]:
    """Return a text in the spellings in which it may be quoted."""
    codes = [ord(letter) for letter in text]
    return {
        "as it is": text,
        "its beginning": text[:24],
        "its end": text[9:],
        "in capitals": text.upper(),
        "JSON's escapes": "".join(f"\\u{code:04x}" for code in codes),
        "JSON's escapes twice": "".join(f"\\\\u{code:04X}" for code in codes),
        "escaped slashes": text.replace("/", "\\/"),
        "C's escapes": "".join(f"\\x{code:02x}" for code in codes),
        "JavaScript's escapes": "".join(f"\\u{{{code:06x}}}" for code in codes),
        "entities": "".join(f"&#{code};" for code in codes),
        "hexadecimal entities": "".join(f"&#x{code:X};" for code in codes),
        "some entities": text.replace("t", "&#116;").replace("~", "&tilde;").replace("+", "&plus;"),
        "entities of entities": html.escape("".join(f"&#{code};" for code in codes)),
        "per cent": "".join(f"%{code:02X}" for code in codes),
        "per cent of per cent": quote("".join(f"%{code:02x}" for code in codes)),
        "of a form": quote(text, safe=""),
        "per cent and u": "".join(f"%u{code:04x}" for code in codes),
        "mixed": "".join(
            (f"&#{code};", f"%{code:02x}", f"\\u{code:04x}", chr(code))[at % 4] for at, code in enumerate(codes)
        ),
        "split by tags": "<b>".join(text),
        "split by comments": "<!-- -->".join(text),
        "split by spaces": " ".join(text),
        "in lines": "\n".join(text[at : at + 8] for at in range(0, len(text), 8)),
        "split by signs that are not seen": "\u200b".join(text),
        "entities split by tags": "<i></i>".join(f"&#{code};" for code in codes),
    }


def by_spelling() -> Iterator[Case]:
    """Give answers that quote the token, in many spellings and places."""
    for name, spelt in spellings().items():
        quoted = f"Authorization: Bearer {spelt} was sent"
        escaped = '{"job": {"state": "RUNNING", "jobId": "7", "message": "' + quoted.replace("\n", "\\n") + '"}}'
        yield Case(f"message, {name}", ANSWERED, answer(body(message=quoted)))
        yield Case(f"message in other fields, {name}", ANSWERED, answer(body(message={"headers": [quoted]})))
        ended = body(state="SUCCEEDED", outputs={"header": [quoted]}, reason=spelt)
        yield Case(f"outputs and reason, {name}", ANSWERED, answer(ended))
        yield Case(f"logsUrl, {name}", ANSWERED, answer(body(logsUrl=f"https://logs.test/?auth={spelt}")))
        yield Case(f"page, {name}", NOT_THE_CONTRACTS, answer(f"<p>{quoted}</p>".encode()))
        yield Case(f"refusal, {name}", REFUSED, with_status(400, quoted.encode()))
        yield Case(f"outage, {name}", BROKEN, with_status(500, body({"error": quoted})))
        if "\\\\" not in spelt and "\\x" not in spelt and "\\u{" not in spelt and "\u200b" not in spelt:
            yield Case(f"raw JSON, {name}", ANSWERED, answer(escaped.encode()))
    for name in ("as it is", "per cent", "entities", "split by tags", "its end"):
        spelt = spellings()[name]
        line = f"X-Echo: {spelt}\r\nEcho {spelt}\r\n Authorization {spelt}\r\n".encode()
        yield Case(f"jobId, {name}", WITHOUT_ID, answer(body(jobId=spelt)))
        yield Case(f"state, {name}", ANSWERED, answer(body(state=spelt[:99])))
        yield Case(f"Location, {name}", ELSEWHERE, with_status(302, b"", Location=f"https://x.test/?t={spelt}"))
        yield Case(f"reason, {name}", BROKEN, answer(b"", f"500 no {spelt}"))
        yield Case(f"Retry-After, {name}", BROKEN, with_status(503, b"", Retry_After=spelt))
        yield Case(f"broken header, {name}", ANSWERED, with_lines(line), hangs_up=True)
        yield Case(f"status line, {name}", NO_HTTP, f"HTTP/1.1 {spelt}\r\n\r\n".encode(), hangs_up=True)
        yield Case(f"no HTTP, {name}", NO_HTTP, f"{spelt}\r\n\r\n".encode(), hangs_up=True)
        yield Case(f"404, {name}", UNKNOWN_JOB, with_status(404, body({"error": spelt})))
        yield Case(f"gzip, {name}", REFUSED, with_status(403, gzip.compress(spelt.encode()), Content_Encoding="gzip"))
        yield Case(f"UTF-16, {name}", REFUSED, with_status(401, spelt.encode("utf-16")))
        yield Case(f"409, {name}", CONFLICT, with_status(409, spelt.encode()))
        yield Case(f"at the end of what is kept, {name}", ANSWERED, answer(body(message="x" * 1_980 + spelt)))
        yield Case(f"far behind, {name}", REFUSED, with_status(422, b"x" * 480 + spelt.encode()))


CASES: Final = [
    *by_status(),
    *by_retry_after(),
    *by_form_of_404(),
    *by_encoding(),
    *by_shape(),
    *by_wrong_shape(),
    *by_size(),
    *by_wire(),
    *by_spelling(),
]
QUOTING: Final = [*by_spelling()]
