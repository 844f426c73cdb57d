"""Bugs on purpose in what looks after all runs, and in what starts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.states import RunState
from atom_workflows.documents import BURST_LEASE_PATH, ROUND_PATH, run_path
from atom_workflows.errors import SourceTooLarge, SourceUnavailable
from atom_workflows.messages import start
from atom_workflows.messages.start import RunSeedRequested, StartRequested
from atom_workflows.ports import DEAD_LETTERS, Bus, Create, Document, Message, Query, Source, Update, Write
from simulation.planted import AGES
from simulation.planting import (
    Scene,
    buses,
    changes_step,
    commits,
    fields_of,
    id_of,
    messages,
    read_as,
    reads,
    run_id_of,
    with_fields,
    without,
    writes,
)

# What is replaced here, as it was.
_read_start_event = start.read_start_event


# -- the checker -----------------------------------------------------------------------------------------------------


@messages
def audit_publishes_nothing(scene: Scene, message: Message) -> Message | None:
    """Look at a run, and publish nothing that was released in it."""
    if scene.function != "tick" or message.attributes.get("type") != "step.ready":
        return message
    # Those with an attempt are not the audit's: they are retried, or their dispatcher died.
    left = [step for step in message.body["steps"] if step["attempt"] is not None]
    return replace(message, body={**message.body, "steps": left}) if left else None


@messages
def audit_repairs_nothing(scene: Scene, message: Message) -> Message | None:
    """Leave a run that stands still to itself."""
    asks = scene.function == "tick" and message.attributes.get("type") == "run.seed"
    return None if asks and scene.is_standing_still(message.body["run_id"]) else message


@messages
def audit_seeds_nothing(scene: Scene, message: Message) -> Message | None:
    """Leave a run to itself that is half seeded."""
    asks = scene.function == "tick" and message.attributes.get("type") == "run.seed"
    is_seeding = asks and scene.stored(run_path(message.body["run_id"])).get("state") == RunState.SEEDING.value
    return None if is_seeding else message


@writes
def look_once(scene: Scene, write: Write) -> Write:
    """Look at the run, and never again."""
    is_next = id_of(write.path) == END_ID and set(fields_of(write)) == {"due_at"}
    if isinstance(write, Update) and is_next and scene.function == "tick":
        return with_fields(write, due_at=None)
    return write


@reads
def audit_some(scene: Scene, document: Document) -> Document | None:
    """Audit every other run."""
    is_hidden = scene.function == "tick" and document.id == END_ID and crc32(run_id_of(document.path).encode()) % 2 == 0
    return None if is_hidden else document


@writes
def burst_for_ages(scene: Scene, write: Write) -> Write:
    """Take the burst's lease until it is given back."""
    if write.path != BURST_LEASE_PATH or "holder" not in write.fields:
        return write
    return replace(write, fields={**write.fields, "until": scene.now + AGES})


@writes
def unguarded_burst(_scene: Scene, write: Write) -> Write:
    """Take the burst's lease, whoever took it meanwhile."""
    return replace(write, guard=None) if isinstance(write, Update) and write.path == BURST_LEASE_PATH else write


@dataclass(slots=True)
class _ForOneRun:
    scene: Scene
    inner: Bus

    def publish(self, messages: Sequence[Message]) -> None:
        ended = [message for message in messages if message.attributes.get("type") == "steps.completed"]
        if self.scene.function == "tick" and ended:
            first = self.scene.services.store.query(Query(collection="runs", limit=1))
            run_id = first[0].path.rpartition("/")[2]
            messages = [
                replace(message, body={**message.body, "run_id": run_id}) if message in ended else message
                for message in messages
            ]
        self.inner.publish(messages)


publish_for_one_run = buses(_ForOneRun)
"""Take the outcomes that the checker finds for those of the first run of all."""


@writes
def put_off_for_ever(_scene: Scene, write: Write) -> Write:
    """Never look at a job again after a status call that failed."""
    return with_fields(write, due_at=None) if changes_step(write) and write.fields.get("unanswered") else write


@writes
def unanswered_in_between(_scene: Scene, write: Write) -> Write:
    """Take a job for unknown all along, though calls failed in between."""
    return without(write, "missing_since") if changes_step(write) and write.fields.get("unanswered") else write


@reads
def round_of_burst(scene: Scene, document: Document) -> Document:
    """Begin a new round with each burst."""
    if document.path != ROUND_PATH or "until" not in document.fields:
        return document
    is_old = scene.now - document.fields["until"] >= scene.services.settings.burst
    return read_as(document, next_due_at=None) if is_old else document


@writes
def open_run_expires(scene: Scene, write: Write) -> Write | None:
    """Say that an open run is kept for longer."""
    return None if _keeps(write) and scene.run_of(write.path).get("state") == RunState.RUNNING.value else write


@writes
def retried_run_expires(scene: Scene, write: Write) -> Write | None:
    """Say that the steps that a retry leaves are kept for longer."""
    return None if _keeps(write) and scene.run_of(write.path).get("state") == RunState.SEEDING.value else write


def _keeps(write: Write) -> bool:
    return isinstance(write, Update) and set(write.fields) == {"expire_at"}


# -- repairs ---------------------------------------------------------------------------------------------------------


@writes
def repair_one_counter(scene: Scene, write: Write) -> Write:
    """Repair one of the two counters."""
    if isinstance(write, Update) and set(write.fields) == {"remaining", "unsuccessful", "cause"}:
        return without(write, "unsuccessful")
    return write


@messages
def no_letter(_scene: Scene, message: Message) -> Message | None:
    """Say that there is a dead letter."""
    return None if message.topic == DEAD_LETTERS else message


@messages
def nameless_letter(_scene: Scene, message: Message) -> Message:
    """Publish a dead letter that does not say which event it was."""
    if message.topic != DEAD_LETTERS:
        return message
    return replace(message, attributes={**message.attributes, "deadLetterEvent": "m0"})


# -- starts ----------------------------------------------------------------------------------------------------------


@writes
def never_audited(_scene: Scene, write: Write) -> Write:
    """Begin a run without the time of its first audit."""
    return _unwatched(write)


@writes
def open_without_definition(_scene: Scene, write: Write) -> Write | None:
    """Begin a large run without the definition that it needs later."""
    return None if isinstance(write, Create) and write.path.endswith("/definition/text") else write


@commits
def open_without_end(scene: Scene, together: Sequence[Write]) -> Sequence[Write | None]:
    """Begin a large run without what the checker finds it by."""
    is_large = any(write.path.endswith("/definition/text") for write in together)
    return [_unwatched(write) if is_large else write for write in together]


def _unwatched(write: Write) -> Write:
    return without(write, "due_at") if isinstance(write, Create) and id_of(write.path) == END_ID else write


@dataclass(slots=True)
class _HastySource:
    inner: Source

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        try:
            return self.inner.read(path, generation)
        except SourceUnavailable as error:
            raise SourceTooLarge(path) from error


def unreadable_is_invalid(_scene: Scene, services: Services) -> Services:
    """Take a file that cannot be read now for one that never can."""
    return replace(services, source=_HastySource(services.source))


def run_for_each_message(body: Any, *, event_id: str) -> StartRequested | RunSeedRequested:
    """Make a run for each message, whatever key it has."""
    event = _read_start_event(body, event_id=event_id)
    return replace(event, key=(event_id,)) if isinstance(event, StartRequested) else event
