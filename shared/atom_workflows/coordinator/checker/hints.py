"""Handle a hint that a job has ended: poll the job once.

If the job has indeed ended, its outcome is published.

Nothing in a hint is trusted, so a hint can cost a status call but change nothing else.
"""

from __future__ import annotations

from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.checker.due_handler import poll
from atom_workflows.coordinator.commits import Decision, save_alone
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import apply_change
from atom_workflows.core.hints import LONGEST_WAIT, Verdict, judge_hint, take_hint
from atom_workflows.core.outcomes import Outcome
from atom_workflows.documents import step_path
from atom_workflows.errors import HintNotHandled
from atom_workflows.messages.internal import JobEnded, TickOrigin, completed_messages, seed_message, tick_message

_TRIES: Final = 3
_TOO_MANY: Final = "there are too many hints at the moment"


def handle_hint(services: Services, hint: JobEnded) -> None:
    """Handle a hint.

    Raises `HintNotHandled` if it should be delivered again later.
    """
    if not hint.idempotency_key:
        # Finding the step by its job's id would require an index that every step has to be written to.
        log.info(
            "hint.ignored", "a hint without an idempotency_key is ignored; its job will be polled in a few minutes"
        )
        return
    # In a flood, a hint is refused before it costs a read.
    if services.hint_limit.is_full(services.clock.now(), LONGEST_WAIT):
        raise HintNotHandled(_TOO_MANY)
    for _ in range(_TRIES):
        stored, verdict = _judge(services, hint.idempotency_key)
        if verdict is Verdict.COME_AGAIN:
            raise HintNotHandled("the dispatcher has not recorded the job yet")
        if stored is None or verdict is Verdict.IGNORE:
            log.debug("hint.ignored", f"the hint about {hint.idempotency_key} needs no action")
            return
        wait = services.hint_limit.reserve(services.clock.now(), LONGEST_WAIT)
        if wait is None:
            raise HintNotHandled(_TOO_MANY)
        if wait:
            services.clock.sleep(wait.total_seconds())
        if taken := _take(services, stored):
            _ask(services, taken)
            return
    raise HintNotHandled("the step keeps changing")


def _judge(services: Services, key: str) -> tuple[StoredStep | None, Verdict]:
    run_id, step_id, attempt = key.split("/")
    document = services.store.get([step_path(run_id, step_id)])[0]
    if document is None:
        return None, Verdict.IGNORE
    stored = StoredStep.without_task(document)
    return stored, judge_hint(stored.step, int(attempt), now=services.clock.now())


def _take(services: Services, stored: StoredStep) -> StoredStep | None:
    """Record that this instance is handling the hint.

    Returns None if the step has changed since it was read; a repeated hint may have changed it.
    """
    change = take_hint(stored.step, now=services.clock.now())
    # This is of no interest to anyone else, so nothing is reported.
    saved = save_alone(Outbox(services), [Decision(stored=stored, change=change)])
    if not saved.versions:
        return None
    return StoredStep(step=apply_change(stored.step, change), version=saved.versions[stored.step.id])


def _ask(services: Services, stored: StoredStep) -> None:
    outbox = Outbox(services)
    found = poll(services, services.breaker, stored.step)
    if isinstance(found, Outcome):
        outbox.add(completed_messages(stored.step.run_id, [found]))
    else:
        if found is not None:
            save_alone(outbox, [Decision(stored=stored, change=found)])
            if apply_change(stored.step, found).is_stop_over:
                # The run's end has waited for this job.
                outbox.add([seed_message(stored.step.run_id)])
        # The hint may have been early, so look again soon.
        if services.wake_limit.lets_through(services.clock.now()):
            outbox.add([tick_message(TickOrigin.CHECKER)])
    outbox.flush()
