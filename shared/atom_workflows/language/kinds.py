"""The kinds of values that a field may have.

The reader, the JSON Schema and the reference are all based on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from atom_workflows.language.nodes import Node


class Text(NamedTuple):
    """A string.

    It must fully match `pattern` and must not match `forbidden`; `rule` explains both to users.
    """

    max_length: int
    min_length: int = 1
    multiline: bool = False
    pattern: str | None = None
    forbidden: str | None = None
    rule: str = ""

    # Advice for when the text is empty.
    when_empty: str = "write some text, or leave it out"

    # Turns text that is not allowed into similar text that probably is allowed.
    respell: Callable[[str], str] | None = None

    # Advice on where text that is not allowed here can be used unchanged.
    display: str = ""

    # True if the text may contain expressions, `${{ … }}`.
    expressions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a fixed set of words."""

    words: tuple[str, ...]

    # Words that other systems use (in lower case, without separators), each with the word that it corresponds to.
    foreign: Mapping[str, str] = field(default_factory=dict)


class Flag:
    """True or false."""

    __slots__ = ()


class Duration(NamedTuple):
    """A duration such as `30s`; `positive` rules out 0."""

    maximum: timedelta
    positive: bool = False


class Number(NamedTuple):
    """A number from `minimum` to `maximum`.

    If `expressions` is True, an expression may compute it.
    """

    minimum: int
    maximum: int
    whole: bool = False
    expressions: bool = False


class TextList(NamedTuple):
    """A list of distinct strings.

    A single string counts as a list with one entry.
    """

    item: Text


class TextMap(NamedTuple):
    """A map from strings to strings."""

    key: Text
    value: Text


class Condition:
    """An expression that evaluates to true or false.

    It does not need to be enclosed in `${{ }}`.
    """

    __slots__ = ()


class Zone:
    """The name of a time zone."""

    __slots__ = ()


class Cron:
    """A cron expression with five fields."""

    __slots__ = ()


class TimeOfDay:
    """A time of day such as `06:00`."""

    __slots__ = ()


class TypeNotation:
    """The type of a parameter or an output."""

    __slots__ = ()


class Anything:
    """A value whose type is declared by another field.

    It is kept as a node until that type is known.
    """

    __slots__ = ()


class TypeMap(NamedTuple):
    """A map from names to types."""

    key: Text
    maximum: int


class ExpressionMap(NamedTuple):
    """A map from names to values with expressions."""

    key: Text
    maximum: int


class Arguments:
    """A list or map of any JSON values, passed on as written."""

    __slots__ = ()


class ItemLists(NamedTuple):
    """The items of a loop: a list, or a map of lists.

    In a map from names to lists, each combination of their entries is an item. Each list may also be an expression.
    """

    key: Text
    maximum: int


Advice: TypeAlias = str | Callable[[Node], str]
"""Advice as text, or a function that derives the advice from the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A map with a fixed set of fields."""

    title: str
    fields: tuple[Field, ...]

    # At least one of these fields must be present.
    any_of: tuple[str, ...] = ()

    # These fields, if all of them are present, will do instead.
    or_all_of: tuple[str, ...] = ()

    # Advice for when the map is empty.
    when_empty: str = ""

    # The field that is probably meant by a single value in place of the map, and a note on that field.
    main: str = ""
    main_note: str = ""

    # Names that other systems use (in lower case, without separators), each with the field that it corresponds to.
    foreign: Mapping[str, str] = field(default_factory=dict)

    # Advice on other systems' names that do not correspond to any field of this record; the names have the same form.
    advice: Mapping[str, Advice] = field(default_factory=dict)

    # The names of the fields.
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(field.name for field in self.fields))


class ParamValues:
    """A map from the names of parameters to values.

    It is kept as a node until the parameters' types are known.
    """

    __slots__ = ()


class RecordList(NamedTuple):
    """A list of maps with the same fixed set of fields."""

    record: Record
    noun: str
    maximum: int
    minimum: int = 1


class ParamMap(NamedTuple):
    """A map from names to parameters.

    A single value is shorthand for a parameter with that default.
    """

    key: Text
    record: Record
    maximum: int


Kind: TypeAlias = (
    Text
    | Choice
    | Flag
    | Duration
    | Number
    | Zone
    | Cron
    | TimeOfDay
    | TextList
    | TextMap
    | Arguments
    | Anything
    | Condition
    | ItemLists
    | TypeNotation
    | TypeMap
    | ExpressionMap
    | Record
    | RecordList
    | ParamMap
    | ParamValues
)


class Field(NamedTuple):
    """A field of the workflow file.

    `default` is its value when it is left out.
    """

    name: str
    kind: Kind
    description: str
    required: bool = False
    default: str | float | None = None
    examples: tuple[object, ...] = ()
