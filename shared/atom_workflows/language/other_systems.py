"""Names that other systems use for similar fields.

They are used to give advice on unknown fields. Keys are in lower case and have no separators: `runson` also matches
`runs-on` and `runs_on`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from atom_workflows.core.durations import parse_duration, respell_duration
from atom_workflows.language.kinds import Advice
from atom_workflows.language.limits import MAX_ATTEMPTS, MAX_BACKOFF
from atom_workflows.language.nodes import Fields, Node, Scalar

_Meaning = TypeVar("_Meaning", bound=Advice)

_LONGEST_COUNT: Final = 9
_LONGEST_CRON: Final = 40
_FIELDS_OF_CRON: Final = 5


def _each(names: str, meaning: _Meaning) -> dict[str, _Meaning]:
    return dict.fromkeys(names.split(), meaning)


def _count_tries(retries: Node) -> int:
    """Return the number of attempts that the given number of retries allows.

    Returns 3 if `retries` is not a number.
    """
    count = _count(retries)
    return 3 if count is None else min(count + 1, MAX_ATTEMPTS)


def _count(node: Node) -> int | None:
    """Return the whole number that the node contains, or None."""
    text = node.text if isinstance(node, Scalar) else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_COUNT else None


def _advise_on_sequence(sequence: Node) -> str:
    """Return advice on a loop over numbers, such as `{count: 5}`."""
    node = (sequence.get("count") or sequence) if isinstance(sequence, Fields) else sequence
    return f"write `forEach: ${{{{ range({_count(node) or 5}) }}}}`"


def _advise_on_delay(delay: Node) -> str:
    """Return advice on a delay.

    A bare number is taken to be in seconds, since that is what most people mean.
    """
    text = delay.text if isinstance(delay, Scalar) else ""
    spelt = respell_duration(text) or respell_duration(f"{text}s")
    initial = spelt if spelt and parse_duration(spelt) <= MAX_BACKOFF else "30s"
    return f"write `backoff: {{initial: {initial}}}`"


def _advise_on_cron(times: Node) -> str:
    """Return advice on a cron expression outside a list of schedules."""
    words = times.text.split() if isinstance(times, Scalar) else []
    cron = " ".join(words) if len(words) == _FIELDS_OF_CRON and len(" ".join(words)) <= _LONGEST_CRON else "30 2 * * *"
    return f'write `schedules: [{{cron: "{cron}"}}]`'


_WHERE: Final = "use `engine` or `scaleTier` inside `task` to specify where a job runs, in the Task Runner's own terms"
_AS_ARGS: Final = "pass it to the job in `args` inside `task`"
_ELSEWHERE: Final = "write `schedules` for start times; other triggers are not defined in the workflow file"
_ONE_RUN: Final = "write `concurrency: {limit: 1}` to limit how many runs of the workflow may be in progress at once"
_IN_STEP: Final = "write it in each step that has `forEach`"
_NO_MESSAGES: Final = "leave it out: the end of every run is published to the topic `events`"

TRIES: Final[Mapping[str, Advice]] = _each(
    "retries retrylimit maxretries maxretry retrycount",
    lambda retries: f"write `retry: {{maxAttempts: {_count_tries(retries)}}}`, which includes the first attempt",
)

DEFAULTS_ADVICE: Final[Mapping[str, Advice]] = {
    **TRIES,
    **_each("foreach maxparallel parallelism maxconcurrency tolerate", _IN_STEP),
}

WORKFLOW_FIELDS: Final[Mapping[str, str]] = {
    **_each("jobs tasks stages nodes states activities", "steps"),
    **_each("title displayname workflow workflowname", "name"),
    **_each("parameters inputs arguments variables vars", "params"),
    **_each("onexit always cleanup teardown ensure", "finally"),
    **_each("tz zone", "timezone"),
    **_each("results returns", "outputs"),
    **_each("sla dueby", "deadline"),
}
WORKFLOW_ADVICE: Final[Mapping[str, Advice]] = {
    **_each("schedule cron interval scheduleinterval crontab", _advise_on_cron),
    **_each("on trigger triggers", _ELSEWHERE),
    **_each("startdate", "leave it out: schedules take effect when the file is uploaded"),
    **_each("catchup within", "it belongs inside an entry of `schedules`"),
    **_each("env environment", f"{_AS_ARGS}; in expressions, `env.NAME` is a value that the deployment sets"),
    **_each("secrets", "pass the name of a secret to the job in `args`; the job reads the secret itself"),
    **_each("maxactiveruns maxparallel parallelism maxconcurrentruns", _ONE_RUN),
    **_each("notify notifications alerts", _NO_MESSAGES),
    **_each("onfailure onsuccess", "add a step under `finally`, with `when: run.state == 'FAILED'`"),
    **_each("version apiversion kind metadata spec", "leave it out"),
    **_each("labels tags", "set a run's labels when you start it, and a job's labels with `labels` inside `task`"),
}
CONCURRENCY_FIELDS: Final[Mapping[str, str]] = {
    **_each("key name mutex semaphore", "group"),
    **_each("max maxactiveruns maxruns maxconcurrency maxconcurrentruns slots", "limit"),
    **_each("behavior behavior policy strategy onfull collisionstrategy onconflict", "whenFull"),
    **_each("queuesize maxpending maxlength queue", "maxQueued"),
    **_each("timeout queuetimeout waittimeout", "maxWait"),
}
CONCURRENCY_ADVICE: Final[Mapping[str, str]] = {
    **_each(
        "cancelinprogress",
        "leave it out: a new run never cancels one in progress; `whenFull: latest` replaces a waiting run",
    ),
}
WHEN_FULL: Final[Mapping[str, str]] = {
    **_each("wait enqueue fifo pending", "queue"),
    **_each("replace newest cancelpending cancelprevious supersede", "latest"),
    **_each("forbid drop fail reject ignore cancelnew never", "skip"),
}
STEP_FIELDS: Final[Mapping[str, str]] = {
    **_each(
        "needs dependencies depends dependency after requires upstream runafter waitfor previous parents", "dependsOn"
    ),
    **_each("timeoutminutes timeoutseconds timeoutinminutes timeoutins executiontimeout", "timeout"),
    **_each("if condition conditions", "when"),
    **_each("triggerrule", "trigger"),
    **_each("continueonerror continueon ignoreerrors ignorefailure", "allowFailure"),
    **_each("results returns", "outputs"),
    **_each("loop matrix withitems withparam expand map items itemsfrom iterate", "forEach"),
    **_each(
        "parallelism parallel concurrency concurrencylimit maxconcurrency maxactivetisperdag",
        "maxParallel",
    ),
    **_each("toleratedfailurecount toleratedfailures maxfailures allowedfailures", "tolerate"),
}
STEP_ADVICE: Final[Mapping[str, Advice]] = {
    **TRIES,
    **_each(
        "name title displayname label", "use the step's name as its `id`, and write `description` for human readers"
    ),
    **_each("image container dockerimage uses", "write `task: {imageUri: ...}`"),
    **_each("command cmd script run entrypoint arguments with parameters params inputs env environment", _AS_ARGS),
    **_each("runson pool agent agents queue nodeselector runner resources", _WHERE),
    **_each("strategy", "write the lists of its `matrix` as `forEach`, and its `max-parallel` as `maxParallel`"),
    **_each("withsequence repeat", _advise_on_sequence),
    **_each("toleratedfailurepercentage", "write `tolerate` with the number of items that may fail"),
    **_each("failfast", "leave it out: with `maxParallel`, no more items start once `tolerate` is exceeded"),
    **_each("batch itembatcher batchsize", "leave it out: with `maxParallel`, the next item starts when one ends"),
    **_each("wait sleep delay approval", "leave it out: a step runs as soon as its dependencies allow it"),
    **_each("priority", "leave it out: all steps that are ready are started"),
    **_each("cache memoize", "leave it out: a job that does not need to run again can exit immediately"),
    **_each("workflow subworkflow", "copy the other workflow's steps into this file"),
    **_each("onfailure onsuccess", "add a step that depends on this one, with `trigger: any-failed` for failures"),
}
TASK_FIELDS: Final[Mapping[str, str]] = {
    **_each("image container dockerimage", "imageUri"),
    **_each("uri endpoint address", "url"),
    **_each("arguments parameters params command cmd inputs with", "args"),
    **_each("machinetype", "masterType"),
    **_each("tags", "labels"),
}
TASK_ADVICE: Final[Mapping[str, str]] = {
    **_each("env environment variables entrypoint script run", "pass it to the job in `args`"),
    **_each("runson pool agent agents queue resources", "use `engine` or `scaleTier` to specify where the job runs"),
}
RETRY_FIELDS: Final[Mapping[str, str]] = _each("attempts tries max times count", "maxAttempts")
RETRY_ADVICE: Final[Mapping[str, Advice]] = {
    **_each(
        "retries retrylimit maxretries limit",
        lambda retries: f"write `maxAttempts: {_count_tries(retries)}`, which includes the first attempt",
    ),
    **_each("delay interval wait", _advise_on_delay),
}
BACKOFF_FIELDS: Final[Mapping[str, str]] = {
    **_each("base delay duration interval initialinterval mininterval minbackoff", "initial"),
    **_each("multiplier rate coefficient backoffcoefficient backoffrate", "factor"),
    **_each("maximum cap maxinterval maxdelay maxbackoff limit", "max"),
}
PARAM_FIELDS: Final[Mapping[str, str]] = {
    **_each("options choices allowed values oneof", "enum"),
    **_each("minimum least", "min"),
    **_each("maximum most", "max"),
    **_each("value defaultvalue", "default"),
}
PARAM_ADVICE: Final[Mapping[str, str]] = {
    **_each("required", "leave it out: a parameter without a `default` is required"),
    **_each("optional nullable", "leave it out, or write `default: null`"),
    **_each("pattern regex format", "leave it out, and let the job check the value"),
    **_each("secret sensitive", "give the name of a secret; the job reads the secret itself"),
}
SCHEDULE_FIELDS: Final[Mapping[str, str]] = {
    **_each("expression schedule crontab cronexpression time times", "cron"),
    **_each("parameters inputs arguments args input variables", "params"),
    **_each("recovermissedschedules misfire misfirepolicy backfill", "catchUp"),
    **_each("startingdeadlineseconds catchupwindow misfiregracetime grace", "within"),
}
SCHEDULE_ADVICE: Final[Mapping[str, str]] = {
    **_each("timezone tz zone", "write `timezone` at the top of the file, where it applies to all schedules"),
    **_each("every interval", "write a `cron` expression, such as `0 */2 * * *` for every two hours"),
    **_each("enabled disabled suspend paused pause", "leave it out, and use `atom-workflows schedules pause`"),
    **_each("startdate enddate start end", "leave it out: uploading the file starts or ends its schedules"),
    **_each("concurrencypolicy overlap overlappolicy", "write `concurrency` at the top of the file"),
}
DEADLINE_FIELDS: Final[Mapping[str, str]] = {
    **_each("within duration max in", "after"),
    **_each("by time until", "at"),
}
CATCH_UPS: Final[Mapping[str, str]] = {
    **_each("latest newest once one true yes on", "last"),
    **_each("false no never skip off", "none"),
}
TRIGGERS: Final[Mapping[str, str]] = {
    **_each("nonefailed nonefailedminonesuccess onsuccess default", "no-failure"),
    **_each("allsuccess success succeeded completed", "all-succeeded"),
    **_each("onefailed failed failure onfailure anyfailure allfailed", "any-failed"),
    **_each("alldone done any finally", "always"),
}
