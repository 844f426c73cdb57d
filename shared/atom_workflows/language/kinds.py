"""The kinds of values that a field of the file may have. Reader, JSON Schema and reference all follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from atom_workflows.language.nodes import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text value. The whole text must match `pattern` and not `forbidden`; `rule` explains both to people."""

    max_length: int
    min_length: int = 1
    multiline: bool = False
    pattern: str | None = None
    forbidden: str | None = None
    rule: str = ""

    # Advice if the text is empty.
    when_empty: str = "write some text, or leave it out"

    # Turn text that is not allowed into text that probably is.
    respell: Callable[[str], str] | None = None

    # Advice on where the text may be used as it is.
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
    """A list of texts, each once; a single text counts as a list of one."""

    item: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMap:
    """A map from text to text."""

    key: Text
    value: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """A list or a map of anything that JSON can express, kept as written."""


Advice: TypeAlias = str | Callable[[Node], str]
"""A sentence, or a function that makes one for the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A map of known fields."""

    title: str
    fields: tuple[Field, ...]

    # At least one of these fields must be present.
    any_of: tuple[str, ...] = ()

    # Advice if the map is empty.
    when_empty: str = ""

    # The field that is probably meant by a single value in the map's place, and a note on it.
    main: str = ""
    main_note: str = ""

    # The names that other systems give a field of this record, without case and separators.
    foreign: Mapping[str, str] = field(default_factory=dict)

    # Advice on other systems' names that correspond to no field of this record, written in the same way.
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
    """A field of the file. `default` is its value if it is left out."""

    name: str
    kind: Kind
    description: str
    required: bool = False
    default: str | float | None = None
    examples: tuple[object, ...] = ()
