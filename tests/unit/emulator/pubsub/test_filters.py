"""The filter language."""

from __future__ import annotations

import pytest

from atom_emulator.pubsub.filters import compile_filter
from atom_emulator.pubsub.refusals import Code, RefusalError

ATTRIBUTES = {"kind": "ready", "run": "r-1", "odd-key": 'a "b"', "empty": ""}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('attributes.kind = "ready"', True),
        ('attributes.kind="other"', False),
        ('attributes.kind != "other"', True),
        ('attributes.missing != "x"', True),
        ("attributes:kind", True),
        ("attributes:missing", False),
        ("attributes:empty", True),
        ('hasPrefix(attributes.run, "r-")', True),
        ('hasPrefix(attributes.missing, "")', False),
        ('NOT attributes.kind = "ready"', False),
        ("-attributes:missing", True),
        ('attributes.kind = "ready" AND attributes:run', True),
        ('attributes.kind = "ready" AND attributes:missing', False),
        ('attributes.kind = "x" OR attributes:run OR attributes:y', True),
        ('attributes:run AND (attributes:missing OR attributes.kind = "ready")', True),
        ("NOT (attributes:missing OR attributes:kind)", False),
        ('attributes.odd-key = "a \\"b\\""', True),
        ('attributes."odd-key" = "a \\"b\\""', True),
    ],
)
def test_a_filter_decides_by_the_attributes(text: str, *, wanted: bool) -> None:
    """Each form of the language means what the service's documentation says."""
    assert compile_filter(text)(ATTRIBUTES) is wanted


@pytest.mark.parametrize(
    "text",
    [
        "kind = 'x'",
        "attributes.kind",
        "attributes.kind =",
        "attributes.kind = ready",
        'attributes.kind = "a" attributes.kind = "b"',
        "attributes:a AND attributes:b OR attributes:c",
        "(attributes:a",
        "hasPrefix(attributes.a)",
        'attributes.kind > "a"',
        "attributes:" + "a" * 300,
        "AND",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    """A filter that cannot be read is INVALID_ARGUMENT, not ignored."""
    with pytest.raises(RefusalError) as refused:
        compile_filter(text)
    assert refused.value.code is Code.INVALID_ARGUMENT
