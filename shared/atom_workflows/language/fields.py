"""The fields of a workflow file.

Only this module defines them, the values they allow and what they mean. The fields of a step are in step_fields.py.
"""

from __future__ import annotations

from typing import Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.workflow import (
    DEFAULT_FINALLY_TIMEOUT,
    CatchUp,
    Concurrency,
    Schedule,
    WhenFull,
)
from atom_workflows.language import limits, other_systems
from atom_workflows.language.kinds import (
    Anything,
    Choice,
    Cron,
    Duration,
    ExpressionMap,
    Field,
    Number,
    ParamMap,
    ParamValues,
    Record,
    RecordList,
    Text,
    TimeOfDay,
    TypeNotation,
    Zone,
)
from atom_workflows.language.step_fields import DESCRIPTION, POLICIES, STEP, VALUE_NAME

_CONCURRENCY: Final = Concurrency()


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
            kind=DESCRIPTION,
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


SCHEDULE: Final = Record(
    title="Schedule",
    main="cron",
    when_empty="write the times at which it starts a run, such as `{cron: 30 2 * * *}`",
    foreign=other_systems.SCHEDULE_FIELDS,
    advice=other_systems.SCHEDULE_ADVICE,
    fields=(
        Field(
            name="cron",
            kind=Cron(),
            description=(
                "The times at which a run is started, in the workflow's `timezone`: minute, hour, day of the month, "
                "month and weekday. Put the value in quotes if it begins with an asterisk."
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
                "What to do if runs could not be started in time because the platform was down: nothing (`none`), or "
                "start the most recent run that was missed (`last`)."
            ),
            default=CatchUp.LAST.value,
            examples=("none",),
        ),
        Field(
            name="within",
            kind=Duration(maximum=limits.MAX_WITHIN, positive=True),
            description="How late a missed run may still be started.",
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
            description="How soon after its scheduled time the run should end.",
            examples=("3h",),
        ),
        Field(
            name="at",
            kind=TimeOfDay(),
            description="The time of day, in the workflow's `timezone`, by which the run should end.",
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
                "Runs of this file with the same value of `group` are counted together. The value may use `params`, "
                "`run` and `env`. Without it, all runs of the file form one group."
            ),
            examples=("${{ params.region }}",),
        ),
        Field(
            name="limit",
            kind=Number(minimum=1, maximum=limits.MAX_CONCURRENT_RUNS, whole=True),
            description="How many runs of the group may be in progress at the same time.",
            default=_CONCURRENCY.limit,
            examples=(3,),
        ),
        Field(
            name="whenFull",
            kind=Choice(words=tuple(WhenFull), foreign=other_systems.WHEN_FULL),
            description=(
                "What happens to a new run while `limit` runs are in progress: it waits in a first-in, first-out "
                "queue (`queue`); it waits, and replaces any run that is already waiting (`latest`); or it is skipped "
                "(`skip`)."
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
            kind=DESCRIPTION,
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
                "When runs are started. Uploading a file with schedules, or with `[]`, registers them and starts no "
                "run; uploading a file without this field starts a run at once. See [schedules](#schedule)."
            ),
            examples=([{"cron": "30 2 * * *"}],),
        ),
        Field(
            name="deadline",
            kind=DEADLINE,
            description=(
                "The time by which a run should end. A run that has not ended by then is reported as late but "
                "continues; see [deadlines](#deadline)."
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
                "How many runs of the workflow may be in progress at the same time. By default, there is no limit. "
                "See [concurrency](#concurrency)."
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
                "[finally](#finally). Each attempt may take 10m, unless the step has its own `timeout`."
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
