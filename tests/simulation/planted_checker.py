"""Bugs on purpose in what looks after all runs, and in what starts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zlib import crc32

from atom_workflows.coordinator import commits, retry, seed, start
from atom_workflows.coordinator.checker import audit, due_handler, rounds
from atom_workflows.coordinator.checker.rounds import Round
from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.loading import StoredStep, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core import consistency, polling
from atom_workflows.core.consistency import Finding
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.transitions import Outcome, OutcomeKind, StepChange
from atom_workflows.documents import BURST_LEASE_PATH
from atom_workflows.errors import RequestNotAccepted
from atom_workflows.messages import dead_letters
from atom_workflows.messages.dead_letters import GivenUp
from atom_workflows.messages.start import StartRequested
from atom_workflows.ports import Create, Document, Fields, Message, Update

# What is replaced here, as it was.
_save_document = commits.save_document
_set_next_audit = audit._set_next_audit
_publish = due_handler.DueHandler._publish
_audit = due_handler._audit
_poll_failed = polling.poll_failed
_ask = due_handler.ask
_load_round = rounds.load_round
_opening = seed._opening
_new_run = start._new_run
_check_counters = consistency.check_counters
_reset = retry._reset
_dead_letter_message = dead_letters.dead_letter_message


# -- the checker -----------------------------------------------------------------------------------------------------


def look_once(outbox: Outbox, end: StoredStep, _due_at: datetime | None) -> None:
    """Look at the run, and never again."""
    _set_next_audit(outbox, end, None)


def save_unguarded(services: Services, path: str, read: Document | None, fields: Fields) -> Document | None:
    """Take the burst's lease, whoever took it meanwhile."""
    if read is None or path != BURST_LEASE_PATH:
        return _save_document(services, path, read, fields)
    services.store.commit([Update(path=path, fields=fields)])
    return services.store.get([path])[0]


def publish_for_one_run(self: Any, outcomes: Sequence[tuple[str, Outcome]]) -> None:
    """Take the outcomes of a page for those of its first run."""
    run_id = outcomes[0][0] if outcomes else ""
    _publish(self, [(run_id, outcome) for _, outcome in outcomes])


def audit_some(services: Services, end: StoredStep) -> Any:
    """Audit every other run, and record the rest as audited."""
    if crc32(end.step.run_id.encode()) % 2:
        return _audit(services, end)
    _set_next_audit(Outbox(services), end, None)
    return 0


def put_off_for_ever(step: StepRecord, **named: Any) -> StepChange:
    """Never look at a job again after a status call that failed."""
    change = _poll_failed(step, **named)
    return replace(change, fields={**change.fields, "due_at": None})


def unanswered_in_between(step: StepRecord, **named: Any) -> StepChange:
    """Take a job for unknown all along, though calls failed in between."""
    change = _poll_failed(step, **named)
    return replace(change, fields={name: value for name, value in change.fields.items() if name != "missing_since"})


def poll_in_time_only(services: Services, step: StepRecord) -> StepChange | Outcome | None:
    """Time a job out when its time is over, without polling it."""
    deadline = step.attempt_deadline
    if deadline is None or services.clock.now() < deadline:
        return _ask(services, step)
    return Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.TIMED_OUT, job_id=step.job_id)


def load_round_of_burst(services: Services) -> Round:
    """Begin a new round with each burst."""
    current = _load_round(services)
    is_old = current.page is not None and services.clock.now() - current.page.until >= services.settings.burst
    return replace(current, page=None) if is_old else current


def not_accepted(_self: object) -> RequestNotAccepted:
    """Take a submission whose answer was lost for not accepted."""
    return RequestNotAccepted("the answer was lost")


# -- repairs ---------------------------------------------------------------------------------------------------------


def miscount_what_remains(step: StepRecord, steps: Mapping[str, StepRecord]) -> Finding | None:
    """Repair one of the two counters."""
    found = _check_counters(step, steps)
    if found is None:
        return None
    return replace(found, fields={name: value for name, value in found.fields.items() if name != "unsuccessful"})


def reset_for_what_is_there(outbox: Outbox, stored: StoredStep, succeeded: set[str], run: RunRecord) -> Decision:
    """Wait for none but the steps that are there."""
    there = {step.step.id for step in load_steps(outbox.services, run.id, stored.step.depends_on)}
    return _reset(outbox, stored, succeeded | set(stored.step.depends_on) - there, run)


def kept(*_arguments: object) -> bool:
    """Say that there is a dead letter."""
    return True


def nameless_letter(event: GivenUp) -> Message:
    """Build a dead letter that does not say which event it was."""
    return _dead_letter_message(replace(event, event_id="m0"))


# -- starts ----------------------------------------------------------------------------------------------------------


def open_without_definition(run: RunRecord, creates: Sequence[Create], text: bytes, path: str) -> list[Create]:
    """Begin a large run without the definition that it needs later."""
    return [write for write in _opening(run, creates, text, path) if not write.path.endswith("/text")]


def open_without_end(run: RunRecord, creates: Sequence[Create], text: bytes, path: str) -> list[Create]:
    """Begin a large run without what the checker finds it by."""
    writes = _opening(run, creates, text, path)
    end = next(write for write in writes if write.path.endswith(f"/{END_ID}"))
    unwatched = replace(end, fields={name: value for name, value in end.fields.items() if name != "due_at"})
    return [unwatched if write is end else write for write in writes]


def run_for_each_message(services: Services, event: StartRequested) -> RunRecord:
    """Make a run for each message, whatever key it has."""
    run = _new_run(services, event)
    return replace(run, id=run_id_for(event.workflow_path, str(event.trigger["event_id"])))
