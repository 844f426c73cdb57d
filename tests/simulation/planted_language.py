"""Bugs on purpose in conditions, outputs, tolerated failures, steps under `finally`, and what a retry makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from atom_workflows.core import evaluation, rerun
from atom_workflows.core.evaluation import Scope, Verdict
from atom_workflows.core.graph import END_ID, MAIN_END_ID, is_internal
from atom_workflows.core.kinds import Phase
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Condition
from atom_workflows.errors import StoreError
from atom_workflows.ports import Create, Document, JobAnswer, Message, Update, Upsert, Write, WriteResult
from simulation.planting import (
    Scene,
    StoreBeside,
    TaskRunnerBeside,
    changes_step,
    commits,
    count_otherwise,
    fields_of,
    id_of,
    is_reset,
    messages,
    read_as,
    reads,
    sets,
    stores,
    task_runners,
    without,
    writes,
)

# What is replaced here, as it was.
_evaluate_condition = evaluation.evaluate_condition
_steps_to_rerun = rerun.steps_to_rerun


# -- conditions and triggers -----------------------------------------------------------------------------------------


@writes
def without_conditions(_scene: Scene, write: Write) -> Write:
    """Begin a run without the conditions of its steps."""
    return without(write, "when") if isinstance(write, Create) else write


@writes
def without_triggers(_scene: Scene, write: Write) -> Write:
    """Begin a run without the triggers of its steps."""
    return without(write, "trigger") if isinstance(write, Create) else write


@writes
def without_constants(_scene: Scene, write: Write) -> Write:
    """Begin a run without the values that its expressions read."""
    return without(write, "constants") if isinstance(write, Create) and "/steps/" in write.path else write


def false_without_an_answer(condition: Condition, scope: Scope, *, zone: str, name: str = "when") -> Verdict:
    """Take a condition that cannot be evaluated for false."""
    verdict = _evaluate_condition(condition, scope, zone=zone, name=name)
    return Verdict(because=verdict.error) if verdict.error else verdict


def decide_otherwise(condition: Condition, scope: Scope, *, zone: str, name: str = "when") -> Verdict:
    """Decide otherwise when a step that was tried before is decided again."""
    verdict = _evaluate_condition(condition, scope, zone=zone, name=name)
    return verdict._replace(holds=not verdict.holds) if scope["step"]["attempt"] else verdict


# -- outputs ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _LostWhenRepeated(StoreBeside):
    has_failed: bool = False

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        kept = [write for write in writes if not (self.has_failed and _is_outputs(write))]
        try:
            results = iter(self.inner.commit(kept))
        except StoreError:
            self.has_failed = True
            raise
        return [next(results) if any(write is one for one in kept) else WriteResult(version=None) for write in writes]


lose_outputs_when_repeated = stores(_LostWhenRepeated)
"""Repeat a commit that was refused, or what it decides, without the outputs."""


@dataclass(slots=True)
class _OutputsAfterwards(StoreBeside):
    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        first = [write for write in writes if not _is_outputs(write)]
        if not first or len(first) == len(writes):
            return self.inner.commit(writes)
        done = iter(self.inner.commit(first))
        after = iter(self.inner.commit([write for write in writes if _is_outputs(write)]))
        return [next(after if _is_outputs(write) else done) for write in writes]


outputs_afterwards = stores(_OutputsAfterwards)
"""Commit the states first, and then the outputs."""


@writes
def keep_outputs_of_before(_scene: Scene, write: Write) -> Write | None:
    """Leave the outputs of the earlier round."""
    return None if _is_outputs(write) and isinstance(write, Upsert) and write.fields.get("values") == "" else write


@messages
def lose_outputs_of_pages(_scene: Scene, message: Message) -> Message:
    """Report a job that was polled without its outputs."""
    if message.attributes.get("type") != "steps.completed":
        return message
    outcomes = [{name: one[name] for name in one if name != "outputs"} for one in message.body["outcomes"]]
    return replace(message, body={**message.body, "outcomes": outcomes})


def take_any_outputs(_step: StepRecord, _outputs: str, _problem: str) -> Mapping[str, Any]:
    """Take a job at its word, whatever it returned."""
    return {}


@writes
def lose_outputs_of_run(_scene: Scene, write: Write) -> Write:
    """Close a run without its outputs."""
    return without(write, "outputs") if isinstance(write, Update) and "/steps/" not in write.path else write


def _is_outputs(write: Write) -> bool:
    return "/outputs/" in write.path


# -- what is sent ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _ArgsAsText(TaskRunnerBeside):
    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        args = body.get("args")
        texts = {name: str(value) for name, value in args.items()} if isinstance(args, dict) else args
        return self.inner.submit(base_url, {**body, "args": texts}, idempotency_key=idempotency_key, timeout=timeout)


args_as_text = task_runners(_ArgsAsText)
"""Send numbers as texts."""


@writes
def forget_the_last_failure(_scene: Scene, write: Write) -> Write:
    """Do not remember how an attempt failed."""
    is_retried = sets(write, StepState.RETRYING)
    return without(write, "last_kind", "last_reason") if isinstance(write, Update) and is_retried else write


def retry_anyway(_step: StepRecord, **_failure: str) -> bool:
    """Try again whatever failed."""
    return True


# -- counting --------------------------------------------------------------------------------------------------------


def _is_end_of_barrier(_scene: Scene, write: Write) -> bool:
    ended = fields_of(write).get("state") in {StepState.SUCCEEDED.value, StepState.SKIPPED.value}
    return changes_step(write) and ended and is_internal(id_of(write.path)) and id_of(write.path) != MAIN_END_ID


def _is_tolerated(_scene: Scene, write: Write) -> bool:
    return fields_of(write).get("tolerated") is True


def _ran_after_a_skip(scene: Scene, write: Write) -> bool:
    stored = scene.stored(write.path)
    return sets(write, StepState.SUCCEEDED) and bool(stored.get("skipped")) and not is_internal(id_of(write.path))


barriers_forget_failures = count_otherwise("unsuccessful", _is_end_of_barrier, lambda _: 0)
"""Let an internal barrier forget failures above it."""

barriers_forget_skips = count_otherwise("skipped", _is_end_of_barrier, lambda _: 0)
"""Let an internal barrier forget steps above it that were skipped by choice."""

tolerated_is_failure = count_otherwise("unsuccessful", _is_tolerated, lambda count: count + 1)
"""Count a tolerated failure as one."""

skip_over_what_ran = count_otherwise("skipped", _ran_after_a_skip, lambda count: count + 1)
"""Let a skip reach past a step that ran."""


@writes
def tolerate_everything(_scene: Scene, write: Write) -> Write:
    """Let every step fail."""
    if isinstance(write, Create) and write.fields.get("task") and write.fields["schema"] > 2:
        return replace(write, fields={**write.fields, "allow_failure": True})
    return write


# -- the verdict -----------------------------------------------------------------------------------------------------


@reads
def forget_the_stain(_scene: Scene, document: Document) -> Document:
    """Let a run succeed if some step reacted to its failure."""
    is_end = document.id in {END_ID, MAIN_END_ID} and document.fields.get("stained")
    return read_as(document, stained=0) if is_end else document


@reads
def pass_over_the_last_steps(scene: Scene, document: Document) -> Document:
    """Let a run succeed though a step under `finally` failed."""
    is_end = document.id == END_ID and scene.run_of(document.path).get("main_state") == RunState.SUCCEEDED.value
    return read_as(document, unsuccessful=0, stained=0) if is_end else document


@reads
def hide_the_first_cause(_scene: Scene, document: Document) -> Document:
    """Take the end of the steps under `finally` for the end of all."""
    has_failed = document.fields.get("main_state") == RunState.FAILED.value
    return read_as(document, main_state=RunState.SUCCEEDED.value) if has_failed else document


# -- finally ---------------------------------------------------------------------------------------------------------


@commits
def end_main_twice(_scene: Scene, together: Sequence[Write]) -> list[Write]:
    """Begin the steps under `finally` whoever began them meanwhile."""
    ends_main = any("main_state" in fields_of(write) and write.fields["main_state"] for write in together)
    return [replace(write, guard=None) if ends_main and isinstance(write, Update) else write for write in together]


@dataclass(slots=True)
class _MainEndsWithAnyLeaf(StoreBeside):
    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        found = self.inner.get(paths, fields=fields)
        return [read_as(one, remaining=0) if one is not None and one.id == MAIN_END_ID else one for one in found]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        return [
            replace(result, increments={**result.increments, "remaining": 0})
            if id_of(write.path) == MAIN_END_ID and result.increments
            else result
            for write, result in zip(writes, self.inner.commit(writes), strict=True)
        ]


main_ends_early = stores(_MainEndsWithAnyLeaf)
"""Begin the steps under `finally` when the first leaf has ended."""


@reads
def no_finally_after_a_stop(_scene: Scene, document: Document) -> Document:
    """Leave the steps under `finally` out if the run is stopped."""
    if not document.fields.get("stop"):
        return document
    left = {name: value for name, value in document.fields.items() if name != "finally_timeout_s"}
    return document._replace(fields=left)


@reads
def stop_ends_finally_too(_scene: Scene, document: Document) -> Document:
    """End the steps under `finally` with the others."""
    return read_as(document, phase=Phase.MAIN.value) if "phase" in document.fields else document


@writes
def no_time_for_finally(_scene: Scene, write: Write) -> Write:
    """Leave the steps under `finally` what is left of the run's time."""
    return without(write, "deadline") if isinstance(write, Update) and fields_of(write).get("main_state") else write


@commits
def finally_of_nothing(_scene: Scene, together: Sequence[Write]) -> list[Write]:
    """Run the steps under `finally` though no step was started."""
    if not any(id_of(write.path) == MAIN_END_ID and fields_of(write).get("by_choice") for write in together):
        return list(together)
    return [
        replace(write, increments={**write.increments, "skipped": 0})
        if isinstance(write, Update) and write.increments.get("skipped")
        else write
        for write in together
    ]


# -- retries of a run ------------------------------------------------------------------------------------------------


def rerun_failures_alone(steps: Mapping[str, StepRecord], *, retries: int) -> set[str]:
    """Keep the steps that reacted to a failure."""
    return {
        name
        for name in _steps_to_rerun(steps, retries=retries)
        if steps[name].phase is Phase.FINALLY or is_internal(name) or steps[name].state is not StepState.SUCCEEDED
    }


def keep_finally(steps: Mapping[str, StepRecord], *, retries: int) -> set[str]:
    """Keep the steps under `finally` that succeeded."""
    return {
        name
        for name in _steps_to_rerun(steps, retries=retries)
        if steps[name].phase is Phase.MAIN or is_internal(name) or steps[name].state is not StepState.SUCCEEDED
    }


def rerun_skips(steps: Mapping[str, StepRecord], *, retries: int) -> set[str]:
    """Decide steps again that were skipped by choice."""
    skipped = {name for name, step in steps.items() if step.by_choice and not is_internal(name)}
    return _steps_to_rerun(steps, retries=retries) | skipped


@writes
def reset_remembers(_scene: Scene, write: Write) -> Write:
    """Reset a step and leave how it ended."""
    return without(write, "tolerated", "by_choice", "because") if is_reset(write) else write
