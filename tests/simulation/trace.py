"""What happened, in order. It is put into words only when someone reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from atom_workflows.documents import RUNS
from atom_workflows.ports import Create, Message, Update, Upsert, Write
from simulation.scheduler import Scheduler

_FIELDS = ("state", "attempt", "remaining", "due_at", "stop", "retries")


class Trace:
    """The notes of one simulation. `marks` stand before the names of what belongs to a run, by its id."""

    def __init__(self, scheduler: Scheduler, marks: Mapping[str, str]) -> None:
        self._scheduler = scheduler
        self._marks = marks
        self._notes: list[tuple[float, str, str, tuple[Any, ...]]] = []

    def note(self, word: str, *details: Any) -> None:
        """Remember an event.

        The details must not change afterwards.
        """
        running = self._scheduler.running
        self._notes.append((self._scheduler.now, running.name if running else "-", word, details))

    def lines(self) -> Iterator[str]:
        """Yield one line for each note.

        It has the true time in seconds, who, and what.
        """
        for now, who, word, details in self._notes:
            text = " ".join(self._text(one) for one in details)
            yield f"{now:9.2f} {who:<14} {word:<10} {text}".rstrip()

    def _text(self, detail: Any) -> str:
        if isinstance(detail, Message):
            return self._message(detail)
        if isinstance(detail, tuple | list) and detail and isinstance(detail[0], Create | Update | Upsert):
            return "; ".join(self._writes(detail))
        return detail if isinstance(detail, str) else repr(detail)

    def _message(self, message: Message) -> str:
        body = {name: value for name, value in message.body.items() if name not in {"schema", "definition", "run_id"}}
        return f"[{message.topic}] {self._marks.get(message.body.get('run_id', ''), '')}{json.dumps(body)}"

    def _writes(self, writes: Iterable[Write]) -> Iterator[str]:
        for write in writes:
            verb = "+" if isinstance(write, Create) else ""
            fields = {} if not isinstance(write, Create | Update | Upsert) else write.fields
            text = [f"{field}={_value(fields[field])}" for field in _FIELDS if field in fields]
            if isinstance(write, Update | Upsert):
                text += [f"{field}{by:+d}" for field, by in write.increments.items() if by]
            yield f"{verb}{self._name(write.path)}({', '.join(text)})"

    def _name(self, path: str) -> str:
        collection, _, rest = path.partition("/")
        run_id, _, name = rest.partition("/")
        if collection != RUNS:
            return rest
        return f"{self._marks.get(run_id, '?/')}{name.rpartition('/')[2] or 'run'}"


def _value(value: Any) -> str:
    return f"{value:%H:%M:%S}" if isinstance(value, datetime) else str(value)
