"""The three APIs on one loopback address, each request held against its API's discovery document."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from support.google_jobs import discovery
from support.google_jobs.batch import FakeBatch
from support.google_jobs.cloud_run import FakeRun
from support.google_jobs.containers import Bucket, Json, Refusal, Time, stamp

BUCKET: Final = "acme-bucket-outputs"
_API_OF: Final = {"v1": "batch", "v2": "run", "storage": "storage"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request that came: the id of the method in the discovery document, and its parts."""

    method: str
    path: str
    query: Json
    body: Any
    authorization: str


@dataclass(slots=True)
class Google:
    """The APIs. `wrong` collects requests that no discovery document allows."""

    time: Time = field(default_factory=Time)
    bucket: Bucket = field(default_factory=Bucket)
    url: str = ""
    sent: list[Sent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    storage_refusals: list[Refusal] = field(default_factory=list)
    batch: FakeBatch = field(init=False)
    run: FakeRun = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.batch = FakeBatch(self.time, self.bucket)
        self.run = FakeRun(self.time, self.bucket)

    def methods(self) -> list[str]:
        """Return the ids of the methods that were called, in order."""
        return [one.method for one in self.sent]

    def forget(self) -> None:
        """Forget all jobs, objects and requests."""
        with self._lock:
            for kept in (self.batch.jobs, self.run.jobs, self.bucket.objects):
                kept.clear()
            self.sent.clear()

    def tick(self) -> None:
        """Bring every job to the state that its time has come to."""
        with self._lock:
            self.batch.advance()
            self.run.advance()

    def answer(self, verb: str, target: str, raw: bytes, authorization: str) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        api = _API_OF[parts.path.split("/")[1]]
        with self._lock:
            try:
                body = json.loads(raw) if raw else None
                method = discovery.check(api, verb, parts.path, query, body)
                self.sent.append(
                    Sent(method=method.id, path=parts.path, query=query, body=body, authorization=authorization)
                )
                return self._answer(self.sent[-1], api, verb)
            except Refusal as refusal:
                # Errors of requests for content are text.
                return refusal.status, str(refusal).encode() if query.get("alt") == "media" else refusal.body
            except discovery.AgainstTheDocument as error:
                self.wrong.append(str(error))
                return 400, Refusal(400, "INVALID_ARGUMENT", str(error)).body

    def _answer(self, sent: Sent, api: str, verb: str) -> tuple[int, bytes]:
        if not sent.authorization.startswith("Bearer "):
            raise Refusal(401, "UNAUTHENTICATED", "Request is missing required authentication credential.")
        if api == "storage":
            return self._storage(verb, sent.path, sent.query)
        fake = self.batch if api == "batch" else self.run
        found = fake.answer(verb, sent.path, sent.query, sent.body)
        wanted = sent.query.get("fields")
        return 200, json.dumps(
            chosen(found, [path.split("/") for path in wanted.split(",")]) if wanted else found
        ).encode()

    def _storage(self, verb: str, path: str, query: Json) -> tuple[int, bytes]:
        if self.storage_refusals:
            raise self.storage_refusals.pop(0)
        _, _, _, _, bucket, _, *rest = path.split("/")
        if bucket != BUCKET:
            raise Refusal(404, "NOT_FOUND", "The specified bucket does not exist.")
        if not rest:
            names = sorted(name for name in self.bucket.objects if name >= query.get("startOffset", ""))
            items = [{"name": name, "timeCreated": stamp(self.bucket.objects[name][1])} for name in names]
            return 200, json.dumps({"items": items[: int(query["maxResults"])]}).encode()
        name = unquote(rest[0])
        if name not in self.bucket.objects:
            raise Refusal(404, "NOT_FOUND", f"No such object: {bucket}/{name}")
        if verb == "DELETE":
            del self.bucket.objects[name]
            return 204, b""
        return 200, self.bucket.objects[name][0]


def chosen(value: Any, paths: Sequence[Sequence[str]]) -> Any:
    """Return the parts of an answer that its request's `fields` name, as paths such as jobs/name."""
    if [] in paths:
        return value
    if isinstance(value, list):
        return [chosen(one, paths) for one in value]
    heads = dict.fromkeys(path[0] for path in paths)
    return {
        head: chosen(value[head], [path[1:] for path in paths if path[0] == head]) for head in heads if head in value
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    google: Google

    def handle(self) -> None:
        """Serve one connection, which the client may cut at any time."""
        with suppress(ConnectionError):
            super().handle()

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content = self.google.answer(self.command, self.path, raw, self.headers.get("Authorization", ""))
        self.send_response(status)
        is_json = content.startswith(b"{")
        self.send_header("Content-Type", "application/json; charset=UTF-8" if is_json else "text/html; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 (names that http.server looks for)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name that http.server has)
        """Write nothing, as the requests are kept."""


@contextmanager
def running_google(time: Time | None = None) -> Iterator[Google]:
    """Run the APIs on a free port while the block lasts.

    At its end, no request may have been one that a discovery document does not allow.
    """
    google = Google(time or Time())
    handler = type("Handler", (_Handler,), {"google": google})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        google.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield google
        finally:
            server.shutdown()
            thread.join()
    assert google.wrong == []
