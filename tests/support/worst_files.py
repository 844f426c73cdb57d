"""The worst workflow file of a given size for each check of the parser, as far as we could make them.

`PYTHONPATH=tests python -m support.worst_files` prints what each costs at the largest size that is permitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, TypeAlias

from atom_workflows.language.limits import MAX_FILE_BYTES
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow

Maker: TypeAlias = Callable[[int], str]

_ARGS: Final = "steps:\n- {id: a, task: {url: u, args: ["
_JSON_ARGS: Final = '{"steps": [{"id": "a", "task": {"url": "u", "args": ['
_MOST_SCALARS: Final = 298_000
_MOST_PAIRS: Final = 149_000
"""As many as the limit on values lets be, so that the checks behind it are reached."""

_MOST_STEPS: Final = 9_998


def filled(head: str, unit: Callable[[int], str], tail: str = "", *, most: int | None = None) -> Maker:
    """Return a maker of files of a given size.

    Units stand between head and tail, each made from its number.
    """

    def make(size: int) -> str:
        return head + "".join(_units(unit, size - len((head + tail).encode()), most)) + tail

    return make


def _units(unit: Callable[[int], str], room: int, most: int | None) -> Iterator[str]:
    for number in count():
        text = unit(number)
        room -= len(text.encode())
        if room < 0 or number == most:
            return
        yield text


def _unknown_dependencies(size: int) -> str:
    """Return as many steps as may be, and dependencies on unknown ones."""
    steps = filled("", lambda n: f"- id: s{n}\n", most=_MOST_STEPS)(size // 2)
    return filled(f"steps:\n{steps}- {{id: z, dependsOn: [", lambda n: f"q{n}, ", "]}\n", most=250_000)(size)


def _similar_dependencies(size: int) -> str:
    """Return names as similar and as long as names are compared."""
    steps = filled("", lambda n: f"- id: {'ab' * 45}n{n:05}\n", most=_MOST_STEPS)(size // 4)
    return filled(f"steps:\n{steps}- {{id: z, dependsOn: [", lambda n: f"{'ba' * 45}n{n:05}, ", "]}\n")(size)


def _all_in_cycles(size: int) -> str:
    """Return steps that each depend on all others.

    Every second dependency closes a cycle.
    """
    names = range(int((size / 7) ** 0.5))
    return "steps:\n" + "".join(
        f"- {{id: s{n}, dependsOn: [{', '.join(f's{m}' for m in names if m != n)}]}}\n" for n in names
    )


def _step_again(size: int) -> str:
    """Return a step of many problems, named again and again."""
    step = "- &a {id: a, dependsOn: [q, q, a], q: 1, timeout: 1}\n"
    return filled(f"steps:\n{step}", lambda _: "- *a\n", most=_MOST_STEPS)(size)


def _wide_merges(size: int) -> str:
    """Return a wide map, merged as often as values may be counted."""
    wide = filled("&w {", lambda n: f"k{n}: 1, ", "}, ", most=100)(size // 2)
    return filled(_ARGS + wide, lambda _: "{<<: *w}, ", "]}}\n")(size)


WORST_YAML: Final[dict[str, Maker]] = {
    # did you mean
    "unknown dependencies": _unknown_dependencies,
    "similar dependencies": _similar_dependencies,
    "dependencies with commas": filled(
        "steps:\n- id: a\n", lambda n: f"- {{id: b{n}, dependsOn: '{'a,' * 195}x'}}\n", most=_MOST_STEPS
    ),
    "unknown fields of the workflow": filled("steps: [{id: a}]\n", lambda n: f"nam{n}: 1\n", most=_MOST_PAIRS),
    "unknown fields of a step": filled("steps:\n- {id: a, ", lambda n: f"dependOn{n}: 1, ", "}\n", most=_MOST_PAIRS),
    "unknown fields of a task": filled(
        "steps:\n- {id: a, task: {", lambda n: f"imageUr{n}: 1, ", "}}\n", most=_MOST_PAIRS
    ),
    "fields of other systems": filled(
        "steps:\n", lambda _: "- {needs: 1, retries: 2, image: x, runs-on: y, if: z, env: q}\n", most=_MOST_STEPS
    ),
    "unknown words": filled("steps:\n", lambda n: f"- {{id: a{n}, onLost: retr{n}}}\n", most=_MOST_STEPS),
    # dependencies, duplicates, cycles
    "cycles": _all_in_cycles,
    "a chain": filled("steps:\n", lambda n: f"- {{id: s{n}, dependsOn: [s{n + 1}]}}\n", most=_MOST_STEPS),
    "the same dependency": filled("steps:\n- id: b\n- {id: a, dependsOn: [", lambda _: "b, ", "]}\n", most=290_000),
    "a step's own id": filled("steps:\n- {id: a, dependsOn: [", lambda _: "a, ", "]}\n", most=290_000),
    "the same id": filled("steps:\n", lambda _: "- id: a\n", most=_MOST_STEPS),
    "the same key": filled(_ARGS + "{", lambda _: "a: 1, ", "}]}}\n", most=_MOST_PAIRS),
    # anchors, aliases, merge keys
    "anchors": filled(_ARGS, lambda n: f"&a{n} a, *a{n}, ", "]}}\n", most=_MOST_PAIRS),
    "unknown aliases": filled(_ARGS, lambda n: f"*a{n}, ", "]}}\n", most=_MOST_SCALARS),
    "a step again": _step_again,
    "merges of many maps": filled(_ARGS + "{<<: [", lambda n: f"{{k{n}: 1}}, ", "]}]}}\n", most=98_000),
    "merges of a wide map": _wide_merges,
    "merges of no map": filled(_ARGS + "{<<: [", lambda _: "a, ", "]}]}}\n", most=_MOST_SCALARS),
    # YAML itself
    "tag directives": filled("", lambda n: f"%TAG !{n}! x\n", "---\nsteps: []\n"),
    "tags": filled(_ARGS, lambda _: "!x a, ", "]}}\n", most=_MOST_SCALARS),
    "keys that are no text": filled(_ARGS + "{", lambda n: f"{n}: 1, ", "}]}}\n", most=_MOST_PAIRS),
    "brackets": filled("", lambda _: "["),
    "dashes": filled("", lambda _: "- "),
    "lists below the depth": filled("steps: " + "[" * 19, lambda _: "[],", "]" * 19),
    "values below the depth": filled("steps: " + "[" * 20, lambda _: "a,", "]" * 20),
    "lines before a control character": filled("", lambda _: "\u2028", "\x01"),
    "empty lines": filled("steps:\n- id: a\n", lambda _: "\n"),
    "folded text": filled("steps: >\n", lambda _: " a\n\n"),
    # texts, numbers, labels, policies
    "nearly numbers": filled(_ARGS, lambda _: "1:1:1:1x, ", "]}}\n", most=_MOST_SCALARS),
    "unclear values": filled(_ARGS, lambda _: "2001-01-01, ", "]}}\n", most=_MOST_SCALARS),
    "digits that get lost": filled(
        "steps:\n- {id: a, task: &t {url: u, args: [1.10, 2e5, 1.5_0]}}\n",
        lambda n: f"- {{id: s{n}, task: *t}}\n",
        most=_MOST_STEPS,
    ),
    "a long text": filled("steps:\n- {id: a, description: ", lambda _: "x", "}\n"),
    "a long number": filled(_ARGS, lambda _: "1", ".1]}}\n"),
    "a long duration": filled("steps: [{id: a}]\ntimeout: ", lambda _: ".1h "),
    "bad durations": filled("steps:\n", lambda n: f"- {{id: a{n}, timeout: '{'1 h ' * 14}'}}\n", most=_MOST_STEPS),
    "bad ids": filled("steps:\n", lambda n: f"- id: '{'ä' * 90} {n}'\n", most=_MOST_STEPS),
    "bad labels": filled(
        "steps:\n- {id: a, task: {url: u, labels: {", lambda n: f'"k\\n{n}": 1, ', "}}}\n", most=_MOST_PAIRS
    ),
    "bad back-offs": filled(
        "steps:\n",
        lambda n: f"- {{id: a{n}, retry: {{backoff: {{initial: 1h, max: 1m, factor: 0, jitter: 7}}}}}}\n",
        most=_MOST_STEPS,
    ),
    "bad steps": filled("steps:\n", lambda _: "- {q: 1, r: {}, timeout: 1, retry: 3, task: []}\n", most=_MOST_STEPS),
    "steps that are no maps": filled("steps:\n", lambda _: "- x y\n", most=_MOST_STEPS),
    # expressions
    "expressions": filled(_ARGS, lambda _: '"${{ run.id }}", ', "]}}\n"),
    "expressions in one text": filled(_ARGS + '"', lambda _: "${{ run.id }}", '"]}}\n'),
    "expressions of unknown names": filled(_ARGS, lambda n: f'"${{{{ run.id{n} + runs.id }}}}", ', "]}}\n"),
    "expressions with faults": filled(_ARGS, lambda _: '"${{ run.id ) }}", ', "]}}\n"),
    "expressions that are never closed": filled(_ARGS, lambda _: '"${{ \'a }}", ', "]}}\n", most=_MOST_SCALARS),
    "dollar signs": filled(_ARGS + '"', lambda _: "$${{", '"]}}\n'),
    "expressions through aliases": filled(
        _ARGS + f'&a "{"${{ run.id }}" * 90}", ', lambda _: "*a, ", "]}}\n", most=_MOST_SCALARS
    ),
    "expressions in folded lines": filled(
        "steps:\n- id: a\n  task:\n    url: u\n    args:\n    - >\n", lambda _: "     ${{ run.id ) }}\n\n"
    ),
    "expressions where none may be": filled("steps:\n", lambda _: '- {id: "${{ a }}", timeout: "${{ b }}"}\n'),
    "expressions in a description": filled('steps: [{id: a}]\ndescription: "', lambda _: "${{ a }}", '"\n'),
    "unclosed wrappers in a condition": filled('steps:\n- {id: a, when: "x ', lambda _: "${{", '"}\n'),
    "names with expressions": filled(_ARGS + "{", lambda n: f'"${{{{ a{n} }}}}": 1, ', "}]}}\n", most=_MOST_PAIRS),
    "conditions": filled("steps:\n", lambda n: f"- {{id: s{n}, when: run.id == 'a'}}\n", most=_MOST_STEPS),
    "conditions of unknown steps": filled(
        "steps:\n", lambda n: f"- {{id: s{n}, when: steps.q{n}.state == 'FAILED'}}\n", most=_MOST_STEPS
    ),
    "a chain of skips": filled(
        "steps:\n- {id: s0, when: run.id == 'a', task: {url: u}, outputs: {r: int}}\n",
        lambda n: f"- {{id: s{n + 1}, dependsOn: [s{n}], when: steps.s0.outputs.r > 0}}\n",
        most=_MOST_STEPS,
    ),
    "params": filled("steps: [{id: a}]\nparams:\n", lambda n: f"  p{n}: {{type: int, default: a, min: b}}\n"),
    "params with long lists": filled(
        "steps: [{id: a}]\nparams: {a: {type: text, default: x, enum: [", lambda n: f"a{n}, ", "]}}\n", most=290_000
    ),
    "types": filled(_ARGS + "]}, outputs: {", lambda n: f"o{n}: [{{a: itn}}], ", "}}\n", most=90_000),
    "anchors before conditions": filled("steps:\n", lambda n: f"- {{id: s{n}, when: &a{n} == 1}}\n", most=_MOST_STEPS),
    # loops
    "loops": filled("steps:\n", lambda n: f"- {{id: s{n}, forEach: [a, b], task: {{url: u}}}}\n", most=_MOST_STEPS),
    "items": filled("steps:\n- {id: a, forEach: [", lambda n: f"a{n}, ", "], task: {url: u}}\n", most=290_000),
    "items that are the same": filled(
        "steps:\n- {id: a, forEach: [", lambda _: "{a: [1]}, ", "], task: {url: u}}\n", most=60_000
    ),
    "items of different shapes": filled(
        "steps:\n- {id: a, forEach: [", lambda n: f"{{a{n}: 1}}, ", "], task: {url: u}}\n", most=98_000
    ),
    "lists of a loop": filled(
        "steps:\n- {id: a, forEach: {", lambda n: f"a{n}: [1], ", "}, task: {url: u}}\n", most=90_000
    ),
    "items with expressions": filled(
        "steps:\n- {id: a, forEach: [", lambda _: '"${{ run.id }}", ', "], task: {url: u}}\n"
    ),
    "reads of a loop's outputs": filled(
        f"steps:\n- {{id: a, forEach: [1], when: {' or '.join(['item == 1'] * 100)}, task: {{url: u}}, outputs: {{"
        + ", ".join(f"o{n}: int" for n in range(100))
        + "}}\n- {id: b, dependsOn: a, task: {url: u, args: [",
        lambda n: f'"${{{{ steps.a.outputs.o{n % 100} }}}}", ',
        "]}}\n",
    ),
    # JSON first, YAML afterwards
    "JSON but for its last value": filled(_JSON_ARGS, lambda _: "1, ", "x]}}]}", most=_MOST_SCALARS),
    "JSON but for its last key": filled(_JSON_ARGS + "{", lambda n: f'"a{n}": 1, ', "x: 1}]}}]}", most=148_000),
}

WORST_JSON: Final[dict[str, Maker]] = {
    "values": filled(_JSON_ARGS, lambda _: "1,", "1]}}]}"),
    "texts": filled(_JSON_ARGS, lambda _: '"\\u00e9é", ', "1]}}]}", most=_MOST_SCALARS),
    "maps": filled(_JSON_ARGS, lambda n: f'{{"a{n}": 1}}, ', "1]}}]}", most=98_000),
    "the same key in JSON": filled(_JSON_ARGS + "{", lambda _: '"a": 1, ', '"z": 1}]}}]}', most=148_000),
    "unknown fields in JSON": filled(
        '{"steps": [{"id": "a", ', lambda n: f'"dependOn{n}": 1, ', '"z": 1}]}', most=148_000
    ),
    "spaces": filled(_JSON_ARGS, lambda _: " \n\r\n", "1]}}]}"),
    "brackets in JSON": filled("", lambda _: "["),
    "lists below the depth in JSON": filled("[" * 20, lambda _: "[],", "1" + "]" * 20),
    "escapes": filled('{"steps": "', lambda _: "\\ud83d\\ude00", '\\ud83d"}'),
    "expressions in JSON": filled(_JSON_ARGS, lambda _: '"\\u00e9 ${{ run.id ) }}", ', "1]}}]}"),
    "digits": filled('{"steps": ', lambda _: "1", "}"),
}

WORST: Final[dict[str, tuple[str, Maker]]] = {
    **{name: ("f.yaml", make) for name, make in WORST_YAML.items()},
    **{name: ("f.json", make) for name, make in WORST_JSON.items()},
}


def main() -> None:
    """Print the processor seconds that each file takes."""
    for name, (filename, make) in WORST.items():
        content = make(MAX_FILE_BYTES).encode()
        started = time.process_time()
        try:
            parse_workflow(content, filename=filename)
            found = "valid"
        except InvalidWorkflow as error:
            found = str(error.problems[0])
        print(f"{time.process_time() - started:6.2f} s {len(content):10,} {name:32} {found:.80}")  # noqa: T201


if __name__ == "__main__":
    main()
