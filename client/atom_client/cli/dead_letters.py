"""The `dead-letters` commands: list, show, replay and drop dead-lettered events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from atom_client.cli.output import Output
from atom_client.cli.tables import Sheet
from atom_client.errors import Misuse
from atom_client.text import clip, counted, local_time, one_line
from atom_client.views.as_json import json_document
from atom_client.views.dead_letters import (
    MORE_LETTERS,
    Desk,
    advice,
    body_text,
    doubt_replay,
    facts,
    hold_letters,
    letter_object,
    reason,
    replay_line,
    whole_object,
)
from atom_workflows.messages.dead_letters import DeadLetter

_LONGEST_CELL: Final = 300


def list_letters(desk: Desk, *, limit: int, as_json: bool) -> None:
    """Print the newest letters."""
    with hold_letters(desk, say=_say_aside) as found:
        letters, is_all = found.letters, found.is_all
    shown = letters[:limit]
    if as_json:
        click.echo(json_document({"dead_letters": [letter_object(letter) for letter in shown]}))
    elif not letters:
        click.echo("There are no dead letters: every event has been handled or is still being delivered.")
    else:
        Output().show(letters_sheet(shown))
        if len(shown) < len(letters) or not is_all:
            more = "" if is_all else " or more"
            click.echo(f"\nThe newest {len(shown):,} of {len(letters):,}{more}; `--limit` shows more.")


def letters_sheet(letters: Sequence[DeadLetter]) -> Sheet:
    """Return dead letters as a sheet."""
    rows = (
        (
            letter.id,
            letter.topic,
            local_time(letter.dead_since),
            str(letter.deliveries or ""),
            clip(one_line(letter.run_id), _LONGEST_CELL),
            clip(reason(letter), _LONGEST_CELL),
        )
        for letter in letters
    )
    heading = ("ID", "TOPIC", "DEAD SINCE", "DELIVERIES", "RUN", "REASON")
    return Sheet(heading=heading, rows=tuple(rows), state_column=0)


def show_letter(desk: Desk, letter_id: str, *, as_json: bool) -> None:
    """Print everything that is known about a letter."""
    with hold_letters(desk, [letter_id], say=_say_aside) as found:
        [letter] = found.named([letter_id])
    if as_json:
        click.echo(json_document(whole_object(letter)))
        return
    for name, value in facts(letter):
        click.echo(f"{name:12} {value}")
    click.echo(f"\n{body_text(letter)}\n")
    for sentence in advice(letter, desk):
        click.echo(sentence)


def replay_letters(desk: Desk, ids: Sequence[str], *, every: bool, dry_run: bool, actor: str) -> None:
    """Republish letters to the topics they came from, then remove them.

    Each message names the `actor`, who had it replayed.
    """
    if every == bool(ids):
        raise Misuse("name the dead letters to replay, or give --all; `atom-workflows dead-letters list` shows them")
    with hold_letters(desk, ids, say=_say_aside) as found:
        chosen = found.replayable if every else found.named(ids)
        if every and (left := len(found.letters) - len(chosen)):
            they = counted(left, "dead letter")
            click.echo(f"Skipped {they} that cannot be fixed by a replay; `dead-letters list` shows why.")
        if every and not found.is_all:
            click.echo(MORE_LETTERS)
        if warning := doubt_replay(chosen):
            _say_aside(warning)
        if not dry_run:
            found.replay(chosen, actor)
    click.echo(replay_line(chosen, verb="Would replay" if dry_run else "Replayed"))


def drop_letters(desk: Desk, ids: Sequence[str], *, hopeless: bool = False) -> None:
    """Permanently remove the letters with these ids, or all hopeless letters."""
    if hopeless == bool(ids):
        raise Misuse("name the dead letters to drop, or give --hopeless; `atom-workflows dead-letters list` shows them")
    with hold_letters(desk, ids, say=_say_aside) as found:
        chosen = [letter for letter in found.letters if letter.is_hopeless] if hopeless else found.named(ids)
        found.remove(chosen)
        is_all = not hopeless or found.is_all
    click.echo(f"Dropped {counted(len(chosen), 'dead letter')}.")
    if not is_all:
        click.echo(MORE_LETTERS)


def _say_aside(sentence: str) -> None:
    click.echo(sentence, err=True)
