"""The fields of a workflow file: the only place that defines them, the values they allow and what they mean."""

from __future__ import annotations

from typing import Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.run_ids import plain_word
from atom_workflows.core.workflow import (
    DEFAULT_FINALLY_TIMEOUT,
    DEFAULT_SCALE_TIER,
    DEFAULT_STEP_TIMEOUT,
    Backoff,
    CatchUp,
    Concurrency,
    OnLost,
    RetryPolicy,
    Schedule,
    Trigger,
    WhenFull,
)
from atom_workflows.language import limits, other_systems
from atom_workflows.language.kinds import (
    Anything,
    Arguments,
    Choice,
    Condition,
    Cron,
    Duration,
    ExpressionMap,
    Field,
    Flag,
    ItemLists,
    Number,
    ParamMap,
    ParamValues,
    Record,
    RecordList,
    Text,
    TextList,
    TextMap,
    TimeOfDay,
    TypeMap,
    TypeNotation,
    Zone,
)

_BACKOFF: Final = Backoff()
_CONCURRENCY: Final = Concurrency()
_LINE: Final = Text(max_length=limits.MAX_TEXT)
_TASK_TEXT: Final = Text(max_length=limits.MAX_TEXT, expressions=True)
_LABEL: Final = Text(max_length=limits.MAX_LABEL, min_length=0, expressions=True)
_DESCRIPTION: Final = Text(max_length=limits.MAX_DESCRIPTION, min_length=0, multiline=True)

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
    display=" and put the name for human readers in `description`",
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
                "The shortest delay before the second attempt, which begins with the next check after it; see "
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
    Field(name="retry", kind=RETRY, description="How often, and after what delays, a failed step is retried."),
    Field(
        name="onLost",
        kind=Choice(words=tuple(OnLost)),
        description=(
            "What to do when it is not known whether a job is running: submit it again (although the third loss fails "
            "the step), or fail the step at once. If a user then retries the run, a job that may still run is found "
            "and stopped first, if its Task Runner can do that."
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
                "`process` runs `args` as a program."
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

PARAM: Final = Record(
    title="Parameter",
    foreign=other_systems.PARAM_FIELDS,
    advice=other_systems.PARAM_ADVICE,
    when_empty="write its type, such as `{type: text}`",
    fields=(
        Field(
            name="type",
            kind=TypeNotation(),
            description="The [type](#types) of the value.",
            required=True,
            examples=("date", ["text"]),
        ),
        Field(
            name="default",
            kind=Anything(),
            description=(
                "The value that is used if none is given; a parameter without a default is required. The default may "
                "use `run` and the parameters above it. If the default is null, the type becomes `T or null`."
            ),
            examples=("${{ day(run.scheduledAt, -1) }}",),
        ),
        Field(
            name="description",
            kind=_DESCRIPTION,
            description="A description of the parameter for human readers.",
            examples=("Which day's sales.",),
        ),
        Field(name="enum", kind=Anything(), description="The only values allowed.", examples=(["eu", "us"],)),
        Field(
            name="min",
            kind=Anything(),
            description="The smallest number, date, time, instant or duration allowed.",
            examples=(1,),
        ),
        Field(
            name="max",
            kind=Anything(),
            description="The largest number, date, time, instant or duration allowed.",
            examples=(1000,),
        ),
        *(
            Field(
                name=name,
                kind=Number(minimum=0, maximum=limits.MAX_LENGTH, whole=True),
                description=description,
                examples=(50,),
            )
            for name, description in (
                ("minLength", "The minimum number of characters in the text."),
                ("maxLength", "The maximum number of characters in the text."),
                ("minItems", "The minimum number of items in the list."),
                ("maxItems", "The maximum number of items in the list."),
            )
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
            kind=_DESCRIPTION,
            description="What the step does, for human readers.",
            examples=("Load yesterday's sales.",),
        ),
        Field(
            name="dependsOn",
            kind=TextList(item=_LINE),
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
                "The items for which the step runs, one job for each: a list, or a map of lists, each combination of "
                "which is an item. The step's `task` and `when` read the current one as `item`; see [loops](#loops). "
                "`timeout` and `retry` apply to each item."
            ),
            examples=("${{ steps.list.outputs.files }}", ["eu", "us"], {"region": ["eu", "us"], "year": [2025, 2026]}),
        ),
        Field(
            name="maxParallel",
            kind=Number(minimum=1, maximum=limits.MAX_ITEMS, whole=True, expressions=True),
            description=(
                "How many items of `forEach` may run at the same time; without it, all of them may. An item begins as "
                "soon as another one ends. Once more have failed than `tolerate` allows, no others begin."
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

SCHEDULE: Final = Record(
    title="Schedule",
    main="cron",
    when_empty="write its times, such as `{cron: 30 2 * * *}`",
    foreign=other_systems.SCHEDULE_FIELDS,
    advice=other_systems.SCHEDULE_ADVICE,
    fields=(
        Field(
            name="cron",
            kind=Cron(),
            description=(
                "The times at which a run is started, in the workflow's `timezone`: minute, hour, day of the month, "
                "month and weekday. Put it in quotes if it begins with an asterisk."
            ),
            required=True,
            examples=("30 2 * * 1-5",),
        ),
        Field(
            name="params",
            kind=ParamValues(),
            description=(
                "The values of the run's [parameters](#parameters). Every parameter without a default must be set. "
                "Expressions may use `run`."
            ),
            examples=({"mode": "full"},),
        ),
        Field(
            name="catchUp",
            kind=Choice(words=tuple(CatchUp), foreign=other_systems.CATCH_UPS),
            description=(
                "What happens if runs could not be started in time because the platform was down: nothing, or the "
                "last one that was missed is started."
            ),
            default=CatchUp.LAST.value,
            examples=("none",),
        ),
        Field(
            name="within",
            kind=Duration(maximum=limits.MAX_WITHIN, positive=True),
            description="How late a run that was missed may still be started.",
            default=format_duration(Schedule(cron="").within),
            examples=("12h",),
        ),
    ),
)

DEADLINE: Final = Record(
    title="Deadline",
    main="after",
    when_empty='write `{after: 3h}` or `{at: "06:00"}`',
    foreign=other_systems.DEADLINE_FIELDS,
    any_of=("after", "at"),
    fields=(
        Field(
            name="after",
            kind=Duration(maximum=limits.MAX_TIMEOUT, positive=True),
            description="How long after its scheduled time the run should have ended.",
            examples=("3h",),
        ),
        Field(
            name="at",
            kind=TimeOfDay(),
            description="The time of day, in the workflow's `timezone`, by which the run should have ended.",
            examples=("06:00",),
        ),
    ),
)

CONCURRENCY: Final = Record(
    title="Concurrency",
    main="group",
    foreign=other_systems.CONCURRENCY_FIELDS,
    advice=other_systems.CONCURRENCY_ADVICE,
    fields=(
        Field(
            name="group",
            kind=Text(max_length=limits.MAX_GROUP, expressions=True),
            description=(
                "The runs that are counted together: those of this file with the same value. It may use `params`, "
                "`run` and `env`. Without it, all runs of the file are one group."
            ),
            examples=("${{ params.region }}",),
        ),
        Field(
            name="limit",
            kind=Number(minimum=1, maximum=limits.MAX_CONCURRENT_RUNS, whole=True),
            description="How many runs of the group may be at work at the same time.",
            default=_CONCURRENCY.limit,
            examples=(3,),
        ),
        Field(
            name="whenFull",
            kind=Choice(words=tuple(WhenFull), foreign=other_systems.WHEN_FULL),
            description=(
                "What happens to a new run while that many are at work: it waits in a `queue`, first in, first out; "
                "only the `latest` run waits, and replaces one that waits already; or the run is skipped (`skip`)."
            ),
            default=_CONCURRENCY.when_full.value,
            examples=("latest",),
        ),
        Field(
            name="maxQueued",
            kind=Number(minimum=1, maximum=limits.MAX_QUEUED_RUNS, whole=True),
            description="How many runs of the group may wait in the queue. Further runs are skipped.",
            default=_CONCURRENCY.max_queued,
            examples=(10,),
        ),
        Field(
            name="maxWait",
            kind=Duration(maximum=limits.MAX_QUEUE_WAIT, positive=True),
            description="How long a run may wait. After that, it is skipped.",
            default=format_duration(_CONCURRENCY.max_wait),
            examples=("2h",),
        ),
    ),
)

WORKFLOW: Final = Record(
    title="Workflow",
    foreign=other_systems.WORKFLOW_FIELDS,
    advice=other_systems.WORKFLOW_ADVICE,
    fields=(
        Field(
            name="name",
            kind=Text(max_length=limits.MAX_NAME),
            description="The workflow's name; defaults to the file's name without its folder and extension.",
            examples=("daily-sales",),
        ),
        Field(
            name="description",
            kind=_DESCRIPTION,
            description="What the workflow does, for human readers.",
            examples=("Load, clean and report the day's sales.",),
        ),
        Field(
            name="params",
            kind=ParamMap(key=VALUE_NAME, record=PARAM, maximum=limits.MAX_PARAMS),
            description=(
                "The values that may or must be given when a run is started, by name; see [parameters](#parameters). A "
                "text, number or boolean value in place of a map is shorthand for a default."
            ),
            examples=({"region": {"type": "text", "enum": ["eu", "us"], "default": "eu"}, "shards": 8},),
        ),
        Field(
            name="timezone",
            kind=Zone(),
            description="The time zone that determines when days begin and how times are formatted.",
            default="UTC",
            examples=("Europe/Paris",),
        ),
        Field(
            name="schedules",
            kind=RecordList(record=SCHEDULE, noun="schedule", maximum=limits.MAX_SCHEDULES, minimum=0),
            description=(
                "When runs are started. Uploading a file with schedules registers them and starts nothing, and so does "
                "`[]`; uploading a file without this field starts a run at once. See [schedules](#schedule)."
            ),
            examples=([{"cron": "30 2 * * *"}],),
        ),
        Field(
            name="deadline",
            kind=DEADLINE,
            description=(
                "When a run should have ended. A run that has not is reported as late, but goes on; see "
                "[deadlines](#deadline)."
            ),
            examples=({"after": "3h"},),
        ),
        Field(
            name="timeout",
            kind=Duration(maximum=limits.MAX_TIMEOUT, positive=True),
            description="How long the whole run may take; without it, only the steps' own timeouts apply.",
            examples=("12h",),
        ),
        Field(
            name="concurrency",
            kind=CONCURRENCY,
            description=(
                "How many runs of the workflow may be at work at the same time; without it, any number. See "
                "[concurrency](#concurrency)."
            ),
        ),
        Field(
            name="defaults",
            kind=Record(title="Defaults", fields=POLICIES, advice=other_systems.DEFAULTS_ADVICE),
            description="Policies for every step; any field that a step sets itself takes precedence.",
        ),
        Field(
            name="steps",
            kind=RecordList(record=STEP, noun="step", maximum=limits.MAX_STEPS),
            description="The steps, in any order.",
            required=True,
        ),
        Field(
            name="finally",
            kind=RecordList(record=STEP, noun="step", maximum=limits.MAX_STEPS),
            description=(
                "Steps that run once all `steps` have ended, even if the run failed, was cancelled or timed out; see "
                "[finally](#finally). Each attempt may take 10m, unless the step has a `timeout` of its own."
            ),
        ),
        Field(
            name="finallyTimeout",
            kind=Duration(maximum=limits.MAX_FINALLY_TIMEOUT, positive=True),
            description="How long all steps under `finally` may take in total.",
            default=format_duration(DEFAULT_FINALLY_TIMEOUT),
            examples=("2h",),
        ),
        Field(
            name="outputs",
            kind=ExpressionMap(key=VALUE_NAME, maximum=limits.MAX_OUTPUTS),
            description="The run's own outputs, by name. They are computed at the end of the run, if it succeeded.",
            examples=({"rows": "${{ steps.list.outputs.rows }}"},),
        ),
    ),
)
