"""Copy values of frozen classes with many fields.

Frozen dataclasses are slow to create: the constructor calls `object.__setattr__` for every field, and
`dataclasses.replace` looks up each field and then calls that constructor. For a step's record, with its sixty or so
fields, this takes as long as making all decisions about the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, make_dataclass
from operator import attrgetter
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def copier_of(frozen: type[_Value]) -> Callable[[_Value, Mapping[str, Any]], _Value]:
    """Return a faster `dataclasses.replace` for a frozen class.

    The function takes the value and the fields to change. The class must be a dataclass with slots and without a
    `__post_init__`, which would not be called.
    """
    names = [one.name for one in fields(frozen)]  # type: ignore[arg-type] # mypy has no type for a dataclass's class
    read = attrgetter(*names)
    # A class with the same slots, but not frozen: its values may be filled, and then become values of the other class.
    draft_class = make_dataclass(f"{frozen.__name__}Draft", names, slots=True, eq=False, repr=False)

    def copy(value: _Value, changes: Mapping[str, Any]) -> _Value:
        draft: Any = draft_class(*read(value))
        for name, changed in changes.items():
            setattr(draft, name, changed)
        draft.__class__ = frozen
        copied: _Value = draft
        return copied

    return copy
