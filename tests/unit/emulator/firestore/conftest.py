"""A database on a clock that stands still until it is moved, and a real client on the embedded server."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore

from atom_emulator.firestore.database import Database
from atom_emulator.firestore.server import FirestoreServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class StillClock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Let that much time pass."""
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> StillClock:
    """Give a clock of the test's own."""
    return StillClock()


@pytest.fixture
def advance(clock: StillClock) -> Callable[[float], None]:
    """Give what lets seconds pass on that clock."""
    return clock.advance


@pytest.fixture
def database(clock: StillClock) -> Database:
    """Give an empty database."""
    return Database(clock)


@pytest.fixture(scope="session")
def host() -> Iterator[str]:
    """Give the address of the emulator in the environment, else of ours."""
    given = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if given:
        yield given
        return
    server = FirestoreServer()
    yield f"127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def client(host: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the unmodified client on a project of the test's own."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
    project = f"test-{uuid.uuid4().hex[:12]}"
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # it has no types
    return firestore.Client(project=project, credentials=credentials)
