"""What people and programs are told of a dead letter: why it is there, and what to do about it."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.text import clip, escaped, local_time, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.letters import Desk
from atom_workflows.dead_letters import DeadLetter
from atom_workflows.task_runner_urls import shown_url

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
