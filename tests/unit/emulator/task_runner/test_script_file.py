"""Reading scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from atom_emulator.task_runner.script import FOREVER, Behavior, Fault, FaultKind, Loss, Rule, Script, Stop
from atom_emulator.task_runner.script_file import InvalidScript, load_script, parse_script

FULL = """
idempotent: false
default: {duration: 2}
rules:
  - step: extract*
    image: "*/loader:*"
    engine: batch
    labels: {workflow: daily}
    duration: 5
    states: [QUEUED, RUNNING]
    fail_times: 2
    message: out of memory
    outputs: [null, {rows: 12, files: [gs://b/a], note: null}]
    reason: [OOM, EXIT_2]
    submit_errors: [503, {status: 429, retry_after: 2, times: 3}, drop, {garbage: html, accepted: true}]
    status_errors: [500]
    stop_errors: [drop, {status: 500, accepted: true}]
    stop: {after: 2s}
    logsUrl: https://logs.test/7
    notifies: true
    lose_job: once
    delay: 0.5
  - garbage: empty
"""

FAULTS = (
    "expected HTTP statuses from 200 to 599, drop, empty, html, not-json, wrong-shape, "
    "or maps such as {status: 429, times: 2}"
)
OUTPUTS = "expected a mapping of JSON values, or a list of them, one for each attempt"
IN_QUOTES = "put dates, and names that are not strings, in quotes"
REASON = "expected one line of text of at most 64 characters, or a list of them, one for each attempt"


def test_every_field_is_read() -> None:
    """Each field of a script sets its value."""
    faults = (
        Fault(status=503),
        Fault(status=429, retry_after_s=2, times=3),
        Fault(kind=FaultKind.DROP),
        Fault(kind=FaultKind.HTML, accepted=True),
    )
    behavior = Behavior(
        duration_s=5,
        states=("QUEUED", "RUNNING"),
        fail_times=2,
        message="out of memory",
        outputs=(None, {"rows": 12, "files": ["gs://b/a"], "note": None}),
        reasons=("OOM", "EXIT_2"),
        submit_errors=faults,
        status_errors=(Fault(status=500),),
        stop_errors=(Fault(kind=FaultKind.DROP), Fault(status=500, accepted=True)),
        stop=Stop(after_s=2),
        logs_url="https://logs.test/7",
        notifies=True,
        lose_job=Loss.ONCE,
        delay_s=0.5,
    )
    empty = (Fault(kind=FaultKind.EMPTY, times=FOREVER),)
    assert parse_script(FULL) == Script(
        idempotent=False,
        default=Behavior(duration_s=2),
        rules=(
            Rule(step="extract*", image="*/loader:*", engine="batch", labels={"workflow": "daily"}, behavior=behavior),
            Rule(behavior=Behavior(submit_errors=empty, status_errors=empty)),
        ),
    )


def test_one_entry_is_that_of_every_attempt() -> None:
    """Outputs and a reason that are no lists hold for all attempts, and may break the contract's limits."""
    read = parse_script('{"default": {"outputs": {"log": "' + "x" * 40_000 + '", "n": 9223372036854775808}}}')
    assert read.default.outputs == ({"log": "x" * 40_000, "n": 2**63},)
    assert parse_script("default: {outputs: {}, reason: OOM}").default == Behavior(outputs=({},), reasons=("OOM",))


@pytest.mark.parametrize(
    ("written", "stop"),
    [
        ("{after: 0}", Stop()),
        ("{after: 1m30s}", Stop(after_s=90)),
        ("ignore", Stop(ignored=True)),
        ("cannot", Stop(fault=Fault(status=405, times=FOREVER))),
        ("500", Stop(fault=Fault(status=500, times=FOREVER))),
        ("202", Stop(fault=Fault(status=202, times=FOREVER, accepted=True))),
    ],
)
def test_each_way_to_stop_is_read(written: str, stop: Stop) -> None:
    """A job stops in a while, never, or not at all."""
    assert parse_script(f"default: {{stop: {written}}}").default == Behavior(stop=stop)


@pytest.mark.parametrize("text", ["", "{}", '{"rules": []}'])
def test_an_empty_script_is_the_default_one(text: str) -> None:
    """A script that says nothing lets every job succeed."""
    assert parse_script(text) == Script()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "script: expected a mapping, not [1]"),
        ("rulez: []", "script:1:1: script.rulez: unknown; did you mean rules?"),
        ("color: []", "script:1:1: script.color: unknown; expected one of default, idempotent, rules"),
        ("rules:\n- step: a\n  failTimes: 1", "script:3:3: rules[0].failTimes: unknown; did you mean fail_times?"),
        (
            "rules:\n- step: a\n  duration: x",
            'script:3:3: rules[0].duration: expected seconds, 0 or more, not "x"',
        ),
        ("default:\n  1: 2", "script:2:3: default.1: unknown; expected one of always_fail, "),
        ("rules: 3", "script.rules: expected a list, not 3"),
        ("default: 3", "default: expected a mapping, not 3"),
        ("rules: [{duration: -1}]", "rules[0].duration: expected seconds, 0 or more, not -1"),
        ("rules: [{fail_times: 1.5}]", "rules[0].fail_times: expected a whole number, 0 or more, not 1.5"),
        ("rules: [{always_fail: maybe}]", 'rules[0].always_fail: expected true or false, not "maybe"'),
        ("rules: [{step: ''}]", 'rules[0].step: expected a text, not ""'),
        ("rules: [{labels: {a: 1}}]", 'rules[0].labels: expected a mapping of strings, not {"a": 1}'),
        ("rules: [{lose_job: twice}]", 'rules[0].lose_job: expected one of never, once, always, not "twice"'),
        ("rules: [{submit_errors: [199]}]", "expected an HTTP status from 200 to 599"),
        ("rules: [{submit_errors: [fire]}]", f'rules[0].submit_errors: {FAULTS}, not ["fire"]'),
        ("rules: [{submit_errors: [[503]]}]", FAULTS),
        ("rules: [{status_errors: [true]}]", FAULTS),
        ("rules:\n- step: a\n  outputs: 3", f"script:3:3: rules[0].outputs: {OUTPUTS}, not 3"),
        ("rules:\n- step: a\n  output: {}", "script:3:3: rules[0].output: unknown; did you mean outputs?"),
        ("default: {outputs: null}", f"script:1:11: default.outputs: {OUTPUTS}, not null"),
        ("default: {outputs: []}", f"{OUTPUTS}, not []"),
        ("default: {outputs: [{a: 1}, 3]}", f'{OUTPUTS}, not [{{"a": 1}}, 3]'),
        ("default: {outputs: {day: 2026-01-01}}", f'{OUTPUTS}; {IN_QUOTES}, not {{"day": "2026-01-01"}}'),
        ("default: {outputs: {1: a}}", f'{OUTPUTS}; {IN_QUOTES}, not {{"1": "a"}}'),
        ("default: {outputs: {2026-01-01: a}}", f"{OUTPUTS}; {IN_QUOTES}, not {{datetime.date"),
        ("default: {outputs: {a: [.nan]}}", f'{OUTPUTS}; {IN_QUOTES}, not {{"a": [NaN]}}'),
        ("default: {reason: 137}", f"script:1:11: default.reason: {REASON}, not 137"),
        ("default: {reason: [OOM, '']}", f'{REASON}, not ["OOM", ""]'),
        ("default: {reason: []}", f"{REASON}, not []"),
        ("default: {reason: null}", f"{REASON}, not null"),
        ('default: {reason: "two\\nlines"}', REASON),
        (f"default: {{reason: {'x' * 65}}}", REASON),
        *(
            (
                f"default: {{stop: {stop}}}",
                "script:1:11: default.stop: expected {after: 2}, ignore, cannot, or an HTTP status",
            )
            for stop in ("never", "{}", "{before: 2}", "{after: 2, ignore: true}", "true", "1.5", "null", "[500]")
        ),
        ("default: {stop: {after: -1}}", "default.stop: expected seconds, 0 or more"),
        ("default: {stop: {after: soon}}", "default.stop: expected seconds, 0 or more"),
        ("default: {stop: 100}", "default.stop: expected an HTTP status from 200 to 599, not 100"),
        ("default: {notifies: 1}", "default.notifies: expected true or false, not 1"),
        ("default: {logsUrl: 7}", "default.logsUrl: expected a text, not 7"),
        ("default: {logs_url: x}", "default.logs_url: unknown; did you mean logsUrl?"),
        ("rules: [{garbage: [html]}]", "rules[0].garbage: expected one of empty, html, not-json, wrong-shape"),
        ("rules: [{submit_errors: [{times: 2}]}]", "expected one of status, garbage, drop"),
        ("rules: [{submit_errors: [{status: 1, x: 1}]}]", "fault.x: unknown"),
        ("rules: [{states: [FAILED, RUNNING]}]", "of which only the last may be terminal"),
        (
            "rules: [{duration: 1}, {step: a}]",
            "script:1:10: rules[0]: matches every job, so the rules after it never apply",
        ),
        ("rules: [", "script:1:9: while parsing a flow node"),
        ("rules: [\x07]", "script: unacceptable character #x0007: special characters are not allowed"),
        ("[7]", "script: expected a mapping, not [7]"),
        ("rules: [7]", "script: rules[0]: expected a mapping, not 7"),
    ],
)
def test_a_problem_is_named_with_its_place(text: str, problem: str) -> None:
    """A problem in a script is named with its place and what was expected."""
    with pytest.raises(InvalidScript) as caught:
        parse_script(text)
    assert problem in str(caught.value)


def test_a_problem_of_a_file_begins_with_its_name(tmp_path: Path) -> None:
    """A problem begins with the file's name, of which no character can act on a terminal."""
    file = tmp_path / "jo\x1bbs.yaml"
    file.write_text("rules:\n  - {step: a, fails: 1}\n")
    with pytest.raises(InvalidScript) as caught:
        load_script(file)
    assert caught.value.problems[0].startswith(f"{tmp_path}/jo?bs.yaml:2:15: rules[0].fails: unknown; ")


def test_all_problems_are_reported_together() -> None:
    """One error lists every problem of the file."""
    with pytest.raises(InvalidScript) as caught:
        parse_script("rules: [{step: a, duration: x, fail_times: y}, {step: 1}]")
    assert len(caught.value.problems) == 3
