"""Decode a file and read its YAML events.

Syntax errors are reported in our own words. The C reader (libyaml) is used if PyYAML was built with it, otherwise the
pure Python reader. The two word their errors differently but name the same contexts, so our messages depend only on the
context.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import yaml

from atom_workflows.language.limits import MAX_FILE_BYTES, MAX_TAG_DIRECTIVES
from atom_workflows.language.problems import Place, Report
from atom_workflows.language.yaml_errors import BAD_ESCAPE, NOT_YAML, locate, place_of, report_error

_CONTROL: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that no YAML file may contain."""

_TAG_DIRECTIVE: Final = re.compile(r"(?:^|[\r\n\x85\u2028\u2029])%TAG")
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_MOST_CONTROLS: Final = 10


def decode(content: bytes | str, report: Report) -> str | None:
    """Return the file's text, or None if nothing else can be checked.

    Bytes that are not UTF-8 are reported and replaced, so that the rest can still be checked.
    """
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(encoded) > MAX_FILE_BYTES:
        said = f"the file is larger than the {MAX_FILE_BYTES:,} bytes allowed"
        report.add(Place(), said, "split the workflow into several files")
        return None
    if encoded.startswith(_UTF16_MARKS):
        report.add(Place(), "the file is UTF-16, not UTF-8", "save it as UTF-8")
        return None
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        before = encoded[: error.start].decode("utf-8").removeprefix("\ufeff")
        said = f"the file is not UTF-8: it contains the byte 0x{encoded[error.start]:02X} here"
        report.add(locate(before, len(before)), said, "save it as UTF-8")
        text = encoded.decode("utf-8", "replace")
    return text.removeprefix("\ufeff")


def prepare_for_yaml(text: str, report: Report) -> str | None:
    """Replace and report the characters that no YAML reader accepts.

    Returns None if there are too many of them.
    """
    # Stop after the first few: reporting a whole file of them would cost a hundred times the file's size.
    found = list(islice(_CONTROL.finditer(text), _MOST_CONTROLS + 1))
    for match in found[:_MOST_CONTROLS]:
        said = f"the character U+{ord(match[0]):04X} is not allowed in a file"
        report.add(locate(text, match.start()), said, "remove it")
    directives = list(islice(_TAG_DIRECTIVE.finditer(text), MAX_TAG_DIRECTIVES + 1))
    if len(directives) > MAX_TAG_DIRECTIVES:
        said = f"there are more than {MAX_TAG_DIRECTIVES} lines that begin with %TAG"
        report.add(locate(text, directives[-1].start()), said, "remove them; tags are not allowed")
        return None
    return _CONTROL.sub("_", text) if len(found) <= _MOST_CONTROLS else None


PURE_LOADER: Final[Any] = yaml.SafeLoader
FASTEST_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", PURE_LOADER)

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE: Final = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")


def events(text: str, report: Report, loader: Any) -> Iterator[Any]:
    """Yield the events up to the file's end or first error.

    The error is reported.
    """
    last = None
    try:
        for event in yaml.parse(text, Loader=loader):
            last = event
            if isinstance(event, yaml.ScalarEvent) and not event.value.isascii() and _SURROGATE.search(event.value):
                # An escape produced half a surrogate pair, which the C reader rejects on its own.
                mark: Any = event.start_mark
                start = mark.index
                escape = _SURROGATE_ESCAPE.search(text, start)
                report.add(locate(text, escape.start() if escape else start), *BAD_ESCAPE)
                return
            yield event
    except yaml.MarkedYAMLError as error:
        report_error(error, text, report)
    except (yaml.YAMLError, ValueError, OverflowError):
        # The pure reader lets some of Python's own errors through, for example for \UFFFFFFFF or for a very long %YAML
        # number.
        report.add(place_of(last.end_mark) if last else Place(), *NOT_YAML)
