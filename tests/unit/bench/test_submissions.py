"""What a Task Runner's log must look like after a pass."""

from __future__ import annotations

import pytest
from bench.peers.submissions import breach

STEPS = {"a": [], "b": ["a"], "c": ["a"]}


@pytest.mark.parametrize(
    ("submitted", "expected"),
    [
        ("0/a/1 0/b/1 1/a/1 0/c/1 1/c/1 1/b/1", ""),
        ("0/a/1 0/b/1 0/c/1 1/a/1 1/b/1", "c of run 1 was submitted 0 times"),
        ("0/a/1 0/b/1 0/b/1 0/c/1 1/a/1 1/b/1 1/c/1", "b of run 0 was submitted 2 times"),
        ("0/b/1 0/a/1 0/c/1 1/a/1 1/b/1 1/c/1", "b of run 0 came before a"),
        ("0/a/1 0/b/1 0/c/1 1/a/1 1/b/1 1/c/1 2/a/1", "unexpected jobs submitted: 1"),
        ("", "a of run 0 was submitted 0 times"),
    ],
)
def test_the_first_breach_is_named(submitted: str, expected: str) -> None:
    """Each step must be submitted once in every run, after its dependencies."""
    assert breach(STEPS, ["0", "1"], submitted.split()) == expected
