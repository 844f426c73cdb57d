"""Loops in hypothetical runs: what `play` and `plan --outputs` tell of items, and what items cost."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_client.cost.estimate import estimate
from atom_client.cost.usage import Assumptions
from atom_emulator.testing import play
from support.no_cloud import NO_CLOUD

TRAINING: Final = """
name: training
params: {models: {type: [text], default: [small, large]}}
steps:
  - id: list
    task: {imageUri: list}
    outputs: {files: [text]}
  - id: train
    dependsOn: list
    forEach: {region: [eu, us], model: "${{ params.models }}"}
    when: not (item.region == 'us' and item.model == 'large')
    tolerate: 1
    task: {name: training, imageUri: train, args: {model: "${{ item.model }}", number: "${{ index }}"}}
    outputs: {auc: number}
  - id: clean
    dependsOn: list
    forEach: ${{ steps.list.outputs.files }}
    task: {imageUri: clean, args: ["${{ item }}"]}
  - id: report
    dependsOn: [train, clean]
    task: {imageUri: report, args: ["${{ steps.train.outputs.auc }}", "${{ steps.clean.counts.total }}"]}
"""

SCRIPT: Final[dict[str, Any]] = {
    "rules": [
        {"step": "list", "outputs": {"files": [f"f{number}" for number in range(7)]}},
        {"step": "train[1]", "always_fail": True, "message": "disk full"},
        {"step": "train", "outputs": {"auc": 0.5}},
        {"step": "clean[3]", "fail_times": 1},
    ]
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a workflow file with loops."""
    path = tmp_path / "training.yaml"
    path.write_text(TRAINING)
    return path


def test_items_are_played_one_by_one(file: Path) -> None:
    """A rule for one item decides about it alone; all others follow the rule for the step."""
    played = play(file, SCRIPT)
    assert played.state == "FAILED"
    assert played.states == {"list": "SUCCEEDED", "train": "SUCCEEDED", "clean": "FAILED", "report": "SKIPPED"}
    assert played.step("train").counts == {"total": 4, "succeeded": 2, "failed": 1, "skipped": 1}
    assert played.step("train").outputs == {"auc": [0.5, None, 0.5, None]}
    assert {name: item.state for name, item in played.items_of("train").items()} == {
        "train[0]": "SUCCEEDED",
        "train[1]": "FAILED",
        "train[2]": "SUCCEEDED",
        "train[3]": "SKIPPED",
    }
    assert played.step("train[1]").message == "disk full"
    assert played.step("clean").message == "1 of 7 items failed; first: clean[3]: " + played.step("clean[3]").message
    assert [job["args"]["number"] for job in played.jobs("train")] == [0, 1, 2]
    assert [job["args"] for job in played.jobs("clean[6]")] == [["f6"]]
    assert {one.step for one in played.submissions if one.step.startswith("train")} == {f"train[{n}]" for n in range(3)}
    with pytest.raises(LookupError, match=r"there is no step train\[4\]"):
        played.step("train[4]")


def test_an_item_is_tried_again_by_itself(file: Path) -> None:
    """The mock counts the attempts of each item."""
    text = file.read_text().replace("forEach: ${{", "retry: {maxAttempts: 2}\n    forEach: ${{")
    file.write_text(text)
    played = play(file, SCRIPT)
    assert played.state == "SUCCEEDED"
    assert {name: item.attempts for name, item in played.items_of("clean").items() if item.attempts > 1} == {
        "clean[3]": 2
    }
    assert played.jobs("report")[0]["args"] == [0.5, None, 0.5, None, 7]


def _plan(file: Path, script: Path, *options: str) -> Result:
    arguments = ["plan", str(file), "--outputs", str(script), *options]
    return CliRunner().invoke(cli, arguments, env=NO_CLOUD, catch_exceptions=False)


def test_a_plan_with_outputs_shows_counts_and_a_few_items(file: Path, tmp_path: Path) -> None:
    """Items that failed are shown before others."""
    script = tmp_path / "jobs.mock.yaml"
    script.write_text(json.dumps({"rules": [{"step": "clean[6]", "always_fail": True}, *SCRIPT["rules"]]}))
    result = _plan(file, script)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("  clean"))
    assert "; 7 items: 5 succeeded, 2 failed" in lines[at]
    assert [line.split()[0] for line in lines[at + 1 : at + 6]] == [
        "clean[0]",
        "clean[1]",
        "clean[2]",
        "clean[3]",
        "clean[6]",
    ]
    assert lines[at + 6].strip() == "and 2 more items"
    assert any(
        line.startswith("  train") and "; 4 items: 2 succeeded, 1 failed, 1 skipped; auc" in line for line in lines
    )


def test_a_plan_with_outputs_lists_all_items_for_programs(file: Path, tmp_path: Path) -> None:
    """Each item has its state, message, outputs and jobs."""
    script = tmp_path / "jobs.mock.yaml"
    script.write_text(json.dumps(SCRIPT))
    steps = {step["id"]: step for step in json.loads(_plan(file, script, "--json").stdout)["steps"]}
    train = steps["train"]
    assert (train["counts"], train["jobs"]) == ({"total": 4, "succeeded": 2, "failed": 1, "skipped": 1}, [])
    assert [(item["id"], item["state"], len(item["jobs"])) for item in train["items"]] == [
        ("train[0]", "SUCCEEDED", 1),
        ("train[1]", "FAILED", 1),
        ("train[2]", "SUCCEEDED", 1),
        ("train[3]", "SKIPPED", 0),
    ]
    assert (train["items"][0]["outputs"], train["items"][1]["message"]) == ({"auc": 0.5}, "disk full")
    assert (steps["list"]["counts"], steps["list"]["items"]) == (None, None)


def test_a_loop_without_its_items_does_not_claim_to_have_nothing_to_do(file: Path, tmp_path: Path) -> None:
    """A step whose items were refused shows why, and that none were created."""
    file.write_text(
        "steps: [{id: list, task: {imageUri: i}, outputs: {files: [int]}},"
        " {id: many, dependsOn: list, forEach: {a: '${{ steps.list.outputs.files }}',"
        " b: '${{ steps.list.outputs.files }}'}, task: {imageUri: i, args: ['${{ item.a }}']}}]"
    )
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": [{"step": "list", "outputs": {"files": list(range(150))}}]}))
    result = CliRunner().invoke(cli, ["plan", str(file), "--outputs", str(script)], env=NO_CLOUD)
    assert "22,500" in result.stdout
    assert "nothing to do" not in result.stdout


def test_an_empty_loop_has_nothing_to_do(file: Path, tmp_path: Path) -> None:
    """A loop without items succeeds, and says so."""
    script = tmp_path / "jobs.mock.yaml"
    script.write_text(json.dumps({"rules": [{"step": "list", "outputs": {"files": []}}, *SCRIPT["rules"][1:3]]}))
    result = _plan(file, script)
    assert result.exit_code == 0
    assert "SUCCEEDED; 0 items: nothing to do" in result.stdout


@pytest.mark.parametrize(
    ("for_each", "instances", "submissions"),
    [("[1, 2, 3]", 4, 4), ("${{ range(12) }}", 13, 13), ("${{ steps.list.outputs.files }}", 11, 11), ("[]", 1, 1)],
)
def test_each_item_costs_as_much_as_a_step(for_each: str, instances: int, submissions: int) -> None:
    """The cost of a loop is that of its items; a list that is not known counts as ten."""
    text = f"""
steps:
  - {{id: list, task: {{imageUri: list}}, outputs: {{files: [text]}}}}
  - id: train
    dependsOn: list
    forEach: {for_each}
    task: {{imageUri: train, args: ["${{{{ item }}}}"]}}
"""
    found = estimate(text.encode(), Assumptions(job=timedelta(minutes=1)), filename="f.yaml")
    assert (found.instances, found.tally.submissions) == (instances, submissions)
    assert found.assumed_items == (("train",) if "steps" in for_each else ())
    assert found.per_1000_steps(1.0) == pytest.approx(1000 / instances)


def test_skipped_items_cost_no_jobs() -> None:
    """Items that their condition skips are written, but submit nothing."""
    text = """
steps:
  - {id: train, forEach: "${{ range(9) }}", when: item < 4, task: {imageUri: train}}
  - {id: report, dependsOn: train, task: {imageUri: report, args: ["${{ steps.train.counts.skipped }}"]}}
"""
    found = estimate(text.encode(), Assumptions(job=timedelta(minutes=1)), filename="f.yaml")
    assert (found.instances, found.tally.submissions) == (10, 5)


def test_the_cost_of_a_file_with_loops_names_the_items(file: Path) -> None:
    """People and programs see how many items are counted, and which number is assumed."""
    arguments = ["cost", str(file)]
    shown = CliRunner().invoke(cli, arguments, env=NO_CLOUD, catch_exceptions=False).stdout
    assert "training: 4 steps (16 with all items), " in shown
    assert "Lists that are not known in advance are assumed to have 10 items: `clean`." in shown
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--json"], env=NO_CLOUD, catch_exceptions=False).stdout)
    assert (found["steps"], found["steps_and_items"], found["assumed_items"]) == (4, 16, ["clean"])
