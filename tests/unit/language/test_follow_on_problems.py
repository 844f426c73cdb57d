"""A mistake is reported once: no other problem appears that would vanish with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow

EXAMPLES = Path(__file__).parents[3] / "examples"

ETL = """\
name: etl
params:
  day: {type: date}
steps:
  - id: extract
    task: {imageUri: extract, args: ["${{ params.day }}"]}
    outputs: {rows: int, files: [text]}
  - id: check
    dependsOn: [extract]
    when: steps.extract.outputs.rows > 0
    task: {imageUri: check, args: "${{ steps.extract.outputs.files }}"}
    outputs: {ok: bool}
  - id: load
    dependsOn: [extract, check]
    trigger: all-succeeded
    when: steps.check.outputs.ok
    task: {imageUri: load, args: ["${{ steps.extract.outputs.rows + 1 }}"]}
    outputs: {loaded: int}
  - id: join
    dependsOn:
      - check
      - load
    task: {imageUri: join, args: ["${{ steps.extract.outputs.rows }}", "${{ steps.load.outputs.loaded ?? 0 }}"]}
  - id: alarm
    dependsOn: join
    trigger: any-failed
    task: {imageUri: alarm, args: ["${{ steps.join.state }}"]}
  - id: report
    dependsOn: [join]
    task: {imageUri: report, args: ["${{ steps.extract.outputs.rows }}"]}
    outputs: {url: text}
finally:
  - id: stop
    task: {imageUri: stop, args: ["${{ steps.report.outputs.url ?? '' }}"]}
    outputs: {code: int}
  - id: clean
    dependsOn: [stop]
    when: steps.stop.outputs.code == 0
    task: {imageUri: clean, args: ["${{ steps.stop.outputs.code }}"]}
outputs: {url: "${{ steps.report.outputs.url ?? '' }}", rows: "${{ steps.extract.outputs.rows }}"}
"""

LOOPS = """\
steps:
  - id: extract
    task: {imageUri: extract}
    outputs: {files: [text], sizes: [int]}
  - id: split
    dependsOn: [extract]
    forEach: {file: "${{ steps.extract.outputs.files }}", size: "${{ steps.extract.outputs.sizes }}"}
    when: item.size > 0
    task: {imageUri: split, args: ["${{ item.file }}"]}
    outputs: {parts: [text]}
  - id: load
    dependsOn: [split]
    forEach: ${{ [parts[0] for parts in steps.split.outputs.parts if parts != null] }}
    task: {imageUri: load, args: ["${{ item }}"]}
    outputs: {rows: int}
  - id: report
    dependsOn: [load]
    when: steps.split.counts.failed == 0
    task: {imageUri: report, args: ["${{ sum(steps.load.outputs.rows) }}"]}
"""

FILES = {
    "loops": LOOPS,
    "etl": ETL,
    **{path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*.yaml") if ".mock." not in path.name},
}
DEPENDENCIES = re.compile(r"dependsOn:(?: *\[[^\]]*\]| [\w-]+|(?:\n +- [\w-]+)+)")


def problems_of(text: str) -> list[str]:
    """Return the problems of a file."""
    try:
        parse_workflow(text, filename="f")
    except InvalidWorkflow as error:
        return [str(problem) for problem in error.problems]
    return []


def misspellings() -> Iterator[tuple[str, str, str]]:
    """Yield each dependency of each file: the file, its text with that one misspelled, and the name."""
    for name, text in FILES.items():
        for found in DEPENDENCIES.finditer(text):
            for word in re.finditer(r"[\w-]+", found[0].removeprefix("dependsOn:")):
                if word[0] == "-":
                    continue
                at = found.start() + len("dependsOn:") + word.start()
                broken = text[:at] + word[0][0] + word[0][2:] + "qx" + text[at + len(word[0]) :]
                yield name, broken, word[0]


def other_shapes() -> Iterator[tuple[str, str]]:
    """Yield the file of a pipeline with another mistake in the order of its steps, and the beginning of the problem."""
    for field, message in {
        "needs": "there is no field `needs` in a step; did you mean `dependsOn`?",
        "dependOn": "there is no field `dependOn` in a step; did you mean `dependsOn`?",
        "depends_on": "there is no field `depends_on` in a step; did you mean `dependsOn`?",
    }.items():
        for found in re.finditer(r"dependsOn", ETL):
            yield ETL[: found.start()] + field + ETL[found.end() :], message
    yield ETL.replace("dependsOn: [extract, check]", 'dependsOn: "extract, check"'), "there is no step `extract, check`"
    yield ETL.replace("dependsOn: [extract, check]", "dependsOn: {extract: check}"), "`dependsOn` must be a list"
    yield ETL.replace("dependsOn: [extract, check]", "dependsOn: [extract, [check]]"), "an entry of `dependsOn` must be"
    yield ETL.replace("dependsOn: [extract]", "dependsOn: ['${{ params.day }}']"), "expressions are not allowed in an"
    yield ETL.replace("dependsOn: join", "dependsOn: [[]]"), "an entry of `dependsOn` must be text"
    yield ETL.replace("trigger: all-succeeded", "trigger: all_success"), "`trigger` cannot be `all_success`"
    yield ETL.replace("trigger: all-succeeded", "triger: all-succeeded"), "there is no field `triger` in a step"
    yield ETL.replace("- id: check", "- Id: check"), "there is no field `Id` in a step; did you mean `id`?"
    yield ETL.replace("when: steps.check", "if: steps.check"), "there is no field `if` in a step; did you mean `when`?"
    yield (
        ETL.replace("outputs: {rows", "output: {rows"),
        "there is no field `output` in a step; did you mean `outputs`?",
    )
    yield ETL.replace("\nsteps:", "\njobs:"), "there is no field `jobs` in a workflow; did you mean `steps`?"
    yield ETL.replace("\nparams:", "\ninputs:"), "there is no field `inputs` in a workflow; did you mean `params`?"
    yield LOOPS.replace("forEach: {", "for_each: {"), "there is no field `for_each` in a step; did you mean `forEach`?"
    yield LOOPS.replace("forEach: {", "with_items: {"), "there is no field `with_items` in a step"
    yield LOOPS.replace("forEach: ${{ [parts", "matrix: ${{ [parts"), "there is no field `matrix` in a step"
    yield LOOPS.replace("when: item.size > 0", "when: item.size >"), "the expression ends too soon"
    yield LOOPS.replace("when: item.size > 0", "when: [item.size]"), "`when` must be a condition"
    yield LOOPS.replace('size: "${{ steps.extract.outputs.sizes }}"', "size: 1"), "`forEach.size` must be a list"
    yield LOOPS.replace("forEach: ${{ [parts[0]", "forEach: ${{ [[parts[0]"), "`]` is missing"
    yield ETL.replace("task: {imageUri: report, ", "uses: {imageUri: report, "), "there is no field `uses` in a step"


@pytest.mark.parametrize("text", list(FILES.values()), ids=list(FILES))
def test_the_files_are_valid(text: str) -> None:
    """Without a mistake, there is no problem."""
    assert problems_of(text) == []


@pytest.mark.parametrize(("file", "text", "name"), list(misspellings()))
def test_a_misspelled_dependency_is_the_only_problem(file: str, text: str, name: str) -> None:
    """Expressions that read the step, or steps before it, are not reported with it."""
    assert text != FILES[file]
    [problem] = problems_of(text)
    assert ": there is no step `" in problem
    assert len(name) < 5 or f"did you mean `{name}`?" in problem


@pytest.mark.parametrize(("text", "message"), list(other_shapes()))
def test_a_mistake_in_the_order_of_steps_is_the_only_problem(text: str, message: str) -> None:
    """The same holds for other mistakes in `dependsOn`, `trigger` and the names of fields."""
    assert text not in {ETL, LOOPS}
    [problem] = problems_of(text)
    assert problem.split(": ", 1)[1].startswith(message), problem


@pytest.mark.parametrize("name", ["backof: 3", "backof: [3]", "backof:"])
def test_a_misspelled_map_is_one_problem(name: str) -> None:
    """A value that cannot be what was probably meant is not reported under that name as well."""
    text = f"steps:\n  - id: a\n    task: {{imageUri: i}}\n    retry:\n      {name}\n"
    assert problems_of(text) == ["f:5:7: there is no field `backof` in `retry`; did you mean `backoff`?"]


@pytest.mark.parametrize("default", ["${{ dya(1) }}", "${{ params.wek }}"])
def test_the_default_of_a_param_without_a_type_is_checked(default: str) -> None:
    """What its expression calls and reads is reported beside the type, not only once that is right."""
    day = f"{{type: dat, default: '{default}'}}"
    text = f"params:\n  week: 1\n  day: {day}\nsteps: [{{id: a, when: params.day == 1}}]\n"
    first, second = problems_of(text)
    assert first == "f:3:15: there is no type `dat`; did you mean `date`?"
    assert second.startswith(("f:3:34: ", "f:3:41: "))


def test_other_mistakes_are_still_reported() -> None:
    """A step that is not behind a misspelled dependency is checked as always."""
    text = ETL.replace("dependsOn: [stop]", "dependsOn: [stpo]").replace(
        "dependsOn: [join]\n", "dependsOn: [extract]\n"
    )
    text = text.replace(
        'args: ["${{ steps.extract.outputs.rows }}"]}\n    outputs: {url',
        'args: ["${{ steps.join.state }}"]}\n    outputs: {url',
    )
    first, second = problems_of(text)
    assert "the step `join` might not have ended when this one starts" in first
    assert "there is no step `stpo`; did you mean `stop`?" in second


def found_in_loop(loop: str, outputs: str = "") -> list[str]:
    """Return the messages and suggestions about a step `load` with these lines, after a step `list`."""
    text = f"steps:\n  - id: list\n    task: {{imageUri: list}}\n{outputs}  - id: load\n    dependsOn: list\n{loop}"
    text += '    task: {imageUri: load, args: ["${{ item }}"]}\n'
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename="flow.yaml")
    return [f"{one.message}; {one.suggestion}" for one in caught.value.problems]


@pytest.mark.parametrize("outputs", ["{files: list}", "[files]", "{files: }"])
def test_an_invalid_output_is_not_called_undeclared(outputs: str) -> None:
    """What is written under `outputs` is declared, even if its type is wrong."""
    loop = "    forEach: ${{ steps.list.outputs.files }}\n"
    [problem] = found_in_loop(loop, f"    outputs: {outputs}\n")
    assert "declares no outputs" not in problem


def test_a_missing_list_is_suggested_as_a_list() -> None:
    """The source of a loop's items is suggested with the type of a list."""
    [problem] = found_in_loop("    forEach: ${{ steps.list.outputs.files }}\n")
    assert "add `outputs: {files: [text]}` to it" in problem


def test_item_is_suggested_in_the_condition_of_a_loop() -> None:
    """A misspelled `item` in the condition of a step with `forEach` is recognized."""
    [problem] = found_in_loop("    forEach: [{size: 1}, {size: 2}]\n    when: items.size > 0\n")
    assert "did you mean `item`?" in problem


def test_a_sum_of_what_may_be_null_has_a_remedy() -> None:
    """The outputs of a loop may hold nulls, and the problem says how to leave them out."""
    text = (
        "steps:\n  - {id: load, forEach: [1, 2], tolerate: 1, outputs: {rows: int}, "
        'task: {imageUri: load, args: ["${{ item }}"]}}\n'
        '  - {id: mail, dependsOn: load, task: {imageUri: m, args: ["${{ sum(steps.load.outputs.rows) }}"]}}\n'
    )
    with pytest.raises(InvalidWorkflow, match=r"write `\[x for x in … if x != null\]`"):
        parse_workflow(text, filename="flow.yaml")
