"""The `dead-letters` commands: list, show, replay and drop dead-lettered events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import click

from atom_client.cli.output import Output
from atom_client.cli.tables import Sheet
from atom_client.errors import Failure, Misuse
from atom_client.text import clip, counted, listing, local_time, one_line
from atom_client.views.as_json import json_document
from atom_client.views.dead_letters import (
    Desk,
    HeldLetters,
    advice,
    body_text,
    facts,
    hold_letters,
    letter_object,
    reason,
    whole_object,
)
from atom_workflows.errors import BusUnavailable
from atom_workflows.messages.dead_letters import DeadLetter, replay_message

_TOGETHER: Final = 50
"""How many letters are published in one request, and then removed in a second request."""

_LONGEST_CELL: Final = 300


def list_letters(desk: Desk, *, limit: int, as_json: bool) -> None:
    """Print the newest letters."""
    with hold_letters(desk) as found:
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
    with hold_letters(desk, [letter_id]) as found:
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
    with hold_letters(desk, ids) as found:
        chosen = [one for one in found.letters if one.topic and not one.is_hopeless] if every else found.named(ids)
        if every and (left := len(found.letters) - len(chosen)):
            they = counted(left, "dead letter")
            click.echo(f"Skipped {they} that cannot be fixed by a replay; `dead-letters list` shows why.")
        if every and not found.is_all:
            click.echo("There are more dead letters than one command can handle; run the command again for the rest.")
        if homeless := [letter.id for letter in chosen if not letter.topic]:
            raise Failure(
                f"the origin of {listing(homeless)} is unknown; nothing was replayed. "
                "`atom-workflows dead-letters show ID` prints a dead letter, and `drop ID` deletes it"
            )
        if hopeless := [letter.id for letter in chosen if letter.is_hopeless]:
            warning = "can never be handled and will be dead-lettered again; use `dead-letters drop` instead"
            click.echo(f"{listing(hopeless)} {warning}", err=True)
        if not dry_run:
            _replay(found, chosen, actor)
    topics = Counter(letter.topic for letter in chosen)
    where = ", ".join(f"{count:,} to {topic}" for topic, count in sorted(topics.items()))
    verb = "Would replay" if dry_run else "Replayed"
    click.echo(f"{verb} {counted(len(chosen), 'dead letter')}{f': {where}' if where else ''}.")


def drop_letters(desk: Desk, ids: Sequence[str], *, hopeless: bool = False) -> None:
    """Permanently remove the letters with these ids, or all hopeless letters."""
    if hopeless == bool(ids):
        raise Misuse("name the dead letters to drop, or give --hopeless; `atom-workflows dead-letters list` shows them")
    with hold_letters(desk, ids) as found:
        chosen = [letter for letter in found.letters if letter.is_hopeless] if hopeless else found.named(ids)
        found.remove(chosen)
        is_all = not hopeless or found.is_all
    click.echo(f"Dropped {counted(len(chosen), 'dead letter')}.")
    if not is_all:
        click.echo("There are more dead letters than one command can handle; run the command again for the rest.")


def _replay(found: HeldLetters, letters: Sequence[DeadLetter], actor: str) -> None:
    """Publish letters, then remove them.

    This order ensures that no letter is lost if the command dies partway through, although some may be replayed twice.
    """
    for start in range(0, len(letters), _TOGETHER):
        part = letters[start : start + _TOGETHER]
        try:
            found.desk.bus.publish([replay_message(letter, actor=actor) for letter in part])
            found.remove(part)
        except BusUnavailable as error:
            raise Failure(
                f"{error}. {start:,} of {len(letters):,} had been replayed by then; the others are still dead letters. "
                "Replaying an event twice does no harm, so run the command again"
            ) from error
