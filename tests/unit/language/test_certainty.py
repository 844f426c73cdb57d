"""What is certain of steps holds in every run, whatever fails and whichever condition is false."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atom_workflows.core.kinds import TRIGGERS, Ended, Release
from atom_workflows.core.workflow import Trigger
from atom_workflows.language.certainty import StepGraph
from atom_workflows.language.fields import WORKFLOW
from atom_workflows.language.nodes import Reading
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow, Report
from atom_workflows.language.reader import read_record
from atom_workflows.language.tree import compose
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, events


def _graph(text: str) -> StepGraph:
    report = Report("f.yaml")
    root, _ = compose(events(text, report, FASTEST_LOADER), report)
    assert root is not None
    reading = read_record(WORKFLOW, root, "", report)
    report.raise_if_any()
    assert isinstance(reading, Reading)
    return StepGraph(reading.values["steps"])


def _decide(trigger: str, ends: Sequence[str]) -> str:
    """Return what becomes of a step, as the table of triggers says."""
    counted = [end in ("succeeded", "tolerated") for end in ends]
    if "failed" in ends or "blocked" in ends:
        row = Ended.ANY_FAILED
    elif all(counted):
        row = Ended.ALL_SUCCEEDED
    else:
        row = Ended.SOME_SKIPPED if any(counted) else Ended.ALL_SKIPPED
    return {None: "run", Release.SKIP: "skipped", Release.BLOCK: "blocked"}[TRIGGERS[row][Trigger(trigger)]]


_WHEN = {"none": "", "step": ", when: run.id == 'a'", "item": ", forEach: [1], when: item == 2"}
_Step = tuple[tuple[int, ...], str, str, bool]


@st.composite
def _steps(draw: Any) -> list[_Step]:
    """Draw up to five steps: the steps before each, its trigger, what its `when` is about, and its `allowFailure`."""
    steps: list[_Step] = []
    for number in range(draw(st.integers(1, 5))):
        before = tuple(sorted(draw(st.sets(st.integers(0, number - 1), max_size=3)))) if number else ()
        trigger = draw(st.sampled_from([str(trigger) for trigger in Trigger])) if before else "no-failure"
        steps.append((before, trigger, draw(st.sampled_from(list(_WHEN))), draw(st.booleans())))
    return steps


def _text(steps: Sequence[_Step]) -> str:
    lines = ["steps:"]
    for number, (before, trigger, when, allows_failure) in enumerate(steps):
        needs = f", dependsOn: [{', '.join(f's{one}' for one in before)}], trigger: {trigger}" if before else ""
        lenient = ", allowFailure: true" if allows_failure else ""
        lines.append(f"- {{id: s{number}{needs}{_WHEN[when]}{lenient}, task: {{url: u}}}}")
    return "\n".join(lines)


def _runs(steps: Sequence[_Step]) -> Any:
    """Yield the end of each step in every possible run."""
    for chances in product(("succeeds", "fails", "unmet"), repeat=len(steps)):
        ends: list[str] = []
        for (before, trigger, when, allows_failure), chance in zip(steps, chances, strict=True):
            end = _decide(trigger, [ends[one] for one in before])
            if end == "run":
                failure = "tolerated" if allows_failure else "failed"
                unmet = "skipped" if when == "step" else "succeeded"
                end = {"succeeds": "succeeded", "fails": failure, "unmet": unmet}[chance]
            ends.append(end)
        yield ends


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_steps())
def test_what_is_certain_holds_in_every_run(steps: list[_Step]) -> None:
    """A step that is sure has succeeded whenever its reader runs, and one that cannot be skipped never is."""
    graph = _graph(_text(steps))
    for ends in _runs(steps):
        for reader, (before, trigger, _, _) in enumerate(steps):
            runs = _decide(trigger, [ends[one] for one in before]) == "run"
            for read in range(len(steps)):
                assert not (runs and graph.is_sure(reader, read) and ends[read] != "succeeded")
            assert graph.can_be_skipped(reader) or ends[reader] != "skipped"
        if "failed" not in ends:
            for number, end in enumerate(ends):
                assert not graph.is_sure_at_the_end(number) or end == "succeeded"


@settings(max_examples=100, derandomize=True, deadline=None)
@given(_steps())
def test_only_steps_behind_can_be_read(steps: list[_Step]) -> None:
    """A step is behind another exactly if a chain of dependencies leads to it."""
    graph = _graph(_text(steps))
    behind: list[set[int]] = []
    for number, (before, *_) in enumerate(steps):
        behind.append({*before, *(further for one in before for further in behind[one])})
        assert [one for one in range(len(steps)) if graph.is_behind(number, one)] == sorted(behind[number])


_TAIL = '\n- {{id: z, dependsOn: [{}], task: {{url: u, args: ["${{{{ steps.a.outputs.n }}}}"]}}}}'


@pytest.mark.parametrize(
    ("steps", "needed"),
    [
        ("", "a"),
        ("- {id: b, dependsOn: a}", "b"),
        # A condition behind the step that is read changes nothing.
        ("- {id: b, dependsOn: a, when: run.id == 'x'}", "b"),
        ("- {id: b, dependsOn: a, when: run.id == 'x'}\n- {id: c, dependsOn: a, when: run.id == 'y'}", "b, c"),
        ("- {id: b, dependsOn: a, when: run.id == 'x'}\n- {id: c}", "b, c"),
        ("- {id: b, dependsOn: a, allowFailure: true}", "b"),
        ("- {id: b, dependsOn: a, trigger: all-succeeded}\n- {id: c}", "c, b"),
        # A condition about items skips single items, not the step.
        ("- {id: b, dependsOn: a, forEach: [1, 2], when: item > 1, task: {url: u}}", "b"),
    ],
)
def test_a_step_that_must_have_succeeded_needs_no_default(steps: str, needed: str) -> None:
    """What blocks or skips the reader need not be asked for."""
    first = "steps:\n- {id: a, task: {url: u}, outputs: {n: int}}\n"
    assert parse_workflow(first + steps + _TAIL.format(needed), filename="f.yaml")


@pytest.mark.parametrize(
    ("first", "steps", "needed", "reason"),
    [
        (", when: run.id == 'x'", "- {id: b}", "a, b", "because `a` may be skipped (line 2)"),
        (", allowFailure: true", "", "a", "because `a` may fail (line 2)"),
        (", forEach: [1], when: run.id == 'x'", "- {id: b}", "a, b", "because `a` may be skipped (line 2)"),
        (", forEach: [1], allowFailure: true", "", "a", "because `a` may fail (line 2)"),
        ("", "- {id: b, dependsOn: a, trigger: always}", "b", "because `a` might not have succeeded"),
        ("", "- {id: b, dependsOn: a, trigger: any-failed}", "b", "because `a` might not have succeeded"),
    ],
)
def test_a_step_that_need_not_have_succeeded_needs_a_default(first: str, steps: str, needed: str, reason: str) -> None:
    """The problem says why the output may be missing."""
    text = f"steps:\n- {{id: a{first}, task: {{url: u}}, outputs: {{n: int}}}}\n{steps}" + _TAIL.format(needed)
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename="f.yaml")
    (problem,) = caught.value.problems
    assert problem.message == f"`steps.a.outputs.n` may be missing, {reason}"
