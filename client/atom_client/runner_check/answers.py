"""Check the optional parts of answers: outputs, reasons, logs and `notifies`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from atom_client.runner_check.results import Row, Seen, failed, ok, unchecked, unsupported
from atom_client.runner_check.rule_names import LOGS, NOTIFIES, OUTPUTS, REASON
from atom_client.text import clip, listing

_LONGEST_NAMES: Final = 200


def check_outputs(seen: Seen) -> Row:
    """Check the outputs of the job that succeeded."""
    end = None if seen.success is None else seen.success.answer
    if end is None:
        return unchecked(OUTPUTS, "no job has succeeded")
    if end.outputs_problem:
        return failed(OUTPUTS, end.outputs_problem)
    if not end.outputs:
        return unsupported(OUTPUTS, "the job that succeeded returned none")
    return ok(OUTPUTS, f"the job returned {clip(listing(list(json.loads(end.outputs))), _LONGEST_NAMES)}")


def check_reason(seen: Seen) -> Row:
    """Check the reason of the job that failed."""
    if seen.failure is None:
        return unchecked(REASON, "no job has failed")
    reason = seen.failure.answer.reason
    return ok(REASON, f"the failed job gave {reason}") if reason else unsupported(REASON, "the failed job gave none")


def check_hints_and_logs(seen: Seen) -> Iterator[Row]:
    """Check whether responses contain log URLs and promise to report jobs' ends."""
    ends = [one.answer for one in (seen.success, seen.failure) if one is not None]
    if not ends:
        yield from (unchecked(rule, "no job has ended") for rule in (LOGS, NOTIFIES))
        return
    logs = next((end.logs_url for end in ends if end.logs_url), "")
    yield (
        ok(LOGS, logs)
        if logs
        else unsupported(LOGS, "no response had a logsUrl that is an http or https URL without a password")
    )
    if any(end.notifies for end in ends):
        yield ok(NOTIFIES, "its responses say so; the messages themselves cannot be seen from here")
    else:
        yield unsupported(NOTIFIES, "no response set `notifies` to the JSON `true`, so jobs are polled until they end")
