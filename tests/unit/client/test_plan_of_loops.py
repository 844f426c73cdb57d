"""`plan` of loops: lists that are known are expanded, and what is not known is marked."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_client.cost.model import model_of
from atom_client.planning.fates import Fate
from atom_client.planning.loops import MOST_PLANNED
from atom_client.planning.walk import Known, Plan, PlannedStep, plan_run
from atom_workflows.language.parser import parse_workflow
from support.no_cloud import NO_CLOUD

TRAINING: Final = """
name: training
params: {models: {type: [text], default: [small, large]}, folds: 3, start: {type: date, default: 2026-03-01}}
steps:
  - id: list
    task: {imageUri: list}
    outputs: {files: [{name: text, size: int}]}
  - id: train
    forEach: {region: [eu, us], model: "${{ params.models }}", fold: "${{ range(params.folds) }}"}
    when: not (item.region == 'us' and item.model == 'large')
    tolerate: 1
    task: {imageUri: "train:${{ env.tag }}", args: {model: "${{ item.model }}", number: "${{ index }}"}}
    outputs: {auc: number}
  - id: clean
    dependsOn: list
    forEach: ${{ steps.list.outputs.files }}
    when: item.size > 0
    task: {imageUri: clean, args: ["${{ item.name }}", "${{ params.folds }}"]}
  - id: report
    dependsOn: [train, clean]
    when: steps.train.counts.failed == 0
    task: {imageUri: report, args: ["${{ steps.train.outputs.auc }}"]}
finally:
  - id: drop
    forEach: ${{ [params.start, day(params.start, 1)] }}
    task: {imageUri: drop, args: ["${{ add(day(item, 0), '1h') }}"]}
""".replace("add(day(item, 0), '1h')", "day(item, 7)")


def plan_of(text: str, *, with_jobs: bool = True, **params: Any) -> Plan:
    """Plan a run of a workflow's text with values of its parameters."""
    workflow = parse_workflow(text, filename="f.yaml")
    return plan_run(workflow, Known(params=params), path="f.yaml", with_jobs=with_jobs)


def step_of(step: str, **params: Any) -> PlannedStep:
    """Plan a workflow with one step, and return its plan."""
    text = f"params: {{p: {{type: any}}, q: {{type: any}}}}\nsteps:\n- id: a\n  {step}\n"
    return plan_of(text, **params).steps[0]


def loop(for_each: str, args: str = '["${{ item }}"]', more: str = "") -> str:
    """Return a step with `forEach`."""
    return f"forEach: {for_each}\n  task: {{url: u, args: {args}}}\n  {more}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a workflow file with loops."""
    path = tmp_path / "training.yaml"
    path.write_text(TRAINING)
    return path


def plan(*args: str | Path) -> Result:
    """Call `plan` with no platform in its environment."""
    return CliRunner().invoke(cli, ["plan", *map(str, args)], env=NO_CLOUD, catch_exceptions=False)


# -- items ------------------------------------------------------------------------------------------------------------


def test_the_items_of_known_lists_are_planned(file: Path) -> None:
    """Lists from the file and from parameters are combined, the last one changing fastest."""
    steps = {step["id"]: step for step in json.loads(plan(file, "--json").stdout)["steps"]}
    items = steps["train"]["items"]
    assert (items["count"], items["skipped"], items["undecided"], items["tolerate"]) == (12, [9, 10, 11], 0, 1)
    assert [item["id"] for item in items["first"]] == [f"train[{index}]" for index in range(5)]
    assert items["first"][3]["item"] == {"region": "eu", "model": "large", "fold": 0}
    assert items["first"][3]["job"]["args"] == {"model": "large", "number": 3}
    assert items["first"][3]["unknown"] == ["imageUri"]
    assert items["first"][3]["because"].startswith("`not (item.region == 'us' and item.model == 'large')` was true")
    assert steps["train"]["job"] is None
    assert steps["list"]["items"] is None
    assert [item["job"]["args"] for item in steps["drop"]["items"]["first"]] == [["2026-03-08"], ["2026-03-09"]]


def test_parameters_change_the_items(file: Path) -> None:
    """A plan's lists are those of the parameters that are given."""
    found = json.loads(plan(file, "--json", "--param", 'models=["tiny"]', "--param", "folds=1").stdout)
    assert [item["item"] for item in found["steps"][1]["items"]["first"]] == [
        {"region": "eu", "model": "tiny", "fold": 0},
        {"region": "us", "model": "tiny", "fold": 0},
    ]


def test_one_item_stands_for_those_of_an_unknown_list(file: Path) -> None:
    """What is known of the job is rendered, and the item stands in marks."""
    clean = json.loads(plan(file, "--json").stdout)["steps"][2]
    assert (clean["id"], clean["verdict"], clean["items"]["count"]) == ("clean", "runs", None)
    assert clean["items"]["unknown"] == ["steps.list.outputs.files"]
    (item,) = clean["items"]["first"]
    assert (item["id"], item["verdict"], item["because"]) == (None, "depends", "depends on `item.size > 0`")
    assert item["job"]["args"] == ["\u2039item.name\u203a", 3]


def test_people_see_the_first_items(file: Path) -> None:
    """The lines of a loop count its items, name skipped ones, and show the first jobs."""
    lines = plan(file).stdout.splitlines()
    train = next(at for at, line in enumerate(lines) if line.startswith("  train"))
    assert lines[train].split(maxsplit=1)[1] == (
        "runs 12 items, 3 of them skipped (`train[9]`, `train[10]` and `train[11]`), 1 failure tolerated"
    )
    assert lines[train + 1].strip().startswith('train[0]  {"region": "eu", "model": "small", "fold": 0}  {"imageUri"')
    assert lines[train + 6].strip() == "and 7 more items"
    assert "  clean   runs one job for each item of \u2039steps.list.outputs.files\u203a; after `list`" in lines
    assert any(line.strip().startswith("clean[…]  depends on `item.size > 0`  {") for line in lines)
    assert "Values that are not known before the run are shown as" in lines[-2] + lines[-1]


def test_a_large_plan_shows_no_items() -> None:
    """With many steps, each of them takes one line, loops included."""
    steps = "".join(
        f"- id: s{n}\n  forEach: [1, 2]\n  task: {{url: u, args: ['${{{{ item }}}}']}}\n" for n in range(61)
    )
    result = CliRunner().invoke(cli, ["plan", "-"], input=f"steps:\n{steps}", env=NO_CLOUD, catch_exceptions=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("  ")]
    assert len(lines) == 61
    assert lines[0].strip() == "s0   runs 2 items"


@pytest.mark.parametrize(
    ("step", "count", "skipped", "undecided"),
    [
        (loop("[]"), 0, (), 0),
        (loop("[1, 2, 3]", more="when: index == 1"), 3, (0, 2), 0),
        (loop("[1, 2, 3]", more="when: item > 5"), 3, (0, 1, 2), 0),
        (loop("${{ range(9) }}", more="when: item % 2 == 0"), 9, (1, 3, 5, 7), 0),
        (loop("${{ range(9) }}", more="when: item < 7 and params.q"), 9, (7, 8), 7),
        (loop("${{ params.p }}"), 2, (), 0),
        (loop('{x: "${{ params.p }}", y: [1, 2, 3]}'), 6, (), 0),
    ],
)
def test_items_are_counted(step: str, count: int, skipped: tuple[int, ...], undecided: int) -> None:
    """A loop runs even if it has no items, or all of them are skipped."""
    found = step_of(step, p=["a", "b"])
    assert found.fate is Fate.RUNS
    assert found.items is not None
    assert (found.items.count, found.items.skipped, found.items.undecided) == (count, skipped, undecided)


@pytest.mark.parametrize(
    ("step", "because"),
    [
        (loop("${{ params.p }}"), "`forEach` (line 4) must be a list, but its value is null"),
        (loop('{x: "${{ params.p }}"}'), "`forEach.x` (line 4) must be a list, but its value is null"),
        (loop("${{ params.p.x }}"), "`forEach` (line 4) cannot be evaluated: "),
        (loop("${{ params.p.x ?? range(200) + [1] }}"), ""),
        (
            loop('{x: "${{ range(200) }}", y: "${{ params.p ?? range(100) }}"}'),
            "`forEach` gives 20,000 items, more than the 10,000 allowed",
        ),
        (loop("[x, '1']", '["${{ int(item) }}"]'), "1 item would fail; first: a[0]: `args[0]` (line 5) cannot be"),
        (
            loop("[x, y, '1']", '["${{ int(item) }}"]', "tolerate: 1"),
            "2 items would fail, 1 item may; first: a[0]: `args[0]` (line 5) cannot be evaluated",
        ),
        (loop("[x, '1']", '["${{ int(item) }}"]', "tolerate: 1"), ""),
        (loop("['1', x]", more="when: int(item) > 0"), "1 item would fail; first: a[1]: `when` (line 6) cannot be"),
        (
            loop("['1', '1', '1', '1', '1', x]", more="when: int(item) > 0"),
            "1 item would fail; first: a[5]: `when` (line 6) cannot be evaluated",
        ),
    ],
)
def test_a_loop_that_cannot_be_evaluated_fails(step: str, because: str) -> None:
    """A loop fails without a list, or if more of its items fail than it tolerates."""
    found = step_of(step, p=None)
    assert found.fate is (Fate.FAILS if because else Fate.RUNS)
    assert found.because.startswith(because)


@pytest.mark.parametrize(
    "step",
    [
        loop("${{ params.q }}", '["${{ int(params.p) }}", "${{ item }}"]'),
        loop("${{ params.q }}", more="when: params.p.x and item"),
    ],
)
def test_a_loop_over_an_unknown_list_is_not_certain_to_fail(step: str) -> None:
    """The list may be empty, so only the item that stands for all is shown to fail."""
    found = step_of(step, p="x")
    assert found.fate is Fate.RUNS
    assert found.items is not None
    assert [item.fate for item in found.items.first] == [Fate.FAILS]


def test_a_condition_of_the_whole_step_skips_the_loop() -> None:
    """A condition that does not name the item is decided once; those who read a skipped loop see counts of 0."""
    text = """
params: {full: false}
steps:
- {id: a, when: params.full, forEach: [1, 2], task: {url: u, args: ["${{ item }}"]}, outputs: {n: int}}
- {id: b, dependsOn: a, trigger: always, when: steps.a.counts.total == 0, task: {url: u}}
"""
    first, second = plan_of(text, full=False).steps
    assert (first.fate, first.items) == (Fate.SKIPPED, None)
    assert second.fate is Fate.RUNS


def test_a_loop_that_may_be_skipped_has_its_items() -> None:
    """What a loop would do is shown even if it is not known whether it runs."""
    text = """
steps:
- {id: a, task: {url: u}, outputs: {n: int}}
- {id: b, dependsOn: a, when: steps.a.outputs.n > 1, forEach: [1, 2], task: {url: u, args: ["${{ item }}"]}}
"""
    step = plan_of(text).steps[1]
    assert step.fate is Fate.DEPENDS
    assert step.items is not None
    assert [item.job["args"] for item in step.items.first if item.job] == [[1], [2]]


def test_the_work_for_conditions_is_limited() -> None:
    """All items of a plan share a budget; beyond it, they are not decided."""
    each = "- id: s{}\n  forEach: ${{{{ range(10000) }}}}\n  when: sum(range(30)) > item\n  task: {{url: u}}\n"
    first, second = plan_of("steps:\n" + "".join(map(each.format, range(2))), with_jobs=False).steps
    assert first.items is not None
    assert second.items is not None
    assert first.items.undecided == 0
    assert len(first.items.skipped) > 9_000
    assert 1_000 < second.items.undecided < 10_000 - MOST_PLANNED


def test_combinations_of_large_items_take_little_memory() -> None:
    """Items are built one at a time."""
    large = ", ".join(f"{number}{'x' * 4_000}" for number in range(60))
    text = f"steps:\n- {{id: a, forEach: {{x: [{large}], y: [{large}]}}, when: index > 2000, task: {{url: u}}}}"
    workflow = parse_workflow(text, filename="f.yaml")
    tracemalloc.start()
    plan_run(workflow, Known(), path="f.yaml")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 30_000_000


# -- cost -------------------------------------------------------------------------------------------------------------


def test_the_model_of_a_loop_has_as_many_items() -> None:
    """Costs are those of a loop of the same size, of which as many items are skipped."""
    text = TRAINING.replace("params.folds", "3")
    workflow = parse_workflow(text, filename="f.yaml")
    model = json.loads(model_of(workflow, plan_of(text, with_jobs=False, models=["a", "large"])))
    train, clean = model["steps"][1:3]
    assert train["forEach"] == "${{ range(12) if run.id != '' else [] }}"
    assert train["when"] == "index >= 3 and (run.id != '')"
    assert clean["forEach"] == "${{ range(10) if run.id != '' or has(steps[\"list\"].outputs.files) else [] }}"
    assert parse_workflow(json.dumps(model), filename="f.json").steps[1].for_each is not None
