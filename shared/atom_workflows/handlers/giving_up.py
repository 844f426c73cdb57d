"""What becomes of an event whose handler raised: it comes again, or it ends among the dead letters with its reason.

Nothing is lost in silence: an event is acknowledged only once its dead letter was accepted. If that fails, the event
comes again, and in the end Pub/Sub forwards it by itself, without our reason.
"""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, MalformedEvent, RunNotFound
from atom_workflows.messages.dead_letters import GivenUp, buried
from atom_workflows.messages.envelope import ReceivedEvent

_WORTHLESS_LATER: Final = frozenset({"tick"})
"""Topics whose events are followed by others that do the same."""


def is_given_up(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    """Whether the event can be acknowledged now, everything being done for it that can be; else it is to come again.

    `topic` is where the event was published.
    """
    if isinstance(error, MalformedEvent | RunNotFound):
        return _given_up_as_malformed(services, topic, event, error)
    if event.delivery_attempt is None or event.delivery_attempt < services.settings.max_deliveries:
        log.warned("event.failed", f"the event will come again: {reason_of(error)}", reason=_name(error))
        return False
    return _given_up_as_failing(services, topic, event, error)


def log_dropped(error: Exception) -> None:
    """Log what cannot be handled and cannot be kept; the count of these lines is the count of such requests."""
    log.warned("event.malformed", f"the event was dropped: {error}", reason=_name(error))


def reason_of(error: Exception) -> str:
    """Why, for people. What our errors say holds no secret; of a defect only its place is told, the rest is logged."""
    if isinstance(error, AtomWorkflowsError):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {PurePath(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"a defect: {_name(error)}{place}; the function's log has its trace"


def _given_up_as_malformed(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    if event.message is None:
        log_dropped(error)
        return True
    kept = _keep(services, topic, event, error)
    if kept:
        message = f"the event went to the dead letters: {reason_of(error)}"
        log.warned("event.malformed", message, reason=_name(error))
    return kept


def _given_up_as_failing(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    if topic not in _WORTHLESS_LATER and not _keep(services, topic, event, error):
        return False
    where = "dropped, as the next one does its work" if topic in _WORTHLESS_LATER else "kept as a dead letter"
    log.failed(
        "event.given_up",
        f"the event was {where} after {event.delivery_attempt} deliveries: {reason_of(error)}",
        trace_of=None if isinstance(error, AtomWorkflowsError) else error,
        reason=_name(error),
    )
    return True


def _keep(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    message = event.message
    if message is None:
        return False
    given_up = GivenUp(
        topic=topic,
        event_id=event.id,
        data=message.data,
        attributes=message.attributes,
        published_at=message.published_at,
        deliveries=event.delivery_attempt,
        error=_name(error),
        reason=reason_of(error),
    )
    try:
        services.bus.publish([buried(given_up)])
    except BusUnavailable as unavailable:
        text = f"the event will come again, since no dead letter could be kept ({unavailable}): {reason_of(error)}"
        log.failed("event.failed", text, reason=_name(error))
        return False
    return True


def _name(error: Exception) -> str:
    return type(error).__name__
