"""Hints that jobs have ended: they are published in as few requests as possible, and none is worth waiting for."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from atom_emulator.job_hints import MAX_HINTS, JobHints, write_address
from atom_emulator.laptop_runner.hints import HintThread
from atom_emulator.task_runner.hint_timer import HintTimer
from atom_workflows.messages.internal import JobEnded
from contract.canned import Asked, Canned, answer, canned
from support.deadline import eventually
from unit.emulator.task_runner.test_jobs import jobs, submitted


def hints(count: int) -> list[JobEnded]:
    """Return that many different hints."""
    return [JobEnded(job_id=f"job-{number}") for number in range(count)]


def sent(pubsub: Canned) -> list[int]:
    """Return the number of messages in each request."""
    return [len(json.loads(asked.body)["messages"]) for asked in pubsub.asked]


def test_hints_share_requests(tmp_path: Path) -> None:
    """Hints that come together are published in requests of as many messages as Pub/Sub accepts."""
    with canned(lambda _asked, _connection: answer(b"{}")) as pubsub:
        write_address(tmp_path / "hints.json", pubsub_url=pubsub.url, project="p")
        publisher = JobHints(tmp_path / "hints.json")
        publisher.publish([])
        publisher.publish(hints(2 * MAX_HINTS + 1))
    assert sent(pubsub) == [MAX_HINTS, MAX_HINTS, 1]


def test_a_hint_is_published_again_if_that_fails_once(tmp_path: Path) -> None:
    """One answer that is lost delays a hint only."""
    answers = iter([answer(b"sorry", "503 Busy"), answer(b"{}")])
    with canned(lambda _asked, _connection: next(answers)) as pubsub:
        write_address(tmp_path / "hints.json", pubsub_url=pubsub.url, project="p")
        JobHints(tmp_path / "hints.json").publish(hints(3))
    assert sent(pubsub) == [3, 3]


def test_an_answer_that_is_no_http_ends_no_hints(tmp_path: Path) -> None:
    """Later hints are published although something else than Pub/Sub answered the earlier ones."""
    published = threading.Event()

    def respond(asked: Asked, _connection: socket.socket) -> bytes:
        key = base64.b64decode(json.loads(asked.body)["messages"][0]["data"])
        if b"run/b/1" in key:
            published.set()
        return answer(b"{}") if b"run/b/1" in key else b"garbage\r\n\r\n"

    with canned(respond) as pubsub:
        write_address(tmp_path / "hints.json", pubsub_url=pubsub.url, project="p")
        thread = HintThread(tmp_path / "hints.json")
        thread.send("run/a/1")
        eventually(lambda: len(pubsub.asked) == 2, within_s=60, what="both tries")
        thread.send("run/b/1")
        assert published.wait(60)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"url": "nowhere"}', '{"url": "http://127.0.0.1:1/x"}'])
def test_a_hint_that_cannot_be_published_is_dropped(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an address, or with one where no one listens, a line in the log is all that follows."""
    path = tmp_path / "hints.json"
    if content is not None:
        path.write_text(content)
    with caplog.at_level(logging.WARNING):
        JobHints(path).publish(hints(2))
    [record] = caplog.records
    assert record.getMessage().startswith("2 hints that jobs have ended were not published: ")


def test_the_timer_reports_an_end_when_it_comes() -> None:
    """Nothing is looked at before the first end, and an end that moves nearer is reported at its new time."""
    runner, now = jobs(duration_s=100, notifies=True), [0.0]
    published: list[JobEnded] = []
    done = threading.Event()

    def publish(ended: Sequence[JobEnded]) -> None:
        published.extend(ended)
        done.set()

    async def play() -> None:
        timer = HintTimer(runner, publish, lambda: now[0])
        timer.arm()
        for name in ("a", "b"):
            submitted(runner, f"run/{name}/1", now=0.0)
            timer.arm()
        now[0] = 7.0
        runner.stop(runner.status("job-000002", 7.0).job_id, 7.0)
        timer.arm()
        await asyncio.to_thread(done.wait, 60)
        timer.close()

    asyncio.run(play())
    assert published == [JobEnded(idempotency_key="run/b/1")]
    assert runner.next_end == 100.0
