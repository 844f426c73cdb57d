"""JSON from outside is measured before it is read."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

from atom_workflows.bounded_json import MAX_DEPTH, read_json, require_bounded
from atom_workflows.errors import JsonTooDeep, JsonTooLarge


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth_has_a_limit(opening: str, closing: str) -> None:
    """JSON is read down to the limit on depth and no further."""
    levels = MAX_DEPTH // opening.count("[") if opening == "[" else MAX_DEPTH // len(closing)
    assert read_json(opening * levels + "1" + closing * levels)
    for more in (1, 10, 300, 900, 100_000):
        with pytest.raises(JsonTooDeep):
            read_json(opening * (levels + more) + "1" + closing * (levels + more))


def test_what_is_wide_is_not_deep() -> None:
    """Brackets in texts do not count as depth."""
    wide = [[1]] * 500 + [{"a": "[[[[" * 100 + '"\\'}] * 100
    assert read_json(json.dumps(wide)) == wide
    assert read_json(json.dumps(wide).encode()) == wide


@pytest.mark.parametrize("text", ["[" + "[]," * 20 + "[]]", "[" + "1," * 20 + "1]", "[" + '"",' * 20 + '""]'])
def test_values_have_a_limit(text: str) -> None:
    """One value more than allowed is refused."""
    most = text.count("[") + text.count(",")
    assert read_json(text, most_values=most)
    with pytest.raises(JsonTooLarge, match=f"more than {most - 1} values"):
        read_json(text, most_values=most - 1)


@pytest.mark.parametrize(
    "raw", [b"\xff", b"", b"[", b'"', b"{]", b"\xef\xbb\xbf", '"\ud800'.encode("utf-16", "surrogatepass")]
)
def test_what_is_no_json_is_a_value_error(raw: bytes) -> None:
    """Every other fault is a ValueError."""
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        read_json(raw)


@pytest.mark.parametrize("start", ["[", '["', '"\\'])
@pytest.mark.parametrize("filling", ['"', '\\"', "\\", '"\\', "[]", '","', "a\\"])
def test_measuring_looks_at_each_letter_once(start: str, filling: str) -> None:
    """Four megabytes are measured in one pass, whatever quotes they hold."""
    text = "[]" * 65 + start + filling * (4 * 1024 * 1024 // len(filling))
    # Only here does the filling stand outside of texts.
    is_large = (start, filling) in {("[", "[]"), ('["', '","')}
    with pytest.raises(JsonTooLarge) if is_large else nullcontext():
        require_bounded(text)
