"""What a good file means."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from atom_workflows.core.workflow import Backoff, OnLost, RetryPolicy, Step, Task, Workflow
from atom_workflows.language.fields import BACKOFF, RETRY, STEP, TASK, WORKFLOW
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, PURE_LOADER

_FULL = """
name: daily-sales
description: |
  Load the sales.
  Then report.
timeout: 12h
steps:
  - id: report
    dependsOn: [load, all]
    task: {url: https://example.com/report, engine: edge}
  - id: load
    description: Load it.
    task:
      name: load-job
      imageUri: registry.example/load:1.4
      scaleTier: CUSTOM
      masterType: n1-highmem-8
      args: {date: "2024-05-01", full: true, tries: 3, share: 0.5, nothing: null, tables: [a, -16, 1e3]}
      labels: {team: sales, empty: ""}
    timeout: 1h30m
    retry: {maxAttempts: 3, backoff: {initial: 30s, factor: 3, max: 1h, jitter: 0}}
    onLost: fail
  - id: all
    dependsOn: [load]
"""


def _parse(text: str | bytes, filename: str = "f.yaml") -> Workflow:
    return parse_workflow(text, filename=filename)


def test_the_full_file_sets_every_field() -> None:
    """The full file names every field of the format."""
    names = {name for record in (WORKFLOW, STEP, TASK, RETRY, BACKOFF) for name in record.names} - {"defaults"}
    assert {name for name in names if not re.search(rf"\b{name}:", _FULL)} == set()


@pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])
def test_every_field_of_a_file_is_read(loader: Any) -> None:
    """Every field is read into the workflow, and steps keep their order."""
    assert parse_workflow(_FULL, filename="f.yaml", loader=loader) == Workflow(
        name="daily-sales",
        description="Load the sales.\nThen report.\n",
        timeout=timedelta(hours=12),
        steps=(
            Step(
                id="report",
                depends_on=("load", "all"),
                task=Task(url="https://example.com/report", engine="edge"),
            ),
            Step(
                id="load",
                description="Load it.",
                task=Task(
                    name="load-job",
                    image_uri="registry.example/load:1.4",
                    scale_tier="CUSTOM",
                    master_type="n1-highmem-8",
                    args={
                        "date": "2024-05-01",
                        "full": True,
                        "tries": 3,
                        "share": 0.5,
                        "nothing": None,
                        "tables": ["a", -16, 1000.0],
                    },
                    labels={"team": "sales", "empty": ""},
                ),
                timeout=timedelta(minutes=90),
                retry=RetryPolicy(
                    max_attempts=3,
                    backoff=Backoff(initial=timedelta(seconds=30), factor=3.0, maximum=timedelta(hours=1), jitter=0.0),
                ),
                on_lost=OnLost.FAIL,
            ),
            Step(id="all", depends_on=("load",)),
        ),
    )


def test_steps_override_defaults_field_by_field() -> None:
    """A step that sets one field of its back-off keeps the other defaults."""
    workflow = _parse(
        """
defaults: {timeout: 1h, onLost: fail, retry: {maxAttempts: 5, backoff: {initial: 20s, max: 2m}}}
steps:
  - {id: plain}
  - {id: own, onLost: retry, retry: {backoff: {initial: 40s}}}
"""
    )
    plain, own = workflow.steps
    backoff = Backoff(initial=timedelta(seconds=20), maximum=timedelta(minutes=2))
    assert plain == Step(
        id="plain",
        timeout=timedelta(hours=1),
        on_lost=OnLost.FAIL,
        retry=RetryPolicy(max_attempts=5, backoff=backoff),
    )
    assert own.retry.max_attempts == 5
    assert own.retry.backoff == Backoff(initial=timedelta(seconds=40), maximum=timedelta(minutes=2))
    assert own.on_lost is OnLost.RETRY


@pytest.mark.parametrize(
    ("filename", "name"),
    [("sales.yaml", "sales"), ("gs://b/in/sales.v2.yml", "sales.v2"), ("/tmp/a.json", "a"), ("", "workflow")],  # noqa: S108  # never opened
)
def test_a_workflow_without_a_name_has_its_files(filename: str, name: str) -> None:
    """An unnamed workflow has its file's name without folder and extension."""
    assert _parse('{"steps": [{"id": "a"}]}', filename).name == name


def test_one_dependency_needs_no_list() -> None:
    """`dependsOn: extract` is a list of one."""
    assert _parse("steps: [{id: a}, {id: b, dependsOn: a}]").steps[1] == Step(id="b", depends_on=("a",))


@pytest.mark.parametrize(
    ("text", "minutes"), [("1.5h", 90), ("1h 30m", 90), ("1w", 7 * 24 * 60), ("60000ms", 1), ("1d", 1440)]
)
def test_durations_are_read_as_people_write_them(text: str, minutes: int) -> None:
    """Durations may have weeks, milliseconds, a fraction, and spaces."""
    assert _parse(f"timeout: {text}\nsteps: [{{id: a}}]").timeout == timedelta(minutes=minutes)


def test_json_is_read_as_json() -> None:
    r"""JSON's tabs and \\u escapes are accepted."""
    text = '{\n\t"steps": [\n\t\t{"id":"a","description":"\\ud83d\\ude00 \\/ \\u00e9"}\n\t]\n}'
    assert _parse(text, "w.json").steps[0].description == "\U0001f600 / é"


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter() -> None:
    """Files from any editor are read."""
    assert _parse(b"\xef\xbb\xbfsteps:\r\n  - id: a\r\n").steps == (Step(id="a"),)


def test_anchors_and_merge_keys_save_repetition() -> None:
    """A merged map provides missing fields, the first source first."""
    first, second = _parse(
        """
steps:
  - id: a
    task: &image
      imageUri: registry.example/a
      labels: &labels {team: sales}
  - id: b
    task:
      <<: [*image, {imageUri: other, engine: edge}]
      labels: {<<: *labels, tier: gold}
"""
    ).steps
    assert first.task == Task(image_uri="registry.example/a", labels={"team": "sales"})
    assert second.task == Task(image_uri="registry.example/a", engine="edge", labels={"team": "sales", "tier": "gold"})


@pytest.mark.parametrize("text", ["no", "1", "010", "2024-05-01", "true", "~", "12:30", "1_000"])
def test_quotes_make_any_value_text(text: str) -> None:
    """Values that are refused without quotes are text with them."""
    step = f"steps: [{{id: a, description: '{text}', task: {{url: \"{text}\", args: ['{text}']}}}}]"
    (read,) = _parse(step).steps
    assert read.description == text
    assert read.task == Task(url=text, args=[text])
