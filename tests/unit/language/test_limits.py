"""Large and hostile files: what is legal is read, what is not is refused before it hurts."""

from __future__ import annotations

from typing import Any

import pytest

from atom_workflows.language import limits
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, PURE_LOADER

_LOADERS = pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("reader", ["a step", "the run's outputs"])
def test_the_steps_that_are_read_have_a_limit(reader: str, more: int) -> None:
    """A step, or the outputs of a run, may read the results of so many steps, and the first too many is named."""
    count = limits.MAX_STEPS_READ + more
    steps = "".join(f"- {{id: s{n}, task: {{url: u}}}}\n" for n in range(count))
    read = ", ".join(f"${{{{ steps.s{n}.state }}}}" for n in range(count))
    needs = ", ".join(f"s{n}" for n in range(count))
    last = f'- {{id: z, dependsOn: [{needs}], task: {{url: u, args: ["{read}"]}}}}\n'
    text = f"steps:\n{steps}{last if reader == 'a step' else ''}"
    text += f'outputs: {{all: "{read}"}}\n' if reader != "a step" else ""
    if not more:
        assert parse_workflow(text, filename="f.yaml")
        return
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename="f.yaml")
    (problem,) = caught.value.problems
    assert problem.message == f"the expressions of {reader} may read the results of at most 200 steps"
    assert text.splitlines()[problem.line - 1][problem.column - 1 :].startswith(f"steps.s{count - 1}.state")


def _messages(text: str | bytes, loader: Any = FASTEST_LOADER) -> list[str]:
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename="f.yaml", loader=loader)
    return [problem.message for problem in caught.value.problems]


def test_the_longest_chain_is_read() -> None:
    """The longest chain is read without recursion."""
    chain = "".join(f"- {{id: s{n}, dependsOn: [s{n + 1}]}}\n" for n in range(limits.MAX_STEPS - 1))
    workflow = parse_workflow(f"steps:\n{chain}- id: s{limits.MAX_STEPS - 1}\n", filename="f.yaml")
    assert len(workflow.steps) == limits.MAX_STEPS


def test_the_longest_cycle_is_shown_shortened() -> None:
    """A cycle through every step is shown on one short line."""
    size = limits.MAX_STEPS
    (message,) = _messages(
        "steps:\n" + "".join(f"- {{id: s{n}, dependsOn: [s{(n + 1) % size}]}}\n" for n in range(size))
    )
    assert "-> (9,988 more) ->" in message
    assert len(message) < 200


def test_a_step_may_wait_for_all_others() -> None:
    """A step may depend on all other steps."""
    count = limits.MAX_STEPS - 1
    steps = "".join(f"- id: s{n}\n" for n in range(count))
    all_of_them = ", ".join(f"s{n}" for n in range(count))
    workflow = parse_workflow(f"steps:\n{steps}- {{id: end, dependsOn: [{all_of_them}]}}\n", filename="f.yaml")
    assert len(workflow.steps[-1].depends_on) == count


def test_one_step_too_many_is_one_problem() -> None:
    """Steps beyond the limit are not checked, but can be depended on."""
    steps = "".join(f"- id: s{n}\n" for n in range(limits.MAX_STEPS))
    assert _messages(f"steps:\n- {{id: a, dependsOn: [s{limits.MAX_STEPS - 1}]}}\n{steps}") == [
        "there are 10,001 steps, more than the 10,000 allowed"
    ]


def test_a_file_over_the_limit_is_not_looked_at() -> None:
    """A file that is too large has that problem only."""
    (message,) = _messages(b"#" * (limits.MAX_FILE_BYTES + 1))
    assert message == "the file is larger than the 4,194,304 bytes allowed"


@_LOADERS
def test_no_depth_of_brackets_recurses(loader: Any) -> None:
    """A file of opening brackets is refused at the limit on depth."""
    assert "lists and maps are nested more than 20 levels deep" in _messages("[" * 5_000, loader)


@_LOADERS
def test_aliases_do_not_multiply_a_long_text(loader: Any) -> None:
    """A long text counts as many values, each time it is referred to."""
    text = f"steps:\n- {{id: a, description: &d {'x' * 9_000}}}\n" + "- {id: b, task: {url: u, args: ["
    messages = _messages(text + "*d, " * 5_000 + "]}}\n", loader)
    assert any("more than 300,000 values" in message for message in messages)


def test_many_merges_do_not_multiply() -> None:
    """A map merged many times counts each time."""
    wide = ", ".join(f"k{n}: 1" for n in range(1_000))
    merges = ", ".join(["*w"] * 400)
    text = f"steps:\n- {{id: a, task: {{url: u, args: [&w {{{wide}}}, {{<<: [{merges}]}}]}}}}\n"
    assert any("more than 300,000 values" in message for message in _messages(text))


def test_a_large_task_is_refused() -> None:
    """A task is limited to 65,536 bytes as JSON."""
    text = "steps:\n- {id: a, task: {url: u, args: ["
    parse_workflow(f"{text}{'é' * 32_700}]}}}}\n", filename="f.yaml")
    (message,) = _messages(f"{text}{'é' * 32_800}]}}}}\n")
    assert message == "`task` is 65,626 bytes as JSON, more than the 65,536 allowed"


def test_binary_files_are_refused_at_once() -> None:
    """A file full of control characters gets a few examples only."""
    assert len(_messages(bytes(range(32)) * 1_000)) == 10
