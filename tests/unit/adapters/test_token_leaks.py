"""No token, assertion or key gets into a log, a document, a message or an error, whatever servers send back."""

from __future__ import annotations

import json
import logging
import re
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.id_tokens import CREDENTIALS, fetch_id_token
from atom_workflows.adapters.task_runner.tokens import tokens_for
from atom_workflows.errors import CredentialUnusable, TaskRunnerError, TaskRunnerUnavailable
from atom_workflows.log import JsonLines
from atom_workflows.ports import Answer, Bus, JobAnswer, Message, Query, StopAnswer, TaskRunner
from contract.canned import Asked, answer, canned
from unit.adapters.servers import Identity

FLOW = """
steps:
  - {id: fine, task: {url: x}, timeout: 1m}
  - {id: bad, task: {url: x}}
  - {id: denied, task: {url: x}}
  - {id: forbidden, task: {url: x}}
  - {id: garbage, task: {url: x}, timeout: 1m}
  - {id: dropped, task: {url: x}, timeout: 1m}
  - {id: busy, task: {url: x}, timeout: 1m}
"""
STATUSES = {"bad": "400 Bad", "denied": "401 Unauthorized", "forbidden": "403 Forbidden", "busy": "503 Busy"}
FIXED = "Fixed-t0ken.that_must~not+leak/=="

# Every JWT begins so (`{"` in base64), and Google's access tokens like this.
SECRETS = re.compile(r"eyJ[\w-]{8,}|ya29\.|BEGIN PRIVATE|" + re.escape(FIXED))


@dataclass(slots=True)
class Seen:
    """All that got out: log lines, messages, errors."""

    texts: list[str] = field(default_factory=list)

    def error(self, error: BaseException | None) -> None:
        """Keep all texts of an error and of the errors behind it."""
        while error is not None:
            self.texts += [str(error), repr(error), repr(error.args), repr(getattr(error, "__dict__", None))]
            self.texts += traceback.format_exception(error)
            self.error(error.__cause__)
            error = error.__context__

    def check(self, key: str = "") -> None:
        """Fail if a secret gets out, such as the private key."""
        everything = "\n".join(self.texts)
        assert SECRETS.search(everything) is None, SECRETS.search(everything)
        assert not any(line in everything for line in key.splitlines() if line)


@dataclass(slots=True)
class WatchedTaskRunner:
    """Keeps every error of another one, and its answers."""

    inner: TaskRunner
    seen: Seen

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self._watched(
            lambda: self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)
        )

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return self._watched(lambda: self.inner.status(base_url, job_id))

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self._watched(lambda: self.inner.stop(base_url, job_id))

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self._watched(lambda: self.inner.look_up(base_url, idempotency_key))

    def _watched(self, call: Callable[[], Answer]) -> Answer:
        try:
            found = call()
        except TaskRunnerError as error:
            self.seen.error(error)
            raise
        self.seen.texts.append(repr(found))
        return found


@dataclass(slots=True)
class WatchedBus:
    """Keeps every message."""

    inner: Bus
    seen: Seen

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.seen.texts += map(repr, messages)
        self.inner.publish(messages)


class KeepLines(logging.Handler):
    """Keeps each record as the functions would write it, and all its fields."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(logging.DEBUG)
        self.seen = seen
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.seen.texts += [self.format(record), repr(record.__dict__)]


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Return what gets out, including every package's log lines."""
    kept = Seen()
    handler = KeepLines(kept)
    loggers = [logging.getLogger(), logging.getLogger("atom_workflows"), logging.getLogger("google")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield kept
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


class Gossip:
    """A Task Runner that quotes all that it gets: in answers, pages, errors and job ids."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()

    def __call__(self, asked: Asked, _connection: socket.socket) -> bytes:
        """Answer as the job's name or id requests."""
        authorization = asked.headers["Authorization"]
        self.tokens.add(authorization.removeprefix("Bearer "))
        quoted = f"{asked.method} {asked.target} {asked.headers.items()}"
        step = json.loads(asked.body)["job_name"] if asked.method == "POST" else "status"
        if step == "dropped":
            return b""
        if step == "garbage":
            return answer(f"<h1>{quoted}</h1>".encode())
        if step in STATUSES:
            return answer(f"<p>{quoted}</p>".encode(), STATUSES[step], WWW_Authenticate=authorization)
        state = "RUNNING" if step == "fine" else "FAILED"
        return answer(json.dumps({"job": {"state": state, "jobId": authorization[:500], "message": quoted}}).encode())


@contextmanager
def gossiping(seen: Seen, **settings: Any) -> Iterator[tuple[World, Gossip]]:
    """Return a world whose Task Runner quotes all that it gets."""
    gossip = Gossip()
    with canned(gossip) as server:
        world = World(task_runner_url=server.url, **settings)
        client = TaskRunnerClient(tokens_for(world.services.settings), submit_timeout_s=2, status_timeout_s=2)
        watched = WatchedTaskRunner(client, seen)
        world.services = replace(world.services, task_runner=watched, bus=WatchedBus(world.services.bus, seen))
        yield world, gossip


def documents(world: World) -> list[str]:
    """Return every stored document."""
    queries = [Query(collection=name, group=True) for name in ("runs", "steps", "definition", "control")]
    return [repr(document) for query in queries for document in world.store.inner.query(query)]


@pytest.mark.parametrize("how", ["key", "impersonation", "fixed"])
def test_a_run_leaks_nothing(
    how: str, identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """No secret gets out of a run whose Task Runner quotes all that it gets."""
    key = ""
    if how != "fixed":
        path = identity.file(tmp_path, f"_{how}")
        monkeypatch.setenv(CREDENTIALS, str(path))
        credential = json.loads(path.read_text())
        key = credential.get("private_key") or credential["source_credentials"]["private_key"]
    with gossiping(seen, task_runner_token=FIXED if how == "fixed" else None) as (world, gossip):
        run_id = world.start(FLOW)
        world.run_to_end(run_id)
        assert set(world.states(run_id).values()) == {"FAILED"}
        assert gossip.tokens
        seen.texts += documents(world)
        leaks = [text for token in gossip.tokens for text in seen.texts if token in text]
        assert leaks == []
    assert any("(token)" in text for text in seen.texts), "the gossip was not heard"
    seen.check(key)


def test_a_token_endpoint_that_quotes_the_request_leaks_nothing(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """The endpoint's words are reported, except those long enough to be a secret."""
    key = identity.read("/_key")

    def quote(asked: Asked, _connection: socket.socket) -> bytes:
        text = {"error": "invalid_grant", "error_description": f"no {asked.body.decode()}", "access_token": "ya29.x"}
        return answer(json.dumps(text).encode(), statuses.pop(), Content_Type="application/json")

    statuses = ["400 Bad", "200 OK"]
    monkeypatch.setenv(CREDENTIALS, str(tmp_path / "key.json"))
    with canned(quote) as server:
        (tmp_path / "key.json").write_text(json.dumps(key | {"token_uri": server.url}))
        for message in ("No ID token in response", r"invalid_grant: no \(hidden\)"):
            with pytest.raises(TaskRunnerUnavailable, match=message) as caught:
                fetch_id_token("https://x.test")
            seen.error(caught.value)
    seen.check(key["private_key"])


@pytest.mark.parametrize("spoil", [lambda text: text[:-2], lambda text: text.replace("MII", "XXX", 1)])
def test_a_broken_key_file_leaks_nothing(
    spoil: Callable[[str], str], identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """The errors of a broken key file hold nothing of its content."""
    text = json.dumps(identity.read("/_key"))
    (tmp_path / "key.json").write_text(spoil(text))
    monkeypatch.setenv(CREDENTIALS, str(tmp_path / "key.json"))
    with pytest.raises(CredentialUnusable) as caught:
        fetch_id_token("https://x.test")
    seen.error(caught.value)
    seen.check(json.loads(text)["private_key"])
