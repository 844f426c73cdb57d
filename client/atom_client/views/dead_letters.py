"""Hold dead letters, explain why they exist, and advise on them."""

from __future__ import annotations

import base64
import json
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from atom_client.deployment import with_place
from atom_client.errors import Failure
from atom_client.text import clip, counted, escaped, listing, local_time, one_line
from atom_client.views.as_json import moment_text
from atom_workflows.errors import BusUnavailable, NewerVersion
from atom_workflows.messages.dead_letters import DeadLetter, read_dead_letter, replay_message
from atom_workflows.ports import Bus, DeadLetterBox, HeldMessage
from atom_workflows.task_runner_urls import shown_url

MOST_LETTERS: Final = 1_000
MOST_BYTES: Final = 100_000_000
"""Together with `MOST_LETTERS`, this limits how many letters one command holds."""

TRIES: Final = 4
"""How many times to look up letters by id, since another command may hold them. Each attempt takes a few seconds."""


Say: TypeAlias = Callable[[str], None]

_TOGETHER: Final = 50
"""How many letters are published in one request, and then removed in a second request."""

MORE_LETTERS: Final = "There are more dead letters than one command can handle; run the command again for the rest."


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The bus and dead-letter box that the commands use, and their platform."""

    bus: Bus
    box: DeadLetterBox
    project: str
    is_local: bool = False
    topic_prefix: str = ""


@dataclass(slots=True, kw_only=True)
class HeldLetters:
    """Letters that this command holds, so that no other command gets them.

    `is_all` is True if there are no other letters.
    """

    desk: Desk
    say: Say
    is_all: bool = False
    _held: dict[str, HeldMessage] = field(default_factory=dict)

    @property
    def letters(self) -> list[DeadLetter]:
        """All held letters, newest first."""
        read = [read_dead_letter(one, topic_prefix=self.desk.topic_prefix) for one in self._held.values()]
        # Ids are increasing numbers, so a longer id is a later one.
        return sorted(read, key=lambda letter: (letter.dead_since, len(letter.id), letter.id), reverse=True)

    def named(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Return the letters with these ids.

        Raises `Failure` unless all of them are held.
        """
        missing = self._missing(ids)
        if not missing:
            by_id = {letter.id: letter for letter in self.letters}
            return [by_id[one] for one in dict.fromkeys(ids)]
        looked = "" if self.is_all else f" among the {len(self._held):,} that were read"
        raise Failure(
            f"there is no dead letter {listing(missing)}{looked}. `atom-workflows dead-letters list` shows "
            "those that exist; a letter held by a killed command is available again within a minute"
        )

    @property
    def replayable(self) -> list[DeadLetter]:
        """The held letters that a replay may fix."""
        return [letter for letter in self.letters if letter.topic and not letter.is_hopeless]

    def replay(self, letters: Sequence[DeadLetter], actor: str) -> None:
        """Publish letters, then remove them.

        This order ensures that no letter is lost if the program dies partway through, although some may be replayed
        twice.
        """
        for start in range(0, len(letters), _TOGETHER):
            part = letters[start : start + _TOGETHER]
            try:
                self.desk.bus.publish([replay_message(letter, actor=actor) for letter in part])
                self.remove(part)
            except BusUnavailable as error:
                raise Failure(
                    f"{error}. {start:,} of {len(letters):,} had been replayed by then; the others are still dead "
                    "letters. Replaying an event twice does no harm, so run the command again"
                ) from error

    def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Remove letters permanently."""
        self.desk.box.remove([self._held[letter.id] for letter in letters])
        for letter in letters:
            del self._held[letter.id]

    def fill(self, wanted: Collection[str]) -> None:
        """Take letters until all requested ones are held.

        Also stops when no new letters arrive or no more can be held. If no ids are given, takes all letters.
        """
        while not self.is_all and not (wanted and self._held.keys() >= set(wanted)):
            room = MOST_LETTERS - len(self._held)
            if room <= 0 or sum(len(one.data) for one in self._held.values()) > MOST_BYTES:
                return
            came = self.desk.box.take(room)
            # Pub/Sub may return fewer letters than there are, so only a batch without new letters marks the end. A
            # letter whose lease has expired arrives again.
            self.is_all = all(one.id in self._held for one in came)
            self._held |= {one.id: one for one in came}

    def release(self) -> None:
        """Release the letters that are still held.

        If that fails, their leases expire within a minute.
        """
        with suppress(BusUnavailable):
            self.desk.box.release(list(self._held.values()))

    def fill_patiently(self, wanted: Collection[str]) -> None:
        """Take the requested letters, trying several times.

        Another command may be holding them.
        """
        self.fill(wanted)
        for tries in range(1, TRIES):
            missing = self._missing(wanted)
            if not missing:
                return
            if tries == 1:
                held = "another command may be holding dead letters"
                self.say(f"Not found yet: {listing(missing)}; {held}. Trying again ...")
            # The other command may be waiting for letters that are held here.
            self.release()
            self._held, self.is_all = {}, False
            self.fill(wanted)

    def _missing(self, wanted: Collection[str]) -> list[str]:
        return [one for one in dict.fromkeys(wanted) if one not in self._held]


@contextmanager
def hold_letters(desk: Desk, wanted: Collection[str] = (), *, say: Say) -> Iterator[HeldLetters]:
    """Hold the requested letters, or all, for the duration of the block.

    Other letters may be held as well. Calls `say` with a sentence if it has to wait for letters.
    """
    letters = HeldLetters(desk=desk, say=say)
    try:
        letters.fill_patiently(wanted)
        yield letters
    finally:
        letters.release()


FUNCTIONS: Final[Mapping[str, str]] = {"start": "start", "steps": "dispatcher", "tick": "checker"}
"""Maps each topic to the function that handles its events."""

_URL_FIELDS: Final = ("tr_url", "tr-url")
LONGEST_BODY: Final = 20_000
_LONGEST_VALUE: Final = 300


def reason(letter: DeadLetter) -> str:
    """Explain in one line why the letter exists."""
    if letter.reason:
        return one_line(letter.reason)
    if not letter.topic:
        return "its origin is unknown"
    times = counted(letter.deliveries, "time") if letter.deliveries else "repeatedly"
    return f"delivered {times} without success; the log of the {FUNCTIONS[letter.topic]} function shows why"


def doubt_replay(letters: Sequence[DeadLetter]) -> str:
    """Return a warning about letters that a replay cannot fix, or "".

    Raises `Failure` if the origin of a letter is unknown, since it cannot be replayed.
    """
    if homeless := [letter.id for letter in letters if not letter.topic]:
        raise Failure(
            f"the origin of {listing(homeless)} is unknown; nothing was replayed. "
            "`atom-workflows dead-letters show ID` prints a dead letter, and `drop ID` deletes it"
        )
    if hopeless := [letter.id for letter in letters if letter.is_hopeless]:
        warning = "can never be handled and will be dead-lettered again; use `dead-letters drop` instead"
        return f"{listing(hopeless)} {warning}"
    return ""


def replay_line(letters: Sequence[DeadLetter], *, verb: str) -> str:
    """Say how many letters are replayed to which topic."""
    topics = Counter(letter.topic for letter in letters)
    where = ", ".join(f"{count:,} to {topic}" for topic, count in sorted(topics.items()))
    return f"{verb} {counted(len(letters), 'dead letter')}{f': {where}' if where else ''}."


def facts(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    """Yield the facts about a letter, each with its name."""
    published = _moment(letter.published_at)
    known = {
        "dead letter": letter.id,
        "topic": letter.topic,
        "reason": reason(letter),
        "error": letter.error,
        "deliveries": str(letter.deliveries or ""),
        "run": letter.run_id,
        "event": letter.event_id,
        # A value that is not a time is shown as received.
        "published": letter.published_at,
        "dead since": str(letter.dead_since),
        "replayed by": letter.replayed_by,
        "attributes": ", ".join(f"{name}={value}" for name, value in sorted(letter.attributes.items())),
    }
    # Only what others have written is escaped: the console's times have marks.
    times = {"published": published, "dead since": letter.dead_since}
    for name, value in known.items():
        longest = 2 * _LONGEST_VALUE if name == "reason" else _LONGEST_VALUE
        if (moment := times.get(name)) is not None:
            yield name, local_time(moment)
        elif value:
            yield name, clip(escaped(" ".join(value.split())), longest)


def body_text(letter: DeadLetter) -> str:
    """Return the event's content, decoded and safe to print."""
    prints = with_place(f"dead-letters show {shlex.quote(letter.id)} --json")
    body = letter.body
    if body is None:
        text = letter.data.decode("utf-8", "backslashreplace")
    else:
        if isinstance(body, Mapping):  # The URL of a Task Runner may contain a password.
            named = {name: shown_url(url) for name in _URL_FIELDS if isinstance(url := body.get(name), str)}
            body = {**body, **named}
        text = json.dumps(body, indent=2, ensure_ascii=False)
    text = escaped(text[: LONGEST_BODY + 1])
    if len(text) > LONGEST_BODY:
        return f"{text[:LONGEST_BODY]}…\n({len(letter.data):,} bytes in all; `{prints}` prints them)"
    return text or "(empty)"


def advice(letter: DeadLetter, desk: Desk) -> Iterator[str]:
    """Yield sentences that say what to do next."""
    if not letter.reason and letter.topic:
        function = FUNCTIONS[letter.topic]
        filters = f'jsonPayload.action="event.failed" AND timestamp<="{letter.dead_since.isoformat()}"'
        logging = f"gcloud logging read {shlex.quote(filters)} --project={shlex.quote(desk.project)}"
        why = f"The log shows why: {logging} --freshness=31d --limit=20"
        if desk.is_local:
            why = f"Look for `event.failed` in {function}.log, in the log folder that `local up` printed."
        yield f"Pub/Sub gave up on it and recorded no reason. {why}"
    if letter.topic == "steps":
        run = f" `{with_place(f'runs show {letter.run_id}')}` shows its state." if letter.run_id else ""
        yield (
            "While its run is open, the checker makes up for the lost event within minutes and continues the run "
            f"without it; a replay only speeds this up.{run}"
        )
    replay, drop = (f"`{with_place(f'dead-letters {verb} {shlex.quote(letter.id)}')}`" for verb in ("replay", "drop"))
    if not letter.topic:
        yield f"This event cannot be replayed from here; {drop} deletes it."
    elif letter.is_hopeless:
        yield f"This message can never be handled as it is. Publish a correct one; {drop} deletes this one."
    elif letter.error == NewerVersion.__name__:
        yield f"A newer version published it. Once that version, or a newer one, is deployed, {replay} handles it."
    elif letter.topic == "tick":
        yield f"Later ticks have done its work; {drop} deletes it."
    else:
        yield (
            f"Once the cause is fixed, {replay} publishes the event again; if the event is no longer needed, {drop} "
            "deletes it."
        )


def letter_object(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter for JSON output, without the event's content."""
    published = _moment(letter.published_at)
    return {
        "id": letter.id,
        "topic": letter.topic or None,
        "reason": reason(letter),
        "error": letter.error or None,
        "deliveries": letter.deliveries,
        "run_id": letter.run_id or None,
        "event_id": letter.event_id,
        "published_at": letter.published_at or None if published is None else moment_text(published),
        "dead_since": moment_text(letter.dead_since),
        "replayed_by": letter.replayed_by or None,
        "replay_may_succeed": bool(letter.topic) and not letter.is_hopeless,
    }


def whole_object(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter for JSON output, with the whole event.

    `body` is None if the event is not JSON.
    """
    return {
        **letter_object(letter),
        "attributes": dict(letter.attributes),
        "body": letter.body,
        "data_base64": base64.b64encode(letter.data).decode(),
    }


def _moment(text: str) -> datetime | None:
    """Read a time from an attribute that anyone may have set.

    Returns None if it is not a time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
