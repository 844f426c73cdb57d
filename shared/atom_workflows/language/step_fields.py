"""The fields of a step, of its task and of its policies.

As in fields.py, this is the only place that defines them, the values they allow and what they mean.
"""

from __future__ import annotations

from typing import Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.run_ids import plain_word
from atom_workflows.core.workflow import (
    DEFAULT_SCALE_TIER,
    DEFAULT_STEP_TIMEOUT,
    Backoff,
    OnLost,
    RetryPolicy,
    Trigger,
)
from atom_workflows.language import limits, other_systems
from atom_workflows.language.kinds import (
    Arguments,
    Choice,
    Condition,
    Duration,
    Field,
    Flag,
    ItemLists,
    Number,
    Record,
    Text,
    TextList,
    TextMap,
    TypeMap,
)

_BACKOFF: Final = Backoff()
LINE: Final = Text(max_length=limits.MAX_TEXT)
_TASK_TEXT: Final = Text(max_length=limits.MAX_TEXT, expressions=True)
_LABEL: Final = Text(max_length=limits.MAX_LABEL, min_length=0, expressions=True)
DESCRIPTION: Final = Text(max_length=limits.MAX_DESCRIPTION, min_length=0, multiline=True)

VALUE_NAME: Final = Text(
    max_length=limits.MAX_ID,
    pattern=rf"^[A-Za-z_][A-Za-z0-9_-]{{0,{limits.MAX_ID - 1}}}$",
    forbidden="^.*-$",
    rule="letters, digits, `_` and `-`, not starting with a digit or `-`, and not ending with `-`",
    when_empty="write a name",
    respell=lambda text: plain_word(text).replace(".", "-").strip("_-"),
)
"""The name of a parameter or an output, which is written after a dot in expressions."""

STEP_ID: Final = Text(
    max_length=limits.MAX_ID,
    pattern=rf"^[A-Za-z0-9_][A-Za-z0-9._-]{{0,{limits.MAX_ID - 1}}}$",
    forbidden="^__.*__$",
    rule="letters, digits, `_`, `.` and `-`, not starting with `.` or `-`, and not starting and ending with `__`",
    when_empty="write an id",
    respell=lambda text: plain_word(text).strip("_-"),
    display=" and put the human-readable name in `description`",
)

BACKOFF: Final = Record(
    title="Back-off",
    main="initial",
    foreign=other_systems.BACKOFF_FIELDS,
    fields=(
        Field(
            name="initial",
            kind=Duration(maximum=limits.MAX_BACKOFF),
            description=(
                "The minimum delay before the second attempt, which begins at the next check after the delay; see "
                "[back-off](#back-off)."
            ),
            default=format_duration(_BACKOFF.initial),
            examples=("30s",),
        ),
        Field(
            name="factor",
            kind=Number(minimum=1, maximum=limits.MAX_FACTOR),
            description="The number by which the delay is multiplied after each further attempt.",
            default=_BACKOFF.factor,
            examples=(1.5,),
        ),
        Field(
            name="max",
            kind=Duration(maximum=limits.MAX_BACKOFF),
            description="The longest delay; must not be shorter than `initial`.",
            default=format_duration(_BACKOFF.maximum),
            examples=("1h",),
        ),
        Field(
            name="jitter",
            kind=Number(minimum=0, maximum=1),
            description=(
                "The fraction of the delay that may be subtracted at random, so that steps do not all retry at once."
            ),
            default=_BACKOFF.jitter,
            examples=(0.2,),
        ),
    ),
)

RETRY: Final = Record(
    title="Retry policy",
    main="maxAttempts",
    main_note=", which includes the first attempt",
    foreign=other_systems.RETRY_FIELDS,
    advice=other_systems.RETRY_ADVICE,
    fields=(
        Field(
            name="maxAttempts",
            kind=Number(minimum=1, maximum=limits.MAX_ATTEMPTS, whole=True),
            description=(
                "The maximum number of attempts, including the first; 1 means that a failure is final. An attempt "
                "whose job the Task Runner loses does not count."
            ),
            default=RetryPolicy().max_attempts,
            examples=(3,),
        ),
        Field(
            name="when",
            kind=Condition(),
            description=(
                "A condition that decides which failures are retried; it may use `failure.kind`, `failure.reason`, "
                "`failure.message`, `failure.attempt` and `step`. It applies to failures of every kind, so name the "
                "kinds as well: `failure.kind in ['failed', 'timeout'] and failure.reason != 'BAD_INPUT'`. Without it, "
                "failures of the kinds `failed`, `timeout` and `outputs` are retried."
            ),
            examples=("failure.kind == 'timeout' or failure.reason == 'OOM'",),
        ),
        Field(name="backoff", kind=BACKOFF, description="How long to wait before the next attempt."),
    ),
)

POLICIES: Final = (
    Field(
        name="timeout",
        kind=Duration(maximum=limits.MAX_TIMEOUT, positive=True),
        description=(
            "How long one attempt may take before it counts as failed. When the time is up, the job's status is "
            "checked once more, and the result of that check decides. A job that is still in progress is stopped, if "
            "its Task Runner can stop jobs; see [timeouts](#timeouts)."
        ),
        default=format_duration(DEFAULT_STEP_TIMEOUT),
        examples=("45m", "1h30m"),
    ),
    Field(name="retry", kind=RETRY, description="How many times, and after what delays, a failed step is retried."),
    Field(
        name="onLost",
        kind=Choice(words=tuple(OnLost)),
        description=(
            "What to do when it is not known whether a job is running: submit it again (but fail the step when this "
            "happens a third time), or fail the step at once. If a user then retries the run, a job that may still be "
            "running is found and stopped first, if its Task Runner can do that."
        ),
        default=OnLost.RETRY.value,
        examples=("fail",),
    ),
)

TASK: Final = Record(
    title="Task",
    main="imageUri",
    foreign=other_systems.TASK_FIELDS,
    advice=other_systems.TASK_ADVICE,
    any_of=("imageUri", "url"),
    # What to run may follow from the engine, such as a program of the machine on which the Task Runner is.
    or_all_of=("engine", "args"),
    when_empty="leave `task` out if the step is a barrier that runs nothing",
    fields=(
        Field(
            name="name",
            kind=Text(max_length=limits.MAX_NAME, expressions=True),
            description="The job's name on the Task Runner; defaults to the step's id.",
            examples=("load-sales",),
        ),
        Field(
            name="imageUri",
            kind=_TASK_TEXT,
            description="The container image to run.",
            examples=("europe-docker.pkg.dev/my-project/jobs/load:1.4",),
        ),
        Field(
            name="engine",
            kind=_TASK_TEXT,
            description=(
                "Where the Task Runner should run the job, in the Task Runner's own terms. With `--runner process`, "
                "the engine `process` runs `args` as a program."
            ),
            examples=("edge",),
        ),
        Field(
            name="url",
            kind=_TASK_TEXT,
            description="The service to call, for a task that is not a container.",
            examples=("https://train-ab12cd34-ew.a.run.app",),
        ),
        Field(
            name="scaleTier",
            kind=_TASK_TEXT,
            description="The size of the machines, in the Task Runner's own terms.",
            default=DEFAULT_SCALE_TIER,
            examples=("CUSTOM",),
        ),
        Field(
            name="masterType",
            kind=_TASK_TEXT,
            description="The main machine's type, for scale tiers that require one.",
            examples=("n1-highmem-8",),
        ),
        Field(
            name="args",
            kind=Arguments(),
            description="The task's arguments: a list or a map, sent as written except for its expressions.",
            examples=(["--date", "2024-05-01"], {"table": "sales", "full": True}),
        ),
        Field(
            name="labels",
            kind=TextMap(key=Text(max_length=limits.MAX_LABEL), value=_LABEL),
            description="Labels for the job; `workflow` and `type` are set for you.",
            examples=({"team": "sales"},),
        ),
    ),
)

STEP: Final = Record(
    title="Step",
    main="id",
    foreign=other_systems.STEP_FIELDS,
    advice=other_systems.STEP_ADVICE,
    fields=(
        Field(
            name="id",
            kind=STEP_ID,
            description="The step's name, unique within the workflow.",
            required=True,
            examples=("load-sales",),
        ),
        Field(
            name="description",
            kind=DESCRIPTION,
            description="What the step does, for human readers.",
            examples=("Load yesterday's sales.",),
        ),
        Field(
            name="dependsOn",
            kind=TextList(item=LINE),
            description=(
                "The ids of the steps that must have ended before this one starts; unless `trigger` says otherwise, "
                "none of them may fail. They may appear later in the file. A single id does not have to be in a list."
            ),
            examples=(["extract", "clean"], "extract"),
        ),
        Field(
            name="task",
            kind=TASK,
            description=(
                "What the Task Runner should run. Without it, the step is a barrier, which only waits for other steps."
            ),
        ),
        Field(
            name="trigger",
            kind=Choice(words=tuple(Trigger), foreign=other_systems.TRIGGERS),
            description="How the dependencies must have ended for the step to run; see [the table](#triggers).",
            default=Trigger.NO_FAILURE.value,
            examples=("all-succeeded",),
        ),
        Field(
            name="when",
            kind=Condition(),
            description=(
                "A condition that is evaluated once the trigger is satisfied. "
                "If it is false, the step is skipped by choice."
            ),
            examples=("params.mode == 'full'",),
        ),
        Field(
            name="allowFailure",
            kind=Flag(),
            description=(
                "If true, a failure of the step does not fail the run, and the steps that depend on it continue as if "
                "it had succeeded, but without its outputs."
            ),
            examples=(True,),
        ),
        Field(
            name="outputs",
            kind=TypeMap(key=VALUE_NAME, maximum=limits.MAX_OUTPUTS),
            description=(
                "The values that the step's job returns, each with its [type](#types). Later steps read them as "
                "`steps.ID.outputs.NAME`."
            ),
            examples=({"files": ["text"], "rows": "int"},),
        ),
        Field(
            name="forEach",
            kind=ItemLists(key=VALUE_NAME, maximum=limits.MAX_LISTS),
            description=(
                "The items to run the step for, with one job per item: a list, or a map of lists, in which case each "
                "combination of their entries is an item. The step's `task` and `when` read the current one as `item`; "
                "see [loops](#loops). `timeout` and `retry` apply to each item."
            ),
            examples=("${{ steps.list.outputs.files }}", ["eu", "us"], {"region": ["eu", "us"], "year": [2025, 2026]}),
        ),
        Field(
            name="maxParallel",
            kind=Number(minimum=1, maximum=limits.MAX_ITEMS, whole=True, expressions=True),
            description=(
                "How many items of `forEach` may run at the same time; without it, all of them may. The next item "
                "starts as soon as one ends. Once more items have failed than `tolerate` allows, no more start."
            ),
            examples=(20, "${{ params.shards }}"),
        ),
        Field(
            name="tolerate",
            kind=Number(minimum=0, maximum=limits.MAX_ITEMS, whole=True),
            description="How many items of `forEach` may fail without failing the step.",
            default=0,
            examples=(2,),
        ),
        *POLICIES,
    ),
)
