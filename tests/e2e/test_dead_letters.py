"""Events that are given up on a real platform: they are listed with their reason, and can be replayed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from contract.canned import Asked, answer, canned
from e2e.backends import site_on
from e2e.console import console
from e2e.site import Site
from support.deadline import eventually
from support.workflows import definition

PATH: Final = "gs://flows/workflows/daily.yaml"
WITHIN_S: Final = 60
"""Five deliveries with the back-off between them, on a busy machine."""

COMMAND_EVERY_S: Final = 1.5
"""Each look is a process of its own, which would slow down what it waits for."""


@dataclass(slots=True)
class Bucket:
    """A Cloud Storage that fails until it is repaired."""

    content: bytes
    is_repaired: bool = False
    asked: list[str] = field(default_factory=list)

    def __call__(self, asked: Asked, _connection: socket.socket) -> bytes:
        """Answer 503, or with the file."""
        self.asked.append(asked.target)
        if self.is_repaired:
            return answer(self.content, x_goog_generation="7")
        return answer(b"out of order", "503 Service Unavailable")


@contextmanager
def out_of_order(backend: str, log_dir: Path) -> Iterator[tuple[Site, Bucket]]:
    """Yield a platform that cannot read files.

    It gives events up after five deliveries.
    """
    bucket = Bucket(definition({"only": []}).encode())
    with canned(bucket) as server:
        environment = {"WORKFLOW_MAX_DELIVERIES": "5", "STORAGE_EMULATOR_HOST": server.url}
        with site_on(backend, log_dir, bucket=None, environment=environment) as site:
            yield site, bucket


@pytest.fixture
def broken_site(backend: str, tmp_path: Path) -> Iterator[tuple[Site, Bucket]]:
    """Yield a platform of this test's own."""
    with out_of_order(backend, tmp_path) as made:
        yield made


def listed(site: Site, count: int) -> list[dict[str, Any]]:
    """Return the dead letters once there are so many."""

    def look() -> list[dict[str, Any]]:
        found = json.loads(console(site, "dead-letters", "list", "--json").succeeded())["dead_letters"]
        assert len(found) <= count
        return list(found) if len(found) == count else []

    return eventually(look, within_s=WITHIN_S, what=f"{count} dead letters", every_s=COMMAND_EVERY_S)


def started(site: Site) -> str:
    """Return the id of the one run, empty while there is none."""
    runs = json.loads(console(site, "runs", "list", "--json").succeeded())["runs"]
    assert len(runs) <= 1
    return str(runs[0]["id"]) if runs else ""


def test_a_start_that_keeps_failing_is_listed_and_replayed(broken_site: tuple[Site, Bucket]) -> None:
    """A failed start can be replayed once its cause is fixed."""
    site, bucket = broken_site
    assert "There are no dead letters" in console(site, "dead-letters", "list").succeeded()
    site.publish("start", json.dumps({"workflow_path": PATH}).encode(), who="me")
    [letter] = listed(site, 1)
    assert len(bucket.asked) == 5
    assert (letter["topic"], letter["deliveries"]) == ("start", 5)
    if site.platform.options.emulators == "google":
        assert letter["reason"] == "delivered 5 times without success; the log of the start function shows why"
    else:
        assert letter["reason"] == f"{PATH} could not be read: HTTP 503"
    assert "event.failed" in (site.platform.log_dir / "start.log").read_text()
    shown = console(site, "dead-letters", "show", letter["id"]).succeeded()
    assert PATH in shown
    assert "who=me" in shown
    bucket.is_repaired = True
    assert "Would replay 1" in console(site, "dead-letters", "replay", "--all", "--dry-run").succeeded()
    assert "Replayed 1" in console(site, "dead-letters", "replay", letter["id"]).succeeded()
    run_id = eventually(lambda: started(site), within_s=60, what="the run", every_s=COMMAND_EVERY_S)
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    assert "There are no dead letters" in console(site, "dead-letters", "list").succeeded()


def test_a_malformed_start_is_listed_and_dropped(site: Site) -> None:
    """A malformed event is listed with its reason and can be dropped."""
    site.dead_letters()
    site.publish("start", b'{"workflow_path": 7}')
    site.publish("steps", b"\x1b[31mnot JSON")
    letters = {letter["topic"]: letter for letter in listed(site, 2)}
    assert letters["start"]["reason"] == "an event's workflow_path must be text, not 7"
    assert letters["steps"]["error"] == "MalformedEvent"
    shown = console(site, "dead-letters", "show", letters["steps"]["id"]).succeeded()
    assert "\\x1b[31mnot JSON" in shown
    assert "\x1b" not in shown
    assert "cannot be fixed by a replay" in console(site, "dead-letters", "replay", "--all").succeeded()
    ids = [letter["id"] for letter in letters.values()]
    unknown = console(site, "dead-letters", "drop", *ids, "12345678")
    assert (unknown.code, "there is no dead letter `12345678`" in unknown.stderr) == (1, True)
    assert console(site, "dead-letters", "drop", *ids).succeeded() == "Dropped 2 dead letters.\n"
    assert "There are no dead letters" in console(site, "dead-letters", "list").succeeded()
