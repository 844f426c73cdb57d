"""A run that repairs an ended one keeps what succeeded and is unchanged, for every kind of edit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState
from support.repairs import BASE, FAILING, Repaired, edited, ended_run, repair


class Edit(NamedTuple):
    """An edit of the file or of a parameter: `rerun` names each step that runs again, with its reason."""

    rerun: Mapping[str, str]
    replaced: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}
    removed: str = ""


STATS = "  - {id: stats, dependsOn: [extract], task: {imageUri: 'stats:1', args: {limit: '${{ params.limit }}'}}}"
FAILED = {"publish": "it failed"}

EDITS = {
    "nothing but what failed": Edit({**FAILED}),
    "a renamed step": Edit(
        {"figures": "it is new", "report": "it now depends on figures", "publish": "it failed"},
        {"id: stats": "id: figures", "clean, stats, train": "clean, figures, train"},
        removed="stats",
    ),
    "a new dependency": Edit(
        {"stats": "it now depends on clean", "report": "stats runs again", **FAILED},
        {"- {id: stats, dependsOn: [extract]": "- {id: stats, dependsOn: [extract, clean]"},
    ),
    "a dependency that was before the step anyway": Edit(
        {**FAILED}, {"dependsOn: [clean, stats, train]": "dependsOn: [clean, stats, train, extract]"}
    ),
    "a removed dependency": Edit({**FAILED}, {"dependsOn: [clean, stats, train]": "dependsOn: [clean, train]"}),
    "changed args": Edit(
        {"clean": "its args changed", "train": "clean runs again", "report": "clean runs again", **FAILED},
        {"mode: fast": "mode: thorough"},
    ),
    "a changed image": Edit(
        {"stats": "its image changed", "report": "stats runs again", **FAILED}, {"stats:1": "stats:2"}
    ),
    "the failed step is corrected": Edit({**FAILED}, {"publish:1": "publish:2"}),
    "a removed step": Edit(
        {**FAILED},
        {
            f"{STATS}\n": "",
            "clean, stats, train": "clean, train",
        },
        removed="stats",
    ),
    "a new loop": Edit(
        {"stats": "its kind of step changed", "report": "stats runs again", **FAILED},
        {"- {id: stats,": "- {id: stats, forEach: [1, 2],"},
    ),
    "changed items of a loop": Edit(
        {"train": "its forEach changed", "report": "train runs again", **FAILED}, {"[a, b]": "[a, b, c]"}
    ),
    "another value by default": Edit(
        {"stats": "it reads `params.limit`, which changed", "report": "stats runs again", **FAILED},
        {"default: 3": "default: 4"},
    ),
    "another value of a parameter": Edit(
        {
            "extract": "it reads `params.day`, which changed",
            "clean": "extract runs again",
            "stats": "extract runs again",
            "train": "clean runs again",
            "report": "clean runs again",
            **FAILED,
        },
        params={"day": "tue"},
    ),
    "a default that is given as before": Edit({**FAILED}, params={"limit": 3}),
    "changed policies": Edit(
        {**FAILED},
        {
            "imageUri: 'clean:1'": "imageUri: 'clean:1', scaleTier: CUSTOM, labels: {team: a}",
            "- {id: stats,": "- {id: stats, timeout: 1m, retry: {maxAttempts: 3}, onLost: fail,",
            "forEach: [a, b]": "forEach: [a, b]\n    maxParallel: 1",
        },
    ),
    "a new condition": Edit(
        {"stats": "its condition changed", "report": "stats runs again", **FAILED},
        {"- {id: stats,": "- {id: stats, when: '${{ params.limit > 1 }}',"},
    ),
    "a changed trigger": Edit(
        {"report": "its trigger changed", **FAILED}, {"- {id: report,": "- {id: report, trigger: all-succeeded,"}
    ),
    "changed outputs": Edit(
        {
            "extract": "its declared outputs changed",
            **dict.fromkeys(("clean", "stats"), "extract runs again"),
            **dict.fromkeys(("train", "report"), "clean runs again"),
            **FAILED,
        },
        {"outputs: {rows: int}": "outputs: {rows: int, name: text}"},
    ),
    "a new step in the middle": Edit(
        {
            "check": "it is new",
            "train": "it now depends on check",
            "report": "train runs again",
            **FAILED,
        },
        {
            "  - id: train\n    dependsOn: [clean]": "  - {id: check, dependsOn: [clean], task: {imageUri: check}}\n"
            "  - id: train\n    dependsOn: [check]"
        },
    ),
    "a new step at the end": Edit(
        {**FAILED, "archive": "it is new"},
        {"  - {id: publish": "  - {id: archive, dependsOn: [stats], task: {imageUri: archive}}\n  - {id: publish"},
    ),
    "comments, and another order": Edit(
        {**FAILED},
        {
            "steps:\n": "# A comment moves every line.\nsteps:\n"
            "  - {id: publish, dependsOn: [report], task: {imageUri: 'publish:1'}}\n",
            "  - {id: publish, dependsOn: [report], task: {imageUri: 'publish:1'}}\n": "",
        },
    ),
    "a step that reads an output of items": Edit(
        {
            "train": "some outputs of its items are now read but were not before",
            "report": "its args changed",
            **FAILED,
        },
        {"imageUri: 'report:1'": "imageUri: 'report:1', args: {scores: '${{ steps.train.outputs.score }}'}"},
    ),
    "another name and description": Edit({**FAILED}, {"name: nightly": "name: corrected\ndescription: Better."}),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_runs_again_what_it_may_have_changed(edit: Edit) -> None:
    """Each step of the new run is kept without a job, or runs for the reason that is shown; and the run succeeds."""
    earlier = ended_run(script=FAILING)
    repaired = repair(earlier, edited(BASE, edit.replaced), params=edit.params)
    chosen = {one.step_id: one for one in repaired.judgment.choices}
    assert {name: one.why for name, one in chosen.items() if one.what == "run"} == dict(edit.rerun)
    assert [name for name, one in chosen.items() if one.what == "remove"] == edit.removed.split()
    assert repaired.jobs == set(edit.rerun)
    assert repaired.run.state is RunState.SUCCEEDED
    kept = [name for name, one in chosen.items() if one.what == "keep"]
    assert_kept(repaired, kept)


DECIDED = """
params: {limit: {type: int, default: 3}}
steps:
  - {id: first, task: {imageUri: first}}
  - {id: odd, dependsOn: [first], when: '${{ params.limit > 5 }}', task: {imageUri: odd}}
  - {id: middle, dependsOn: [], task: {imageUri: middle}}
  - {id: last, dependsOn: [middle], trigger: always, task: {imageUri: last}}
"""


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("[odd]", "[odd, first]", "its dependencies changed, so it is no longer skipped"),
        ("[odd, first], forEach: [1]", "[first], forEach: [1]", ""),
        (
            "[odd], forEach: [1, 2]",
            "[odd, first], forEach: [1, 2]",
            "its dependencies changed, so it is no longer skipped",
        ),
        (
            "[odd, first], trigger: all-succeeded",
            "[first], trigger: all-succeeded",
            "its dependencies changed, so it is no longer skipped",
        ),
        ("[odd, first]", "[odd]", "its dependencies changed, so it is now skipped"),
        (
            "[bad, first], trigger: any-failed",
            "[first], trigger: any-failed",
            "its dependencies changed, so it is now skipped",
        ),
        ("[bad, first], trigger: always", "[first], trigger: always", ""),
        ("[odd], when: '${{ params.limit > 6 }}'", "[first], when: '${{ params.limit > 6 }}'", "no longer skipped"),
        ("[first], when: '${{ params.limit > 6 }}'", "[], when: '${{ params.limit > 6 }}'", ""),
    ],
)
def test_a_step_is_decided_again_if_its_dependencies_skip_it_or_no_longer_do(before: str, after: str, why: str) -> None:
    """A step is kept only if its trigger, given the dependencies that the file names now, decides as it did."""
    text = edited(DECIDED, {"[]": before})
    if "bad" in before:
        text = edited(text, {"steps:\n": "steps:\n  - {id: bad, task: {imageUri: bad}}\n"})
    changed = edited(text, {before: after, "imageUri: last": "imageUri: other"})
    earlier = ended_run(text, script=json.dumps({"rules": [{"step": "bad", "fail_times": 9}]}))
    repaired = repair(earlier, changed)
    (chosen,) = (one for one in repaired.judgment.choices if one.step_id == "middle")
    assert (chosen.what == "run", why in chosen.why) == (bool(why), True)
    fresh = ended_run(changed)
    if why:
        steps = fresh.world.steps(fresh.run_id)
        assert {name: repaired.steps[name].state for name in steps} == {name: one.state for name, one in steps.items()}


def assert_kept(repaired: Repaired, kept: list[str]) -> None:
    """Assert that these steps are as they ended in the earlier run."""
    before, after = repaired.earlier_steps, repaired.steps
    for name in kept:
        assert (after[name].kept_from, _end(after[name])) == (repaired.run.repairs, _end(before[name]))


def _end(step: StepRecord) -> tuple[Any, ...]:
    return step.state, step.attempt, step.job_id, step.message, step.started_at, step.finished_at, step.items
