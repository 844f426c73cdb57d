"""The outputs of a job are kept as they were sent, or a sentence says which limit they break."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import pytest

from atom_workflows.core.outputs import (
    MAX_OUTPUT_NAMES,
    MAX_OUTPUTS_BYTES,
    MAX_OUTPUTS_DEPTH,
    MAX_PROBLEM_LENGTH,
    JobOutputs,
    read_outputs,
)

BIG: Final = 2**63


def nested(levels: int) -> dict[str, Any]:
    """Return outputs of that many levels."""
    value: Any = {} if levels % 2 else []
    for level in range(levels - 1, 0, -1):
        value = {"a": value} if level % 2 else [value]
    assert isinstance(value, dict)
    return value


def of_size(size: int, letter: str = "x") -> dict[str, Any]:
    """Return outputs of that many bytes as JSON."""
    rest = size - len('{"a":""}')
    count = rest // len(letter.encode())
    return {"a": letter * count + "x" * (rest - count * len(letter.encode()))}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"rows": 1200, "files": ["gs://b/a", "gs://b/c"]},
        {"z": 1, "a": 1.0, "größe": "世界\u2028\x00\x1b", "null": None, "yes": True, "": []},
        {"least": -BIG, "largest": BIG - 1, "float": 1.7976931348623157e308, "small": 5e-324},
        nested(MAX_OUTPUTS_DEPTH),
        {str(number): number for number in range(MAX_OUTPUT_NAMES)},
        of_size(MAX_OUTPUTS_BYTES),
        of_size(MAX_OUTPUTS_BYTES, "世"),
        {"a": [[]] * ((MAX_OUTPUTS_BYTES - 8) // 3)},
    ],
    ids=lambda value: str(value)[:20],
)
def test_outputs_within_the_limits_are_kept(value: dict[str, Any]) -> None:
    """Outputs within every limit are kept, in their order, as JSON without spaces."""
    found = read_outputs(value)
    assert found.problem == ""
    assert json.loads(found.text) == value
    assert list(json.loads(found.text)) == list(value)
    assert len(found.text.encode()) <= MAX_OUTPUTS_BYTES


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "its outputs are not a JSON object: return one"),
        ("rows=12", "its outputs are not a JSON object: return one"),
        (False, "its outputs are not a JSON object: return one"),
        (nested(MAX_OUTPUTS_DEPTH + 1), "more than 8 levels"),
        (nested(900), "more than 8 levels"),
        ({str(number): number for number in range(MAX_OUTPUT_NAMES + 1)}, "more than 100 names: group them"),
        (of_size(MAX_OUTPUTS_BYTES + 1), "larger than 32,768 bytes as JSON: write them to Cloud Storage"),
        (of_size(MAX_OUTPUTS_BYTES + 1, "世"), "larger than 32,768 bytes as JSON: write them to Cloud Storage"),
        ({"a": [[]] * 350_000}, "larger than 32,768 bytes as JSON: write them to Cloud Storage"),
        ({"loss": float("nan")}, "its output 'loss' has a number that is not finite or exceeds 64 bits: return it"),
        ({"loss": {"max": [float("inf")]}}, "its output 'loss' has a number"),
        ({"id": BIG}, "its output 'id' has a number"),
        ({"id": -BIG - 1}, "its output 'id' has a number"),
        ({"x" * 5_000 + "\ud83d\n": 10**5_000}, "x has a number"),
        ({"a": "\ud83d"}, "half of a surrogate pair"),
        ({"\ud83d": 1}, "half of a surrogate pair"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_outputs_beyond_a_limit_are_explained(value: Any, problem: str) -> None:
    """Outputs that break a limit are not kept, and a sentence of one line says why and what to do."""
    found = read_outputs(value)
    assert found.text == ""
    assert problem in found.problem
    assert found.problem.startswith("its output")
    assert len(found.problem) <= MAX_PROBLEM_LENGTH
    assert found.problem.encode().count(b"\n") == 0


def test_null_is_the_same_as_no_outputs() -> None:
    """A Task Runner that always sends the field may send null."""
    assert read_outputs(None) == JobOutputs()


def test_a_huge_value_takes_no_more_time_than_a_large_one() -> None:
    """Reading stops where a limit is exceeded."""
    value = {"a": [[1] * 1_000] * 3_000}
    began = time.process_time()
    assert read_outputs(value).problem
    assert time.process_time() - began < 2
