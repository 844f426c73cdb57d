"""The commands about dead letters: the group `dead-letters`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atom_client.cli.options import json_option
from atom_client.deployment import environment, place_options

if TYPE_CHECKING:
    from atom_client.views.dead_letters import Desk


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay and drop dead-lettered events.

    While one of these commands is running, another may have to wait briefly.
    """


_letter_ids = click.argument("ids", nargs=-1, metavar="ID...")


@dead_letters.command("list")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    default=20,
    show_default=True,
    help="The maximum number of dead letters to list.",
)
@json_option
@place_options
def list_dead_letters(limit: int, *, as_json: bool) -> None:
    """List the newest dead letters and the reason for each."""
    from atom_client.cli.dead_letters import list_letters  # noqa: PLC0415 (imported only when needed)

    list_letters(_desk(), limit=limit, as_json=as_json)


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID")
@json_option
@place_options
def show_dead_letter(letter_id: str, *, as_json: bool) -> None:
    """Show a dead letter, its event, and what to do about it."""
    from atom_client.cli.dead_letters import show_letter  # noqa: PLC0415 (imported only when needed)

    show_letter(_desk(), letter_id, as_json=as_json)


@dead_letters.command("replay")
@_letter_ids
@click.option("--all", "every", is_flag=True, help="Replay all dead letters except those that can never be handled.")
@click.option("--dry-run", is_flag=True, help="Only print what would be replayed.")
@place_options
def replay_dead_letters(ids: tuple[str, ...], *, every: bool, dry_run: bool) -> None:
    """Republish dead letters to the topics that they came from.

    Replaying a start message never starts a second run.
    """
    from atom_client.cli.actor import current_actor  # noqa: PLC0415 (see above)
    from atom_client.cli.dead_letters import replay_letters  # noqa: PLC0415 (imported only when needed)

    replay_letters(_desk(), ids, every=every, dry_run=dry_run, actor=current_actor())


@dead_letters.command("drop")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--hopeless", is_flag=True, help="Drop all dead letters that can never be handled as they are.")
@place_options
def drop_dead_letters(ids: tuple[str, ...], *, hopeless: bool) -> None:
    """Delete dead letters permanently."""
    from atom_client.cli.dead_letters import drop_letters  # noqa: PLC0415 (imported only when needed)

    drop_letters(_desk(), ids, hopeless=hopeless)


def _desk() -> Desk:
    from atom_client.cli.platform import desk  # noqa: PLC0415 (imported only when needed)

    return desk(environment())
