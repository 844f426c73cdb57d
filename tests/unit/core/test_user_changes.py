"""What people did to a run: how much of it is kept."""

from __future__ import annotations

from datetime import UTC, datetime

from atom_workflows.core.user_changes import (
    LONGEST_ACTOR,
    LONGEST_WORDS,
    MOST_CHANGES,
    UserChange,
    with_change,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_only_the_latest_changes_are_kept() -> None:
    """A run that is retried for ever keeps its latest changes, oldest first."""
    changes: tuple[UserChange, ...] = ()
    for number in range(MOST_CHANGES + 5):
        changes = with_change(changes, UserChange(at=NOW, actor="ana", what=f"retry {number}"))
    assert [one.what for one in changes] == [f"retry {number}" for number in range(5, MOST_CHANGES + 5)]


def test_long_and_odd_words_are_stored_shortened() -> None:
    """Other people's words are put on one line, within a limit, and hold nothing that a store cannot encode."""
    words = "w" * 10_000
    [kept] = with_change((), UserChange(at=NOW, actor=words, what=words, why=words))
    assert (len(kept.actor), len(kept.what), len(kept.why)) == (LONGEST_ACTOR, LONGEST_WORDS, LONGEST_WORDS)
    [kept] = with_change((), UserChange(at=NOW, actor="a\n\tna\ud800", what="retry", why=" the\r\nwrong  day "))
    assert (kept.actor, kept.why) == ("a na?", "the wrong day")
