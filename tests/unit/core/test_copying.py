"""Copies of frozen values with some fields changed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from atom_workflows.core.copying import copier_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A value with a required field, a default and a default factory."""

    name: str
    size: int = 1
    tags: list[str] = field(default_factory=list)


copy = copier_of(Place)
HERE = Place(name="here", tags=["a"])


@pytest.mark.parametrize("changes", [{}, {"size": 2}, {"name": "there", "tags": []}])
def test_a_copy_is_what_replace_returns(changes: dict[str, Any]) -> None:
    """A copy equals the result of `dataclasses.replace`, has the same type, and leaves the original unchanged."""
    copied = copy(HERE, changes)
    assert copied == replace(HERE, **changes)
    assert (type(copied), repr(copied)) == (Place, repr(replace(HERE, **changes)))
    assert Place(name="here", tags=["a"]) == HERE


def test_a_copy_is_frozen() -> None:
    """A copy is frozen, like any other value of its class."""
    with pytest.raises(FrozenInstanceError):
        copy(HERE, {"size": 2}).size = 3  # type: ignore[misc] # mypy knows that it is frozen


def test_an_unknown_field_is_refused() -> None:
    """A name that is not a field raises an error, as in `dataclasses.replace`."""
    with pytest.raises(AttributeError, match="color"):
        copy(HERE, {"color": "red"})
