"""Unacknowledged messages in an SQLite file, so that they outlive the process.

A message is written before its publication is answered. Its acknowledgement is written a little later, together with
others: after a crash, messages whose acknowledgement was lost are delivered again, as they may be anyway.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from atom_emulator.pubsub.messages import PubsubMessage
from atom_emulator.pubsub.refusals import Code, RefusalError
from atom_emulator.sqlite_file import FileKind, SqliteFileError, explained, open_file, transaction

MESSAGES: Final = FileKind(
    what="list of messages",
    application_id=0x4157504D,
    version=1,
    schema=(
        """
        CREATE TABLE messages (
            subscription TEXT,
            id INTEGER,
            data BLOB NOT NULL,
            attributes TEXT NOT NULL,
            publish_time REAL NOT NULL,
            ordering_key TEXT NOT NULL,
            PRIMARY KEY (subscription, id)
        ) WITHOUT ROWID
        """,
        "CREATE TABLE last_id (id INTEGER NOT NULL)",
        "INSERT INTO last_id VALUES (0)",
    ),
)

_SELECT: Final = (
    "SELECT id, data, attributes, publish_time, ordering_key FROM messages WHERE subscription = ? ORDER BY id"
)
_DELETE: Final = "DELETE FROM messages WHERE subscription = ? AND id = ?"

_log = logging.getLogger("atom_emulator.pubsub")


class KeptMessages:
    """The messages of some subscriptions. Raises `SqliteFileError` if the file cannot be used. Not thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection = open_file(file, MESSAGES)
        self._removed: list[tuple[str, int]] = []

    def last_id(self) -> int:
        """Return an id that no message has exceeded."""
        with explained(self._file, MESSAGES):
            return int(self._connection.execute("SELECT id FROM last_id").fetchone()[0])

    def load(self, subscription: str) -> Iterator[PubsubMessage]:
        """Yield a subscription's messages, in the order in which they were published."""
        with explained(self._file, MESSAGES):
            rows = self._connection.execute(_SELECT, [subscription]).fetchall()
        for number, data, attributes, publish_time, ordering_key in rows:
            yield PubsubMessage(
                id=str(number),
                data=data,
                attributes=json.loads(attributes),
                publish_time=publish_time,
                ordering_key=ordering_key,
            )

    def add(self, wanted: Sequence[tuple[str, PubsubMessage]]) -> None:
        """Keep messages, each with a subscription that receives it: all or none.

        Raises `RefusalError`.
        """
        rows = [
            (name, int(one.id), one.data, json.dumps(one.attributes), one.publish_time, one.ordering_key)
            for name, one in wanted
        ]
        try:
            with explained(self._file, MESSAGES), transaction(self._connection):
                self._connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", rows)
                self._connection.execute("UPDATE last_id SET id = ?", [max(row[1] for row in rows)])
                self._connection.executemany(_DELETE, self._removed)
        except SqliteFileError as error:
            raise RefusalError(Code.UNAVAILABLE, str(error)) from error
        self._removed.clear()

    def remove(self, subscription: str, message: PubsubMessage) -> None:
        """Forget a message. The next call of `add` or `write` removes it from the file."""
        self._removed.append((subscription, int(message.id)))

    def remove_all(self, subscription: str) -> None:
        """Forget the messages of a subscription that was deleted."""
        self._removed += [(subscription, int(message.id)) for message in self.load(subscription)]

    def write(self) -> None:
        """Write what was removed. If that fails, the next call tries again."""
        if not self._removed:
            return
        try:
            with explained(self._file, MESSAGES), transaction(self._connection):
                self._connection.executemany(_DELETE, self._removed)
        except SqliteFileError as error:
            _log.warning("acknowledgements were not kept, so messages may be delivered again: %s", error)
        else:
            self._removed.clear()

    def close(self) -> None:
        """Write what was removed, and close the file."""
        self.write()
        self._connection.close()
