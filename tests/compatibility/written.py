"""One of each event and document that this version writes, with every field set, and the files that hold them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from atom_workflows.core.groups import group_of
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.core.records import Loop, Policies, RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.schedules import Entry, FileSchedules, Firing, Watch
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.user_changes import UserChange
from atom_workflows.core.workflow import (
    Backoff,
    CatchUp,
    Concurrency,
    Condition,
    Deadline,
    OnLost,
    RetryPolicy,
    Template,
    Trigger,
    WhenFull,
)
from atom_workflows.documents import outputs_path, run_path, step_path
from atom_workflows.expressions.types import read_type
from atom_workflows.messages.internal import (
    ReadyStep,
    RunCommand,
    StepsCompleted,
    StepsReady,
    SweepPage,
    Tick,
    command_message,
    completed_messages,
    page_message,
    read_steps_event,
    read_tick_event,
    ready_messages,
    seed_message,
    tick_message,
)
from atom_workflows.messages.start import RunSeedRequested, StartRequested, read_start_event, scheduled_start_message
from atom_workflows.ports import Document, Fields, Message
from atom_workflows.run_documents import run_fields, run_record
from atom_workflows.schedule_documents import read_tick, tick_fields, tick_path
from atom_workflows.step_documents import outputs_fields, read_outputs, step_fields, step_record

GOLDEN: Final = {path.stem: path for path in Path(__file__).parent.glob("schema_*/*.json")}
NOW: Final = datetime(2026, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
LATER: Final = NOW + timedelta(hours=1)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")

OUTCOME: Final = Outcome(
    step_id="extract",
    attempt=2,
    kind=OutcomeKind.FAILED,
    message="disk full",
    job_id="j-1",
    job_state="FAILED",
    missing_since=NOW,
)
RETURNED: Final = replace(
    OUTCOME, kind=OutcomeKind.SUCCEEDED, missing_since=None, reason="CACHED", outputs='{"rows":12,"note":"größe"}'
)
REFUSED_OUTPUTS: Final = replace(RETURNED, step_id="load", outputs="", outputs_problem="its outputs are too large")
PAGE: Final = SweepPage(after=(NOW, "runs/flow-1/steps/extract"), until=NOW)
PAGE_OF_ITEMS: Final = SweepPage(after=(NOW, "runs/flow-1/steps/load[7]~2"), until=NOW)
POLICIES: Final = Policies(
    timeout=timedelta(hours=2),
    retry=RetryPolicy(
        max_attempts=4,
        backoff=Backoff(initial=timedelta(seconds=5), factor=3, maximum=timedelta(minutes=9), jitter=0.5),
    ),
    on_lost=OnLost.FAIL,
)
STEP: Final = StepRecord(
    run_id="flow-1",
    id="load",
    kind=NodeKind.JOB,
    request={"job_name": "load", "imageUri": "image", "args": [["a"], {"b": 1}]},
    task_runner_url="https://runner.test",
    depends_on=("extract",),
    dependents=("report", "~1"),
    barriers=("~1",),
    policies=POLICIES,
    remaining=1,
    hands_over_to="report",
    unsuccessful=1,
    cause="extract",
    state=StepState.RUNNING,
    attempt=3,
    first_attempt=2,
    losses=1,
    deferrals=2,
    unanswered=3,
    answered=True,
    unsure_attempt=3,
    retries=1,
    attempts='{"number":2,"kind":"failed","claimed_at":"2026-01-01T12:30:00.250+00:00","message":"disk full"}',
    job_id="j-2",
    job_state="QUEUED",
    message="waits",
    due_at=NOW,
    missing_since=NOW,
    unheard_since=NOW,
    claimed_at=NOW,
    submitted_at=LATER,
    running_at=LATER,
    started_at=NOW,
    finished_at=LATER,
    expire_at=LATER,
)
MARKED_STEP: Final = replace(
    STEP,
    mark={
        "state": "SKIPPED",
        "at": NOW,
        "actor": "ana@example.com",
        "why": "not on Sundays",
        "retries": 1,
    },
)
PLAIN_STEP: Final = StepRecord(
    run_id="flow-1",
    id="~end",
    kind=NodeKind.END,
    request=None,
    task_runner_url="",
    depends_on=("load",),
    dependents=(),
    barriers=(),
    policies=step_record(
        Document(path="runs/r/steps/s", fields={"state": "PENDING", "remaining": 0}, version=0)
    ).policies,
    remaining=1,
)
FORWARDING_STEP: Final = replace(STEP, schema=2, skipped=1, total=3, stained=1)
RUN: Final = RunRecord(
    id="flow-1",
    workflow="flow",
    state=RunState.RUNNING,
    created_at=NOW,
    description="nightly",
    task_runner_url="https://runner.test",
    source={"path": "gs://flows/workflows/flow.yaml", "generation": "12"},
    trigger={"kind": "upload", "event_id": "1"},
    params={"matrix": [[1], [2]]},
    labels={"team": "ml"},
    digest="abc",
    step_count=2,
    retries=1,
    stop=Stop(kind=StopKind.CANCEL, reason="asked", requested_at=NOW),
    errors=({"step": "extract", "message": "disk full"},),
    timeout=timedelta(hours=3),
    started_at=NOW,
    finished_at=LATER,
    deadline=LATER,
    expire_at=LATER,
    reopened_at=NOW,
    changes=(
        UserChange(at=NOW, actor="ana@example.com", what="retry"),
        UserChange(at=NOW, actor="bob@laptop", what="cancel --now", why="asked"),
    ),
)
FORWARDING_RUN: Final = replace(RUN, schema=2)
LANGUAGE_STEP: Final = replace(
    FORWARDING_STEP,
    schema=3,
    request={"job_name": "load", "imageUri": "image", "args": {"day": None, "rows": None}},
    policies=replace(POLICIES, retry=replace(POLICIES.retry, when=Condition(text="failure.reason == 'OOM'", line=9))),
    templates=(
        Template(path=("args", "day"), text="${{ params.day }}", line=7, column=14),
        Template(path=("args", "rows"), text="${{ steps.extract.outputs.rows ?? 0 }}", line=8, column=15),
    ),
    constants={"values": {"params": {"day": "2026-01-01"}}, "types": {"params": {"day": "date"}}, "zone": "Asia/Tokyo"},
    outputs={"rows": read_type("int"), "files": read_type(["gsUri"]), "note": read_type("text or null")},
    trigger=Trigger.ANY_FAILED,
    when=Condition(text="params.day > '2026-01-01'", line=6, column=11),
    allow_failure=True,
    phase=Phase.FINALLY,
    conditional=("report",),
    by_choice=True,
    tolerated=True,
    because="`params.day > '2026-01-01'` was true",
    reason="OOM",
    sent='{"job_name":"load"}',
    last_kind="failed",
    last_reason="PREEMPTED",
)
LANGUAGE_RUN: Final = replace(
    RUN,
    schema=3,
    params={"day": "2026-01-01"},
    defaulted=("day",),
    env={"stage": "test"},
    finally_timeout=timedelta(hours=2),
    main_state=RunState.FAILED,
    main_errors=({"step": None, "message": "its timeout expired"},),
    failure_count=2,
    failures=({"step": "extract", "kind": "failed", "reason": "OOM", "message": "größe"},),
    output_templates=(Template(path=("rows",), text="${{ steps.load.outputs.rows }}", line=20, column=12),),
    constants={"values": {"env": {"stage": "test"}}, "types": {"env": {"stage": "text"}}},
    outputs={"rows": 12},
)
EXPANDER: Final = replace(
    LANGUAGE_STEP,
    id="~each.load",
    kind=NodeKind.EXPAND,
    schema=4,
    policies=PLAIN_STEP.policies,
    outputs={},
    phase=Phase.MAIN,
    allow_failure=False,
    dependents=("~out.load~2.0", "load"),
    barriers=("~out.load~2.0",),
    conditional=("load",),
    each="load",
    expansion=2,
    loop=Loop(
        lists={"day": Template(path=("forEach", "day"), text="${{ params.days }}", line=5, column=9), "n": [1, [2]]},
        item_type={"day": "date", "n": "any"},
        policies=LANGUAGE_STEP.policies,
        max_parallel=Template(path=("maxParallel",), text="${{ params.most }}", line=6, column=9),
        when=Condition(text="item.n != null", line=7, column=11),
        outputs=LANGUAGE_STEP.outputs,
    ),
    items=400,
    written=417,
    counted=400,
    problem="`forEach` must be a list",
)
ITEM: Final = replace(
    LANGUAGE_STEP,
    id="load[7]~2",
    kind=NodeKind.ITEM,
    schema=4,
    each="load",
    expansion=2,
    index=7,
    item='{"day":"2026-01-01","n":1}',
    item_type='{"day":"date","n":"any"}',
)
GATHER: Final = replace(
    LANGUAGE_STEP,
    kind=NodeKind.GATHER,
    schema=4,
    request=None,
    policies=PLAIN_STEP.policies,
    templates=(),
    outputs={"rows": read_type(["int or null"])},
    each="load",
    items=400,
    tolerate=3,
)
LOOP_RUN: Final = replace(LANGUAGE_RUN, schema=4, item_count=400)
QUEUED_RUN: Final = replace(
    LANGUAGE_RUN,
    schema=4,
    state=RunState.QUEUED,
    group=group_of(
        "gs://flows/workflows/flow.yaml", "eu", Concurrency(limit=3, when_full=WhenFull.LATEST, max_queued=7)
    ),
    queued_at=NOW,
    admitted_at=LATER,
    no_queue=True,
    because="replaced by flow-2",
)
VALUES: Final = {"rows": 12, "files": ["gs://b/größe"], "note": None}
"""The outputs of a step."""


def _outputs(document: Document) -> object:
    return read_outputs(document, zone="UTC")


SCHEDULES: Final = FileSchedules(
    path="gs://bucket/workflows/flow.yaml",
    generation=1_700_000_000_000_000,
    zone="Europe/Paris",
    entries=(
        Entry(
            id="5b1f",
            cron="30 2 * * *",
            params={"mode": "full"},
            templates={"day": "${{ day(run.scheduledAt) }}"},
            catch_up=CatchUp.NONE,
            within=timedelta(hours=12),
            after=datetime(2026, 3, 29, 1, 0, 7, tzinfo=UTC),
        ),
    ),
    deadline=Deadline(at=time(6)),
    registered_at=datetime(2026, 3, 1, tzinfo=UTC),
    paused_at=datetime(2026, 3, 29, 1, 0, 9, tzinfo=UTC),
    changes=(UserChange(at=datetime(2026, 3, 29, 1, 0, 9, tzinfo=UTC), actor="ana@example.com", what="pause"),),
    firing=(
        Firing(
            schedule_id="5b1f",
            cron="30 2 * * *",
            params={"mode": "full"},
            templates={"day": "${{ day(run.scheduledAt) }}"},
            at=datetime(2026, 3, 29, 1, tzinfo=UTC),
            window_start=datetime(2026, 3, 28, 1, tzinfo=UTC),
        ),
    ),
    watches=(
        Watch(
            run_id="flow-1",
            at=datetime(2026, 3, 28, 1, tzinfo=UTC),
            late_at=datetime(2026, 3, 28, 5, tzinfo=UTC),
        ),
    ),
)

COMMAND: Final = RunCommand(
    run_id="flow-1",
    command="retry",
    retries=2,
    actor="ana@example.com",
    reason="the input is fixed",
    first=("extract",),
    only=("load[3]",),
    failed=True,
)

MARK: Final = RunCommand(
    run_id="flow-1",
    command="mark",
    retries=2,
    actor="ana@example.com",
    reason="loaded by hand",
    step="load[3]",
    state="succeeded",
    outputs='{"rows":12}',
)

MESSAGES: Final[Mapping[str, tuple[Message, Callable[[Any], object], object]]] = {
    "steps-step.ready": (
        ready_messages("flow-1", [ReadyStep(step_id="extract"), ReadyStep(step_id="load", attempt=2)])[0],
        read_steps_event,
        StepsReady(run_id="flow-1", steps=(ReadyStep(step_id="extract"), ReadyStep(step_id="load", attempt=2))),
    ),
    "steps-steps.completed": (
        completed_messages("flow-1", [OUTCOME])[0],
        read_steps_event,
        StepsCompleted(run_id="flow-1", outcomes=(OUTCOME,)),
    ),
    "steps-steps.completed-outputs": (
        completed_messages("flow-1", [RETURNED, REFUSED_OUTPUTS])[0],
        read_steps_event,
        StepsCompleted(run_id="flow-1", outcomes=(RETURNED, REFUSED_OUTPUTS)),
    ),
    "steps-step.ready-items": (
        ready_messages("flow-1", [ReadyStep(step_id="load[7]~2", attempt=2), ReadyStep(step_id="load[0]")])[0],
        read_steps_event,
        StepsReady(run_id="flow-1", steps=(ReadyStep(step_id="load[7]~2", attempt=2), ReadyStep(step_id="load[0]"))),
    ),
    "steps-steps.completed-items": (
        completed_messages("flow-1", [replace(OUTCOME, step_id="load[7]~2")])[0],
        read_steps_event,
        StepsCompleted(run_id="flow-1", outcomes=(replace(OUTCOME, step_id="load[7]~2"),)),
    ),
    "steps-run.command": (command_message(COMMAND), read_steps_event, COMMAND),
    "steps-run.command-mark": (command_message(MARK), read_steps_event, MARK),
    "tick-sweep.page-items": (page_message(PAGE_OF_ITEMS), read_tick_event, PAGE_OF_ITEMS),
    "tick-tick": (tick_message("dispatcher"), read_tick_event, Tick(is_scheduled=False)),
    "tick-sweep.page": (page_message(PAGE), read_tick_event, PAGE),
    "start-run.seed": (
        seed_message("flow-1"),
        lambda body: read_start_event(body, event_id="1"),
        RunSeedRequested(run_id="flow-1"),
    ),
    "start-run.scheduled": (
        scheduled_start_message(SCHEDULES.path, SCHEDULES.firing[0]),
        lambda body: read_start_event(body, event_id="1"),
        StartRequested(
            key=("schedule", "5b1f", "2026-03-29T01:00:00+00:00"),
            workflow_path=SCHEDULES.path,
            params={"mode": "full"},
            templates={"day": "${{ day(run.scheduledAt) }}"},
            scheduled_at=datetime(2026, 3, 29, 1, tzinfo=UTC),
            window_start=datetime(2026, 3, 28, 1, tzinfo=UTC),
            trigger={"kind": "schedule", "event_id": "1", "schedule": "5b1f", "cron": "30 2 * * *"},
        ),
    ),
}
"""Each event between the functions: as it is written, and what is read of it."""

DOCUMENTS: Final[Mapping[str, tuple[str, Fields, Callable[[Document], object], object]]] = {
    "step": (step_path("flow-1", "load"), step_fields(STEP), step_record, STEP),
    "step-marked": (step_path("flow-1", "load"), step_fields(MARKED_STEP), step_record, MARKED_STEP),
    "step-plain": (step_path("flow-1", "~end"), step_fields(PLAIN_STEP), step_record, PLAIN_STEP),
    "run": (run_path("flow-1"), run_fields(RUN), run_record, RUN),
    "step-forwarding": (step_path("flow-1", "load"), step_fields(FORWARDING_STEP), step_record, FORWARDING_STEP),
    "run-forwarding": (run_path("flow-1"), run_fields(FORWARDING_RUN), run_record, FORWARDING_RUN),
    "step-language": (step_path("flow-1", "load"), step_fields(LANGUAGE_STEP), step_record, LANGUAGE_STEP),
    "run-language": (run_path("flow-1"), run_fields(LANGUAGE_RUN), run_record, LANGUAGE_RUN),
    "step-expander": (step_path("flow-1", "~each.load"), step_fields(EXPANDER), step_record, EXPANDER),
    "step-item": (step_path("flow-1", "load[7]~2"), step_fields(ITEM), step_record, ITEM),
    "step-gather": (step_path("flow-1", "load"), step_fields(GATHER), step_record, GATHER),
    "run-loops": (run_path("flow-1"), run_fields(LOOP_RUN), run_record, LOOP_RUN),
    "run-queued": (run_path("flow-1"), run_fields(QUEUED_RUN), run_record, QUEUED_RUN),
    "outputs": (outputs_path("flow-1", "load"), outputs_fields(LANGUAGE_STEP, VALUES), _outputs, VALUES),
    "outputs-void": (outputs_path("flow-1", "load"), outputs_fields(LANGUAGE_STEP, {}), _outputs, None),
    "schedules": (tick_path(SCHEDULES.id), tick_fields(SCHEDULES), read_tick, SCHEDULES),
}
"""Each document: where it stands, as it is written, and what is read of it."""

EARLIER: Final[Mapping[str, tuple[str, StepRecord]]] = {
    "step-without-kind": (step_path("flow-1", "load"), replace(STEP, attempts="", submitted_at=None, running_at=None)),
    "step-plain-without-kind": (step_path("flow-1", "~end"), PLAIN_STEP),
}
"""Documents as earlier versions wrote them: where each stands, and what is read of it."""


RUNS: Final = ("plain-run-begun", "plain-run-ended")
"""All documents of the run in plain_runs.py, as the last version without expressions wrote them."""


def golden(name: str) -> Any:
    """Return a file's content, with times read as times."""
    return _with_times(json.loads(GOLDEN[name].read_text()))


def as_golden(value: Any) -> str:
    """Return the text that a file would hold."""
    return json.dumps(value, indent=2, sort_keys=True, default=datetime.isoformat, ensure_ascii=False) + "\n"


def _with_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_times(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_times(one) for one in value]
    is_time = isinstance(value, str) and _TIME.fullmatch(value)
    return datetime.fromisoformat(value) if is_time else value
