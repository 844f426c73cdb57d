"""Names that other systems use for fields like ours, for advice on unknown fields.

Keys are in lower case and have no separators: `runson` also matches `runs-on` and `runs_on`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from atom_workflows.core.durations import parse_duration, respell_duration
from atom_workflows.language.kinds import Advice
from atom_workflows.language.limits import MAX_ATTEMPTS, MAX_BACKOFF
from atom_workflows.language.nodes import Node, Scalar

_Meaning = TypeVar("_Meaning", bound=Advice)

_LONGEST_COUNT: Final = 9


def _each(names: str, meaning: _Meaning) -> dict[str, _Meaning]:
    return dict.fromkeys(names.split(), meaning)


def _count_tries(retries: Node) -> int:
    """Return the number of attempts that the given number of retries allows.

    Returns 3 if `retries` is not a number.
    """
    text = retries.text if isinstance(retries, Scalar) else ""
    is_count = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_COUNT
    return min(int(text) + 1, MAX_ATTEMPTS) if is_count else 3


def _advise_on_delay(delay: Node) -> str:
    """Return advice on a delay.

    A bare number is taken as seconds, since that is what most people mean.
    """
    text = delay.text if isinstance(delay, Scalar) else ""
    spelt = respell_duration(text) or respell_duration(f"{text}s")
    initial = spelt if spelt and parse_duration(spelt) <= MAX_BACKOFF else "30s"
    return f"write `backoff: {{initial: {initial}}}`"


_NO_CONDITIONS: Final = (
    "leave it out: a step runs once all steps in its `dependsOn` have succeeded, and there are no other conditions"
)
_WHERE: Final = "use `engine` or `scaleTier` inside `task` to say where a job runs, in the Task Runner's own terms"
_AS_ARGS: Final = "pass it to the job in `args` inside `task`"
_ELSEWHERE: Final = "leave it out: the trigger of a workflow is not part of its file"

TRIES: Final[Mapping[str, Advice]] = _each(
    "retries retrylimit maxretries maxretry retrycount",
    lambda retries: f"write `retry: {{maxAttempts: {_count_tries(retries)}}}`, which includes the first attempt",
)

WORKFLOW_FIELDS: Final[Mapping[str, str]] = _each("jobs tasks stages nodes states activities", "steps") | _each(
    "title displayname workflow workflowname", "name"
)
WORKFLOW_ADVICE: Final[Mapping[str, str]] = {
    **_each("schedule cron on trigger triggers startdate interval", _ELSEWHERE),
    **_each("env environment variables vars params parameters inputs secrets", _AS_ARGS),
    **_each("version apiversion kind metadata spec", "leave it out"),
    **_each("labels tags", "set a run's labels when you start it, and a job's labels with `labels` inside `task`"),
}
STEP_FIELDS: Final[Mapping[str, str]] = _each(
    "needs dependencies depends dependency after requires upstream runafter waitfor previous parents", "dependsOn"
) | _each("timeoutminutes timeoutseconds timeoutinminutes timeoutins executiontimeout", "timeout")
STEP_ADVICE: Final[Mapping[str, Advice]] = {
    **TRIES,
    **_each(
        "name title displayname label", "write the step's name as its `id`, and put text for readers in `description`"
    ),
    **_each("image container dockerimage uses", "write `task: {imageUri: ...}`"),
    **_each("command cmd script run entrypoint arguments with parameters params inputs env environment", _AS_ARGS),
    **_each("runson pool agent agents queue nodeselector runner resources", _WHERE),
    **_each("if when condition conditions triggerrule allowfailure continueonerror", _NO_CONDITIONS),
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
    **_each("runson pool agent agents queue resources", "use `engine` or `scaleTier` to say where the job runs"),
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
