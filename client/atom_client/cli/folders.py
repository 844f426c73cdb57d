"""Find workflow files in a folder among other YAML and JSON files."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from atom_workflows.language.suggestions import Suggestions, names_of
from atom_workflows.language.yaml_syntax import FASTEST_LOADER

SUFFIXES: Final = (".yaml", ".yml", ".json")
"""The suffixes of workflow files; they may be in upper or lower case, as in a bucket."""

_SCRIPTS: Final = tuple(f".mock{suffix}" for suffix in SUFFIXES)
"""The suffixes of scripts for the mock Task Runner, which are kept next to workflow files."""

_SCRIPT_FIELDS: Final = frozenset({"rules", "default", "idempotent"})
_STEPS: Final = names_of(("steps",))
_MENTIONS_STEPS: Final = re.compile(r"""^[ \t{,]*["']?steps["']?[ \t]*:""", re.MULTILINE)


def find_files(folder: str) -> Iterator[str]:
    """Yield the files of a folder that may be workflows.

    They have the suffixes of workflow files, and may be in subfolders. Hidden files and scripts for the mock Task
    Runner are left out.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            lowered = name.lower()
            if not name.startswith(".") and lowered.endswith(SUFFIXES) and not lowered.endswith(_SCRIPTS):
                yield str(Path(parent) / name)


def explain_skip(content: bytes) -> str:
    """Explain why a file is evidently not a workflow.

    Returns an empty string if it may be one, that is, if it has `steps` (perhaps misspelled), is empty, or is broken
    but mentions `steps`.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ""
    text = content.decode("utf-8-sig", "replace")
    suggestions = Suggestions()
    fields: set[str] = set()
    try:
        for field in _read_field_names(text):
            if suggestions.nearest(field, _STEPS):
                return ""
            fields.add(field)
    except yaml.YAMLError:
        return "" if _MENTIONS_STEPS.search(text) else "it is neither YAML nor JSON"
    if not fields:
        return ""
    return "it is a script for the mock Task Runner" if fields <= _SCRIPT_FIELDS else "it has no `steps`"


def _read_field_names(text: str) -> Iterator[str]:
    """Yield the names of the first document's fields.

    If the document is not a map, yields one empty string.
    """
    depth, is_name = 0, True
    for event in yaml.parse(text, Loader=FASTEST_LOADER):
        if isinstance(event, yaml.DocumentEndEvent):
            return
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if not isinstance(event, yaml.NodeEvent):
            continue
        if depth == 0 and not isinstance(event, yaml.MappingStartEvent):
            yield ""
            return
        if depth == 1:  # A name and its value take turns.
            if is_name and isinstance(event, yaml.ScalarEvent):
                yield event.value
            is_name = not is_name
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
