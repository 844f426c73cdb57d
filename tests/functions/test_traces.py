"""Every line of a request names its trace, and lines that a person has to look at have a severity of their own."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

import pytest

from atom_emulator.testing.world import World
from functions.posting import Deployed, Golden, golden

TRACE: Final = "105445aa7843bc8bf206b12000100000"
NAME: Final = "logging.googleapis.com/trace"
SPAN: Final = "logging.googleapis.com/spanId"
SAMPLED: Final = "logging.googleapis.com/trace_sampled"


@pytest.mark.parametrize(
    ("headers", "span", "is_sampled"),
    [
        ({"X-Cloud-Trace-Context": f"{TRACE}/1;o=1"}, "0000000000000001", True),
        ({"X-Cloud-Trace-Context": f"{TRACE}/18446744073709551615;o=0"}, "ffffffffffffffff", False),
        ({"X-Cloud-Trace-Context": f"{TRACE}"}, None, False),
        ({"X-Cloud-Trace-Context": f"{TRACE}/0"}, None, False),
        ({"X-Cloud-Trace-Context": f"{TRACE}/00f067aa0ba902b7"}, None, False),
        ({"X-Cloud-Trace-Context": f"{TRACE}/99999999999999999999"}, None, False),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, "00f067aa0ba902b7", True),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00", "X-Cloud-Trace-Context": "odd"}, "00f067aa0ba902b7", False),
    ],
)
def test_a_line_names_its_requests_trace(
    functions: Deployed, headers: Mapping[str, str], span: str | None, *, is_sampled: bool
) -> None:
    """A log line has the trace of its request, from either header."""
    request = golden("start-push-inline")
    functions.post(Golden(request.function, {**request.headers, **headers}, request.body))
    assert functions.lines
    for line in functions.lines:
        assert line[NAME] == f"projects/atom-local/traces/{TRACE}"
        assert (line.get(SPAN), line[SAMPLED]) == (span, is_sampled)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Cloud-Trace-Context": ""},
        {"X-Cloud-Trace-Context": f"{TRACE}\u00b2/1"},
        {"X-Cloud-Trace-Context": f'{TRACE[:-1]}"/1'},
        {"X-Cloud-Trace-Context": "../" + TRACE},
        {"traceparent": f"00-{TRACE}-x-01"},
        {"traceparent": "x" * 10_000},
    ],
)
def test_another_header_names_none(functions: Deployed, headers: Mapping[str, str]) -> None:
    """A header of another form sets no trace."""
    request = golden("start-push-inline")
    functions.post(Golden(request.function, {**request.headers, **headers}, request.body))
    assert functions.lines
    assert not [line for line in functions.lines if NAME in line or SPAN in line or SAMPLED in line]


def test_requests_do_not_share_their_traces(functions: Deployed) -> None:
    """A request without a trace has none, whatever the one before had."""
    request = golden("start-push-inline")
    functions.post(Golden(request.function, {**request.headers, "X-Cloud-Trace-Context": f"{TRACE}/1"}, request.body))
    before = [NAME in line for line in functions.lines]
    functions.post(request)
    assert all(before)
    assert [line for line in functions.lines if NAME in line] == []


def severity_of(functions: Deployed, action: str) -> str:
    """Return the severity of the one line with that action."""
    [line] = [one for one in functions.lines if one["action"] == action]
    return str(line["severity"])


@pytest.mark.parametrize(
    ("behavior", "action", "severity"),
    [("default: {states: [FAILED]}", "run.fail", "ERROR"), ("default: {duration: 0}", "run.succeed", "INFO")],
)
def test_a_run_that_failed_is_an_error(
    caplog: pytest.LogCaptureFixture, behavior: str, action: str, severity: str
) -> None:
    """A failed run is logged as an error, a successful one as information."""
    world = World(behavior)
    caplog.set_level("INFO", logger="atom_workflows")
    world.run_to_end(world.start("name: flow\nsteps:\n  - {id: a, task: {imageUri: image}}\n"))
    ends = [one for one in caplog.records if getattr(one, "fields", {}).get("action") == action]
    assert [one.levelname for one in ends] == [severity]


def test_an_invalid_file_is_an_error(functions: Deployed) -> None:
    """An invalid file is logged as an error."""
    message = {"data": b64encode(b'{"workflow_path": "gs://flows/none.yaml"}').decode(), "messageId": "m-1"}
    body = {"message": message, "subscription": "projects/demo/subscriptions/start"}
    functions.post(Golden("start", golden("start-push-inline").headers, body))
    assert "run.invalid" in {line["action"] for line in functions.lines}
    assert severity_of(functions, "run.invalid") == "ERROR"
