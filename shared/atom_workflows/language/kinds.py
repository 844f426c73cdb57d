"""The kinds of values a field of the file may have. Reader, JSON Schema and reference all follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from atom_workflows.language.nodes import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text of any characters that `pattern` allows (all of it) and `forbidden` does not.

    `rule` says both to people, `when_empty` what to do about nothing. `respell` makes a text that is allowed of one
    that is not, if it can, and `display` says where the text may stand as it is.
    """

    max_length: int
    min_length: int = 1
    multiline: bool = False
    pattern: str | None = None
    forbidden: str | None = None
    rule: str = ""
    when_empty: str = "write a text, or leave it out"
    respell: Callable[[str], str] | None = None
    display: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """A duration such as `30s`; `positive` refuses 0."""

    maximum: timedelta
    positive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number from `minimum` to `maximum`."""

    minimum: int
    maximum: int
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextList:
    """A list of texts, each once; a text alone is a list of one."""

    item: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMap:
    """A map from text to text."""

    key: Text
    value: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """A list or a map of anything that JSON can say, kept as written."""


Advice: TypeAlias = str | Callable[[Node], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A map of known fields. At least one of `any_of` must be there; `when_empty` says what to do about nothing.

    `main` is the field that a single value in the map's place probably is, and `main_note` what to know of it.
    `foreign` has names that other systems give a field of this record, and `advice` what to do about other names of
    theirs, or a function that says it for the value; both without case and separators.
    """

    title: str
    fields: tuple[Field, ...]
    any_of: tuple[str, ...] = ()
    when_empty: str = ""
    main: str = ""
    main_note: str = ""
    foreign: Mapping[str, str] = field(default_factory=dict)
    advice: Mapping[str, Advice] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its fields."""
        return tuple(field.name for field in self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordList:
    """A list of maps of known fields, at least one."""

    record: Record
    noun: str
    maximum: int


Kind: TypeAlias = Text | Choice | Duration | Number | TextList | TextMap | Arguments | Record | RecordList


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field: its name in the file, what it may hold and what it is for. `default` is what leaving it out means."""

    name: str
    kind: Kind
    description: str
    required: bool = False
    default: str | float | None = None
    examples: tuple[object, ...] = ()
