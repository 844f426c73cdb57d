"""Values with named fields, like frozen dataclasses.

`dataclasses` generates and compiles code for each class when a module is imported. For the classes in this package,
that would account for most of the time that expressions add to a cold start.
"""

from __future__ import annotations

from typing import Any, NoReturn, dataclass_transform


@dataclass_transform(frozen_default=True)
class Frozen:
    """A value with fields annotated in its class, compared field by field."""

    __match_args__: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        # The fields of a base class come first.
        names = [name for name in (*cls.__match_args__, *cls.__annotations__) if not name.startswith("_")]
        cls.__match_args__ = tuple(dict.fromkeys(names))  # type: ignore[misc]  # mypy thinks it is a constant.

    def __init__(self, *values: Any, **named: Any) -> None:
        self.__dict__.update(zip(self.__match_args__, values, strict=False), **named)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot change {name} of a {type(self).__name__}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot change {name} of a {type(self).__name__}")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self), self._compared()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({fields})"

    def _compared(self) -> tuple[object, ...]:
        return tuple([getattr(self, name) for name in self.__match_args__])
