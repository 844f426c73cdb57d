"""The file of a job's outputs is used as it is, or not at all."""

from __future__ import annotations

import json

import pytest

from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES
from atom_workflows.errors import OutputsUnusable
from atom_workflows.runner.outputs import MAX_FILE_BYTES, read_outputs


@pytest.mark.parametrize("data", [b"", b" \n"])
def test_an_empty_file_has_no_outputs(data: bytes) -> None:
    """A file that a job only made, or that was made for it, has no outputs."""
    assert read_outputs(data) == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_outputs_are_read_in_any_unicode_encoding(encoding: str) -> None:
    """Outputs are read as they were written, in their order, whatever the Unicode encoding."""
    outputs = {"z": 1, "rows": [1, 2.5, None], "größe": "世界"}
    found = read_outputs(json.dumps(outputs, ensure_ascii=False).encode(encoding))
    assert found == outputs
    assert list(found) == list(outputs)


def test_spaces_do_not_count() -> None:
    """Outputs that fit are used even if their file is indented beyond the limit."""
    outputs = {"rows": list(range(6000))}
    data = json.dumps(outputs, indent=2).encode()
    assert len(data) > MAX_OUTPUTS_BYTES
    assert read_outputs(data) == outputs


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"null", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"rows": 12', "not JSON"),
        (b"rows=12", "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        (b'{"a": NaN}', "not finite"),
        (b'{"a": 1' + b"0" * 20 + b"}", "64 bits"),
        (b'{"a": 1' + b"0" * 6000 + b"}", "not JSON"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "levels"),
        (b'{"a": ' + b"[" * 10 + b"]" * 10 + b"}", "levels"),
        (json.dumps({"a": "x" * MAX_OUTPUTS_BYTES}).encode(), "32,768 bytes"),
        (b" " * MAX_FILE_BYTES + b"{}", "131,072 bytes"),
        (b'{"a": [' + b"1," * 40_000 + b"1]}", "values"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_outputs_beyond_a_limit_are_dropped_with_a_sentence(data: bytes, problem: str) -> None:
    """A file that breaks a limit gives no outputs, and a sentence that says which."""
    with pytest.raises(OutputsUnusable, match=problem):
        read_outputs(data)
