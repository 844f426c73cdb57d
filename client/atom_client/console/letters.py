"""Show dead letters, replay them and drop them.

Reading letters holds them for a moment, during which no one else can get them. So this console's requests take turns,
and look several times for a letter that a command is holding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from flask import Blueprint, Response

from atom_client.console.app import answer, this_console
from atom_client.console.given import Given
from atom_client.errors import Failure, Misuse
from atom_client.text import counted, listing
from atom_client.views.dead_letters import (
    MORE_LETTERS,
    Desk,
    HeldLetters,
    advice,
    body_text,
    doubt_replay,
    facts,
    hold_letters,
    letter_object,
    replay_line,
)
from atom_workflows.messages.dead_letters import DeadLetter

letters = Blueprint("letters", __name__)

_MOST_SHOWN: Final = 200
_PATIENCE_S: Final = 20.0


@letters.get("/dead-letters")
def show_letters() -> Response:
    """Respond with the newest letters."""
    with _hold() as found:
        every, is_all = found.letters, found.is_all
    shown = [letter_object(letter) for letter in every[:_MOST_SHOWN]]
    return answer({"dead_letters": shown, "total": len(every), "is_all": is_all})


@letters.get("/dead-letters/<letter_id>")
def show_letter(letter_id: str) -> Response:
    """Respond with a letter, its event, and what to do about it."""
    with _hold([letter_id]) as found:
        [letter] = found.named([letter_id])
        words = {"facts": list(facts(letter)), "body_text": body_text(letter), "advice": list(advice(letter, _desk()))}
    return answer({**letter_object(letter), "attributes": dict(letter.attributes), **words})


@letters.post("/dead-letters/replay")
def replay() -> Response:
    """Publish letters again and remove them, or say what that would do."""
    given, notes = Given(), list[str]()
    ids, every = given.texts("ids"), given.flag("all")
    if every == bool(ids) or (every and not given.flag("dry_run")):
        raise Misuse("name the dead letters to replay in `ids`; only a preview may ask for all")
    with _hold(ids) as found:
        chosen = found.replayable if every else found.named(ids)
        if every and (left := len(found.letters) - len(chosen)):
            notes.append(f"Skipped {counted(left, 'dead letter')} that cannot be fixed by a replay.")
        if every and not found.is_all:
            notes.append(MORE_LETTERS)
        if warning := doubt_replay(chosen):
            notes.append(warning)
        if given.flag("dry_run"):
            return _preview(chosen, [replay_line(chosen, verb="This replays"), *notes])
        found.replay(chosen, this_console().actor)
    return answer({"ids": [letter.id for letter in chosen], "lines": [replay_line(chosen, verb="Replayed")]})


@letters.post("/dead-letters/drop")
def drop() -> Response:
    """Remove letters permanently, or say which would be removed."""
    given = Given()
    ids, hopeless = given.texts("ids"), given.flag("hopeless")
    if hopeless == bool(ids) or (hopeless and not given.flag("dry_run")):
        raise Misuse("name the dead letters to drop in `ids`; only a preview may ask for all hopeless ones")
    with _hold(ids) as found:
        chosen = [letter for letter in found.letters if letter.is_hopeless] if hopeless else found.named(ids)
        if given.flag("dry_run"):
            hopeful = [letter.id for letter in chosen if letter in found.replayable]
            they = "its event is" if len(chosen) == 1 else "their events are"
            lines = [f"This drops {counted(len(chosen), 'dead letter')}; {they} lost for good."]
            lines += [f"A replay might still handle {listing(hopeful)}."] if hopeful else []
            return _preview(chosen, [*lines, *[MORE_LETTERS] * (hopeless and not found.is_all)])
        found.remove(chosen)
    line = f"Dropped {counted(len(chosen), 'dead letter')}."
    return answer({"ids": [letter.id for letter in chosen], "lines": [line]})


def _preview(chosen: Sequence[DeadLetter], lines: Sequence[str]) -> Response:
    """Respond with the affected letters.

    The change then names these letters, so any that arrive in the meantime are left alone.
    """
    found: dict[str, Any] = {"ids": [letter.id for letter in chosen], "lines": list(lines)}
    return answer({**found, "dead_letters": [letter_object(letter) for letter in chosen], "dry_run": True})


def _desk() -> Desk:
    desk = this_console().desk
    if desk is None:
        raise Failure("dead letters are kept by a platform, but none is up; `atom-workflows local up` starts one")
    return desk()


@contextmanager
def _hold(ids: Sequence[str] = ()) -> Iterator[HeldLetters]:
    lock = this_console().desk_lock
    if not lock.acquire(timeout=_PATIENCE_S):
        raise Failure("another page of this console is reading the dead letters; try again in a moment")
    try:
        with hold_letters(_desk(), ids, say=lambda _: None) as found:
            yield found
    finally:
        lock.release()
