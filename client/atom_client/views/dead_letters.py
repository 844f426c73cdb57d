"""Dead letters: taken off their subscription while a command looks at them, why each is there, and what to do."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import click

from atom_client.deployment import with_place
from atom_client.errors import Failure
from atom_client.text import clip, escaped, listing, local_time, one_line
from atom_client.views.as_json import moment_text
from atom_workflows.errors import BusUnavailable
from atom_workflows.messages.dead_letters import DeadLetter, read_dead_letter
from atom_workflows.ports import Bus, DeadLetterBox, HeldMessage
from atom_workflows.task_runner_urls import shown_url

MOST_LETTERS: Final = 1_000
MOST_BYTES: Final = 100_000_000
"""No command holds more than that."""

TRIES: Final = 4
"""How often letters are looked for by their ids; each time takes some seconds, as long as a list holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the commands work with, and where the platform is that they look at."""

    bus: Bus
    box: DeadLetterBox
    project: str
    is_local: bool = False
    topic_prefix: str = ""


@dataclass(slots=True, kw_only=True)
class Taken:
    """Letters that nobody else is given meanwhile; `is_all` tells whether no more were there."""

    desk: Desk
    is_all: bool = False
    _held: dict[str, HeldMessage] = field(default_factory=dict)

    @property
    def letters(self) -> list[DeadLetter]:
        """All of them, the newest first."""
        read = [read_dead_letter(one, topic_prefix=self.desk.topic_prefix) for one in self._held.values()]
        # Ids are numbers that grow, so the longer one is the later one.
        return sorted(read, key=lambda letter: (letter.dead_since, len(letter.id), letter.id), reverse=True)

    def named(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these ids; raises `Failure` unless all are there."""
        missing = self._missing(ids)
        if not missing:
            by_id = {letter.id: letter for letter in self.letters}
            return [by_id[one] for one in dict.fromkeys(ids)]
        looked = "" if self.is_all else f" among the {len(self._held):,} that were looked at"
        raise Failure(
            f"there is no dead letter {listing(missing)}{looked}. `atom-workflows dead-letters list` shows what there "
            "is; one that a command held when it was killed is there again in a minute"
        )

    def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Take them out for good."""
        self.desk.box.remove([self._held[letter.id] for letter in letters])
        for letter in letters:
            del self._held[letter.id]

    def fill(self, wanted: Collection[str]) -> None:
        """Take letters until the wanted ones are there, or no new ones come; all of them if none is named."""
        while not self.is_all and not (wanted and self._held.keys() >= set(wanted)):
            room = MOST_LETTERS - len(self._held)
            if room <= 0 or sum(len(one.data) for one in self._held.values()) > MOST_BYTES:
                return
            came = self.desk.box.take(room)
            # A lease that is over makes a letter come twice; then there is nothing new.
            self.is_all = all(one.id in self._held for one in came)
            self._held |= {one.id: one for one in came}

    def release(self) -> None:
        """Let others have what is still there; if that fails, they have it in a minute."""
        with suppress(BusUnavailable):
            self.desk.box.release(list(self._held.values()))

    def fill_patiently(self, wanted: Collection[str]) -> None:
        """Take the wanted letters, a few times: while another command looks at them they cannot be had."""
        self.fill(wanted)
        for tries in range(1, TRIES):
            missing = self._missing(wanted)
            if not missing:
                return
            if tries == 1:
                click.echo(f"{listing(missing)}: not to be had now; looking again for a moment ...", err=True)
            # That other command may wait for what is held here.
            self.release()
            self._held, self.is_all = {}, False
            self.fill(wanted)

    def _missing(self, wanted: Collection[str]) -> list[str]:
        return [one for one in dict.fromkeys(wanted) if one not in self._held]


@contextmanager
def taken(desk: Desk, wanted: Collection[str] = ()) -> Iterator[Taken]:
    """The letters that are wanted, and others with them; without names, all. They are free again after the block."""
    letters = Taken(desk=desk)
    try:
        letters.fill_patiently(wanted)
        yield letters
    finally:
        letters.release()


FUNCTIONS: Final[Mapping[str, str]] = {"start": "start", "steps": "dispatcher", "tick": "checker"}
"""Topic to the function that handles its events."""

_URL_FIELDS: Final = ("tr_url", "tr-url")
LONGEST_BODY: Final = 20_000
_LONGEST_VALUE: Final = 300


def reason(letter: DeadLetter) -> str:
    """Why it is there, on one line."""
    if letter.reason:
        return one_line(letter.reason)
    if not letter.topic:
        return "it does not tell where it came from"
    times = f"{letter.deliveries} times" if letter.deliveries else "often"
    return f"delivered {times} without success; the log of the function {FUNCTIONS[letter.topic]} says why"


def facts(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    """What is known of it, each with its name; what is not known is left out."""
    told = {
        "dead letter": letter.id,
        "topic": letter.topic,
        "reason": reason(letter),
        "error": letter.error,
        "deliveries": str(letter.deliveries or ""),
        "run": letter.run_id,
        "event": letter.event_id,
        "published": _local(letter.published_at),
        "dead since": local_time(letter.dead_since),
        "attributes": ", ".join(f"{name}={value}" for name, value in sorted(letter.attributes.items())),
    }
    for name, value in told.items():
        if value:
            yield (
                name,
                clip(escaped(" ".join(value.split())), 2 * _LONGEST_VALUE if name == "reason" else _LONGEST_VALUE),
            )


def body_text(letter: DeadLetter) -> str:
    """What the event carries, decoded and safe to print."""
    body = letter.body
    if body is None:
        text = letter.data.decode("utf-8", "backslashreplace")
    else:
        text = json.dumps(_without_passwords(body), indent=2, ensure_ascii=False)
    text = escaped(text[: LONGEST_BODY + 1])
    if len(text) > LONGEST_BODY:
        return f"{text[:LONGEST_BODY]}…\n({len(letter.data):,} bytes in all; --json prints them)"
    return text or "(empty)"


def _without_passwords(body: Any) -> Any:
    """Return the body without the passwords of Task Runners' URLs."""
    if not isinstance(body, Mapping):
        return body
    named = {name: shown_url(url) for name in _URL_FIELDS if isinstance(url := body.get(name), str)}
    return {**body, **named}


def advice(letter: DeadLetter, desk: Desk) -> Iterator[str]:
    """What to do next, in sentences."""
    if not letter.reason and letter.topic:
        yield _where_the_log_is(letter, desk)
    if letter.topic == "steps":
        run = f" `{with_place(f'runs show {letter.run_id}')}` tells how it stands." if letter.run_id else ""
        yield (
            "While its run is open, the checker finds out within minutes what this event was to bring about, and goes "
            f"on without it; a replay only makes that sooner.{run}"
        )
    yield _how_to_end_it(letter)


def letter_object(letter: DeadLetter) -> dict[str, Any]:
    """It for programs, without what the event carries."""
    return {
        "id": letter.id,
        "topic": letter.topic or None,
        "reason": reason(letter),
        "error": letter.error or None,
        "deliveries": letter.deliveries,
        "run_id": letter.run_id or None,
        "event_id": letter.event_id,
        "published_at": _utc(letter.published_at),
        "dead_since": moment_text(letter.dead_since),
        "replay_may_succeed": bool(letter.topic) and not letter.is_hopeless,
    }


def whole_object(letter: DeadLetter) -> dict[str, Any]:
    """It for programs, with all that the event carries; `body` is None if that is not JSON."""
    return {
        **letter_object(letter),
        "attributes": dict(letter.attributes),
        "body": letter.body,
        "data_base64": base64.b64encode(letter.data).decode(),
    }


def _moment(told: str) -> datetime | None:
    """A time that an attribute tells, of whoever published it; None if it is none."""
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _local(told: str) -> str:
    moment = _moment(told)
    return told if moment is None else local_time(moment)


def _utc(told: str) -> str | None:
    moment = _moment(told)
    return told or None if moment is None else moment_text(moment)


def _how_to_end_it(letter: DeadLetter) -> str:
    replay, drop = (f"`{with_place(f'dead-letters {verb} {shlex.quote(letter.id)}')}`" for verb in ("replay", "drop"))
    if not letter.topic:
        return f"It cannot be replayed from here; {drop} takes it away."
    if letter.is_hopeless:
        return (
            f"This message cannot be handled as it is, however often it comes. Publish one that is right; {drop} takes "
            "this one away."
        )
    if letter.topic == "tick":
        return f"Other ticks have done its work since; {drop} takes it away."
    return f"When the cause is mended: {replay}. If nobody needs it any more: {drop}."


def _where_the_log_is(letter: DeadLetter, desk: Desk) -> str:
    function = FUNCTIONS[letter.topic]
    if desk.is_local:
        return (
            f"Pub/Sub gave it up by itself and records no reason. Look for `event.failed` in {function}.log, in the "
            "folder of logs that `local up` printed."
        )
    filters = f'jsonPayload.action="event.failed" AND timestamp<="{letter.dead_since.isoformat()}"'
    return (
        "Pub/Sub gave it up by itself and records no reason. The log says why: "
        f"gcloud logging read {shlex.quote(filters)} --project={shlex.quote(desk.project)} --freshness=31d --limit=20"
    )
