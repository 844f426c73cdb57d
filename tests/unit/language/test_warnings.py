"""What is taken, but may not be what was meant, is a warning; the file is valid all the same."""

from __future__ import annotations

import json

import pytest

from atom_emulator.testing.world import World
from atom_workflows.core.workflow import Workflow
from atom_workflows.language.limits import MAX_WARNINGS
from atom_workflows.language.parser import parse_workflow


def _with_args(args: str, filename: str = "f.yaml") -> Workflow:
    return parse_workflow(f"steps:\n- {{id: a, task: {{url: u, args: [{args}]}}}}\n", filename=filename)


@pytest.mark.parametrize(
    ("text", "sent", "warning"),
    [
        (
            "3.10",
            3.1,
            (
                '`3.10` is sent as the number `3.1`; if you mean the text, put it in quotes: "3.10"; '
                "if you mean the number, write `3.1`"
            ),
        ),
        (
            "2.00",
            2.0,
            (
                '`2.00` is sent as the number `2.0`; if you mean the text, put it in quotes: "2.00"; '
                "if you mean the number, write `2.0`"
            ),
        ),
        (
            "+49",
            49,
            (
                '`+49` is sent as the number `49`; if you mean the text, put it in quotes: "+49"; '
                "if you mean the number, write `49`"
            ),
        ),
        (
            "-0",
            0,
            (
                '`-0` is sent as the number `0`; if you mean the text, put it in quotes: "-0"; '
                "if you mean the number, write `0`"
            ),
        ),
        (
            "0.30000000000000001",
            0.3,
            (
                "`0.30000000000000001` is sent as the number `0.3`; "
                'if you mean the text, put it in quotes: "0.30000000000000001"; if you mean the number, write `0.3`'
            ),
        ),
        *(
            (
                text,
                sent,
                (
                    f"`{text}` is the number `{json.dumps(sent)}` here, but text for some YAML readers; "
                    f'if you mean the text, put it in quotes: "{text}"; if you mean the number, write `{clearly}`'
                ),
            )
            for text, sent, clearly in (
                ("9509425349e4", 95094253490000.0, "9509425349.0e+4"),
                ("680841e1", 6808410.0, "680841.0e+1"),
                ("1e-5", 1e-05, "1.0e-5"),
                ("1.5e3", 1500.0, "1.5e+3"),
                ("+.5", 0.5, "0.5"),
                ("-.5e2", -50.0, "-0.5e+2"),
                ("1E3", 1000.0, "1.0e+3"),
            )
        ),
        ("1.5_0", "1.5_0", '`1.5_0` is text here, but a number for some YAML readers; put it in quotes: "1.5_0"'),
        ("4_1e6", "4_1e6", '`4_1e6` is text here, but a number for some YAML readers; put it in quotes: "4_1e6"'),
    ],
)
def test_a_value_that_is_taken_differently_is_warned_of(text: str, sent: object, warning: str) -> None:
    """An ambiguous value is read as in YAML 1.2, with a warning."""
    workflow = _with_args(text)
    assert workflow.warnings == (f"f.yaml:2:33: {warning}",)
    assert workflow.steps[0].task
    assert workflow.steps[0].task.args == [sent]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "3.1",
            "2.0",
            "5.",
            ".5",
            "-0.5",
            "49",
            "0",
            "0.00001",
            "1.0e-5",
            "1.5e+3",
            "123456789.125",
            "-7",
            "1e",
            "e4",
        ),
        *("'3.10'", '"1e-5"', "'+49'", "true", "null", "a_1", "v1.10", "1.2.3", "1.10-alpha", "-", "a"),
    ],
)
def test_a_clear_value_has_no_warning(text: str) -> None:
    """A value that all readers read the same has no warning."""
    assert _with_args(text).warnings == ()


def test_json_has_no_doubts() -> None:
    """Numbers in JSON have no warnings."""
    text = '{"steps": [{"id": "a", "task": {"url": "u", "args": [3.10, 1e-5, 1.5e3]}}]}'
    assert parse_workflow(text, filename="f.json").warnings == ()
    assert parse_workflow(text, filename="inline.yaml").warnings == ()


def test_every_value_of_a_task_is_looked_at() -> None:
    """Warnings name nested values in file order, each place once."""
    text = (
        "steps:\n- id: a\n  task: &t\n    url: u\n    args: {b: [{c: 3.10}], a: 1e3}\n    labels: {v: 1.5_0}\n"
        "- {id: b, task: *t}\n"
    )
    warnings = parse_workflow(text, filename="f.yaml").warnings
    assert [warning.split("`")[1] for warning in warnings] == ["3.10", "1e3", "1.5_0"]


def test_many_warnings_are_counted() -> None:
    """Only the first warnings are listed, and the others counted."""
    warnings = _with_args("3.10, " * 500).warnings
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1].endswith("... and 480 more warnings further down")


def test_a_run_keeps_the_warnings_of_its_file() -> None:
    """A run keeps its file's warnings."""
    world = World()
    run = world.run_to_end(world.start("steps: [{id: a, task: {url: u, args: [3.10]}}]"))
    assert run.state == "SUCCEEDED"
    assert [warning.partition(";")[0] for warning in run.warnings] == [
        "flow.yaml:1:39: `3.10` is sent as the number `3.1`"
    ]
