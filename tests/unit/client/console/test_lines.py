"""The lines of a stream: what is sent, and when whatever makes them ends."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from atom_client.console import live
from atom_client.console.live import stream


def said(*lines: dict[str, Any]) -> Generator[dict[str, Any]]:
    """Yield these lines."""
    yield from lines


def test_empty_lines_are_sent_only_to_keep_the_connection_alive() -> None:
    """The first one shows that the connection works; after that, a quiet stream sends no byte."""
    sent = stream(said({}, {}, {}, {"a": 1}, {}, {"b": 2}, {})).iter_encoded()
    assert list(sent) == [b"\n", b'{"a":1}\n', b'{"b":2}\n']


def test_a_quiet_stream_shows_whether_someone_still_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, an empty line is sent."""
    monkeypatch.setattr(live, "SILENCE_S", 0.0)
    assert list(stream(said({}, {})).iter_encoded()) == [b"\n", b"\n"]


def test_viewers_leave_with_their_page() -> None:
    """What makes the lines ends at once, even if something else refers to it."""
    left: list[str] = []

    def watch() -> Generator[dict[str, Any]]:
        try:
            while True:
                yield {"a": 1}
        finally:
            left.append("the feed")

    lines = watch()
    response = stream(lines)
    assert next(iter(response.iter_encoded())) == b'{"a":1}\n'
    response.close()
    assert left == ["the feed"]
