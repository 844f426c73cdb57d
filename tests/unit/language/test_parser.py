"""What a good file means."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Any

import pytest

from atom_workflows.core.workflow import (
    Backoff,
    CatchUp,
    Concurrency,
    Condition,
    Deadline,
    ForEach,
    OnLost,
    Param,
    RetryPolicy,
    Schedule,
    Step,
    Task,
    Template,
    Trigger,
    WhenFull,
    Workflow,
)
from atom_workflows.expressions.types import DATE, INT, NUMBER, TEXT, TIME, ListOf, MapOf, OrNull, Words
from atom_workflows.language.fields import CONCURRENCY, DEADLINE, PARAM, SCHEDULE, WORKFLOW
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.language.step_fields import BACKOFF, RETRY, STEP, TASK
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


_PIPELINE = """
timezone: Europe/Paris
params:
  day: {type: date, default: "${{ day(run.scheduledAt, -1) }}", min: 2020-01-01}
  region: {type: text, enum: [eu, us], default: eu, description: Where.}
  limit: {type: int, default: null, min: 1, max: 1000}
  tables: {type: [text], default: [orders], minItems: 1, maxItems: 50}
  options: {type: {depth: int, tag: text}}
  code: {type: text, minLength: 1, maxLength: 3}
  at: {type: time, default: 06:00}
  shards: 8
steps:
  - id: list
    task:
      name: list-${{ params.region }}
      imageUri: ${{ env.registry }}/list
      args: {day: "${{ params.day }}", fixed: 1, deep: [a, {limit: "${{ params.limit }}"}]}
      labels: {team: sales, region: "${{ params.region }}"}
    outputs: {files: [text], rows: int, note: text or null}
  - id: quality
    dependsOn: [list]
    when: steps.list.outputs.rows > 1000
    allowFailure: true
    task:
      imageUri: registry.example/quality
      masterType: ${{ 'large' if (step.last.reason ?? '') == 'OOM' else 'small' }}
      args:
        - ${{ params.options.tag }}
        - $${{ text }}
        - ${{ [params.tables, [params.code, text(params.at)]] }}
    retry: {maxAttempts: 3, when: "failure.kind in ['failed', 'timeout']"}
  - id: publish
    dependsOn: [list, quality]
    trigger: all-succeeded
    when: >
      ${{ params.shards > 3
      and steps.list.outputs.note != null }}
finally:
  - id: clean-up
    task: {imageUri: registry.example/clean, args: ["${{ run.state }}", "${{ len(steps.list.outputs.files ?? []) }}"]}
finallyTimeout: 2h
outputs: {rows: "${{ steps.list.outputs.rows }}"}
"""

_LOOPS = """
params: {models: {type: [text], default: [a, b]}}
steps:
  - id: list
    task: {imageUri: registry.example/list}
    outputs: {files: [{name: text, size: int}]}
  - id: score
    dependsOn: list
    forEach: ${{ steps.list.outputs.files }}
    when: item.size > 0
    task: {imageUri: registry.example/score, args: ["${{ item.name }}", "${{ index }}"]}
    outputs: {auc: number}
  - id: train
    dependsOn: score
    forEach: {region: [eu, us], model: "${{ params.models }}"}
    tolerate: 1
    task: {imageUri: registry.example/train, args: ["${{ item.region }}", "${{ steps.score.outputs.auc }}"]}
finally:
  - id: clean-up
    forEach: [1, 2.5, null]
    task: {imageUri: registry.example/clean, args: ["${{ item }}", "${{ steps.score.counts.failed }}"]}
    maxParallel: 2
"""


_SCHEDULED = """
timezone: America/New_York
params: {mode: delta, day: {type: date}}
schedules:
  - cron: 30   2 * * 1-6
    params: {day: "${{ day(run.scheduledAt, -1) }}"}
  - {cron: "*/30 * * * *", params: {mode: full, day: 2026-01-31}, catchUp: none, within: 2h}
deadline: {at: 06:00}
steps: [{id: a, task: {imageUri: i, args: ["${{ params.mode }}", "${{ params.day }}"]}}]
"""


_LIMITED = """
params: {region: eu}
concurrency: {group: "${{ params.region }}", limit: 3, whenFull: latest, maxQueued: 10, maxWait: 2h}
steps: [{id: a, task: {imageUri: registry.example/a}}]
"""


def _parse(text: str | bytes, filename: str = "f.yaml") -> Workflow:
    return parse_workflow(text, filename=filename)


def test_the_full_file_sets_every_field() -> None:
    """The full file names every field of the format."""
    records = (WORKFLOW, PARAM, STEP, TASK, RETRY, BACKOFF, SCHEDULE, DEADLINE, CONCURRENCY)
    names = {name for record in records for name in record.names} - {"defaults"}
    files = _FULL + _PIPELINE + _LOOPS + _SCHEDULED + _LIMITED
    # A deadline has only one of its two fields.
    assert {name for name in names if not re.search(rf"\b{name}:", files)} == {"after"}


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


@pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])
def test_every_field_with_expressions_is_read(loader: Any) -> None:
    """Expressions become templates with their paths in the job's body, and leave None in their places."""
    workflow = parse_workflow(_PIPELINE, filename="f.yaml", loader=loader)
    assert workflow.warnings == ()
    assert (workflow.timezone, workflow.finally_timeout) == ("Europe/Paris", timedelta(hours=2))
    assert workflow.outputs == (Template(path=("rows",), text="${{ steps.list.outputs.rows }}", line=42, column=18),)
    listing, quality, publish = workflow.steps
    assert listing.task is not None
    assert listing.task.args == {"day": None, "fixed": 1, "deep": ["a", {"limit": None}]}
    assert (listing.task.name, listing.task.image_uri) == (None, None)
    assert listing.task.labels == {"team": "sales", "region": None}
    assert listing.task.templates == (
        Template(path=("job_name",), text="list-${{ params.region }}", line=15, column=13),
        Template(path=("imageUri",), text="${{ env.registry }}/list", line=16, column=17),
        Template(path=("args", "day"), text="${{ params.day }}", line=17, column=20),
        Template(path=("args", "deep", 1, "limit"), text="${{ params.limit }}", line=17, column=69),
        Template(path=("labels", "region"), text="${{ params.region }}", line=18, column=38),
    )
    assert listing.outputs == {"files": ListOf(TEXT), "rows": INT, "note": OrNull(TEXT)}
    assert quality.when == Condition(text="steps.list.outputs.rows > 1000", line=22, column=11)
    assert quality.allow_failure
    assert quality.retry.when == Condition(text="failure.kind in ['failed', 'timeout']", line=31, column=36)
    assert quality.task is not None
    assert quality.task.args == [None, "${{ text }}", None]
    assert publish.trigger is Trigger.ALL_SUCCEEDED
    assert publish.when == Condition(text="params.shards > 3 and steps.list.outputs.note != null", line=36, column=11)
    (clean,) = workflow.finally_steps
    assert (clean.id, clean.timeout) == ("clean-up", timedelta(minutes=10))


@pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])
def test_every_loop_is_read(loader: Any) -> None:
    """A loop has its lists as values or templates, and the type of its items."""
    workflow = parse_workflow(_LOOPS, filename="f.yaml", loader=loader)
    assert workflow.warnings == ()
    assert [step.for_each for step in workflow.all_steps] == [
        None,
        ForEach(
            lists={"": Template(path=("forEach",), text="${{ steps.list.outputs.files }}", line=9, column=14)},
            item_type=MapOf({"name": TEXT, "size": INT}),
        ),
        ForEach(
            lists={
                "region": ["eu", "us"],
                "model": Template(path=("forEach", "model"), text="${{ params.models }}", line=15, column=41),
            },
            item_type=MapOf({"region": Words(("eu", "us")), "model": TEXT}),
            tolerate=1,
        ),
        ForEach(lists={"": [1, 2.5, None]}, item_type=OrNull(NUMBER), max_parallel=2),
    ]


@pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])
def test_schedules_and_the_deadline_are_read(loader: Any) -> None:
    """Cron expressions have single spaces, parameters their types, and a time of day needs no quotes."""
    workflow = parse_workflow(_SCHEDULED, filename="f.yaml", loader=loader)
    day = Template(path=("day",), text="${{ day(run.scheduledAt, -1) }}", line=6, column=20)
    assert workflow.schedules == (
        Schedule(cron="30 2 * * 1-6", templates=(day,)),
        Schedule(
            cron="*/30 * * * *",
            params={"mode": "full", "day": "2026-01-31"},
            catch_up=CatchUp.NONE,
            within=timedelta(hours=2),
        ),
    )
    assert workflow.deadline == Deadline(at=time(6))
    assert workflow.warnings == ()


def test_no_schedules_and_none_are_different() -> None:
    """A file without schedules is run by its upload, and one with an empty list is not."""
    assert _parse("steps: [{id: a}]").schedules is None
    assert _parse("schedules: []\nsteps: [{id: a}]").schedules == ()
    assert _parse("deadline: {after: 90m}\nsteps: [{id: a}]").deadline == Deadline(after=timedelta(minutes=90))


def test_templates_and_conditions_have_their_places() -> None:
    """At the place of each stands its text."""
    lines = _PIPELINE.splitlines()
    workflow = _parse(_PIPELINE)
    found: list[Template | Condition] = [*workflow.outputs]
    for step in workflow.all_steps:
        found += [*(step.task.templates if step.task else ()), *filter(None, (step.when, step.retry.when))]
    assert len(found) == 14
    for one in found:
        assert lines[one.line - 1][one.column - 1 :].startswith(one.text[:12])


def test_parameters_are_read_with_their_types() -> None:
    """Types, constraints and defaults are read, dates and times without quotes, too."""
    day, region, limit, tables, options, code, at, shards = _parse(_PIPELINE).params
    default = Template(path=(), text="${{ day(run.scheduledAt, -1) }}", line=4, column=31)
    assert day == Param(name="day", type=DATE, required=False, default=default, limits={"min": "2020-01-01"})
    assert region == Param(
        name="region", type=TEXT, required=False, default="eu", description="Where.", limits={"enum": ["eu", "us"]}
    )
    assert limit == Param(name="limit", type=OrNull(INT), required=False, limits={"min": 1, "max": 1000})
    assert tables == Param(
        name="tables", type=ListOf(TEXT), required=False, default=["orders"], limits={"minItems": 1, "maxItems": 50}
    )
    assert options == Param(name="options", type=MapOf({"depth": INT, "tag": TEXT}))
    assert code == Param(name="code", type=TEXT, limits={"minLength": 1, "maxLength": 3})
    assert at == Param(name="at", type=TIME, required=False, default="06:00")
    assert shards == Param(name="shards", type=INT, required=False, default=8)


def test_policies_of_the_file_do_not_limit_finally() -> None:
    """Under `finally`, a step's timeout is its own or ten minutes, while other defaults apply."""
    workflow = _parse(
        """
defaults: {timeout: 1h, onLost: fail, retry: {maxAttempts: 2, when: failure.reason == 'OOM'}}
steps: [{id: a}]
finally: [{id: b}, {id: c, timeout: 1m}]
"""
    )
    assert [step.timeout for step in workflow.all_steps] == [
        timedelta(hours=1),
        timedelta(minutes=10),
        timedelta(minutes=1),
    ]
    condition = Condition(text="failure.reason == 'OOM'", line=2, column=69)
    assert {step.retry.when for step in workflow.all_steps} == {condition}
    assert {step.on_lost for step in workflow.all_steps} == {OnLost.FAIL}


@pytest.mark.parametrize("filename", ["f.yaml", "f.json"])
def test_two_dollar_signs_are_a_text(filename: str) -> None:
    """`$${{` is the text `${{` wherever text may be, in names, too."""
    text = (
        '{"name": "$${{n", "steps": [{"id": "a", "description": "$${{d }}",'
        ' "task": {"url": "$${{u", "args": {"$${{k": "$${{v }} $${{"}, "labels": {"$${{l": "$${{m"}}}]}'
    )
    workflow = _parse(text, filename)
    (step,) = workflow.steps
    assert (workflow.name, step.description) == ("${{n", "${{d }}")
    assert step.task == Task(url="${{u", args={"${{k": "${{v }} ${{"}, labels={"${{l": "${{m"})
    assert workflow.is_plain


def test_a_condition_in_json_has_its_place() -> None:
    """Escapes before an expression are counted in JSON, too."""
    text = '{"steps": [{"id": "a",\n "when": "\\u0020run.id == \\"a\\" and"}]}'
    with pytest.raises(InvalidWorkflow) as caught:
        _parse(text, "f.json")
    assert str(caught.value) == "f.json:2:36: the expression ends too soon"


def test_names_of_the_deployment_are_checked_if_they_are_known() -> None:
    """Any name of `env` is accepted, unless the caller says which exist."""
    text = 'steps: [{id: a, task: {imageUri: "${{ env.registri }}/a"}}]'
    assert _parse(text)
    assert parse_workflow(text, filename="f.yaml", env_names=["registri"])
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename="f.yaml", env_names=["registry"])
    assert str(caught.value) == "f.yaml:1:43: `env` has no `registri`; did you mean `registry`?"


def test_a_file_of_today_is_plain() -> None:
    """A file without new fields and expressions can be run by older versions."""
    assert _parse(_FULL).is_plain
    assert not _parse(_PIPELINE).is_plain


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


def test_a_task_may_be_arguments_for_an_engine() -> None:
    """A task needs neither an image nor a URL if it has arguments for an engine."""
    (step,) = parse_workflow(b"steps: [{id: a, task: {engine: process, args: [ls]}}]", filename="a.yaml").steps
    assert step.task == Task(engine="process", args=["ls"])
    for task in ("{engine: process}", "{args: [ls]}"):
        with pytest.raises(InvalidWorkflow, match="neither"):
            parse_workflow(f"steps: [{{id: a, task: {task}}}]".encode(), filename="a.yaml")


def test_the_limit_on_runs_is_read() -> None:
    """A file's `concurrency` is read with its expression, and what it does not say has its default."""
    limited = parse_workflow(_LIMITED, filename="f.yaml").concurrency
    group = Template(path=("concurrency", "group"), text="${{ params.region }}", line=3, column=23)
    assert limited == Concurrency(
        group=group, limit=3, when_full=WhenFull.LATEST, max_queued=10, max_wait=timedelta(hours=2)
    )
    plain = "concurrency: {group: nightly}\nsteps: [{id: a, task: {imageUri: registry.example/a}}]"
    assert parse_workflow(plain, filename="f.yaml").concurrency == Concurrency(
        group="nightly", limit=1, when_full=WhenFull.QUEUE, max_queued=100, max_wait=timedelta(days=1)
    )
