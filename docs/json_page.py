"""Write the tables of docs/reference/json.md from the JSON Schema beside it.

`python docs/generate.py` brings the page up to date; a test fails when it is not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

REFERENCE: Final = Path(__file__).parent / "reference"
PAGE: Final = REFERENCE / "json.md"
SCHEMA: Final = json.loads((REFERENCE / "json.schema.json").read_text(encoding="utf-8"))
SHAPES: Final[Mapping[str, Mapping[str, Any]]] = SCHEMA["$defs"]

_BETWEEN: Final = re.compile(r"(<!-- shapes -->\n).*?(<!-- end -->)", re.DOTALL)
_WORDS: Final = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def generated(page: str) -> str:
    """Return the page with new tables."""
    lines = ["| command | what it prints |", "|---|---|"]
    for command, shapes in SCHEMA["commands"].items():
        lines.append(f"| `{command}` | {' or '.join(map(_link, shapes))} |")
    parts = ["\n".join(lines), *map(_part, SHAPES)]
    page, found = _BETWEEN.subn(lambda between: "\n\n".join([between[1], *parts, between[2]]), page)
    if found != 1:
        raise ValueError(f"{PAGE.name} has {found} places for the shapes instead of one")
    return page


def _part(name: str) -> str:
    shape = SHAPES[name]
    rows = [
        f"| `{path}`{'' if always else ', not always'} | {kind} | {what} |" for path, kind, what, always in _rows(shape)
    ]
    others = "\n\nIt has further members." if shape.get("additionalProperties") else ""
    table = "\n".join(["| member | value | what it is |", "|---|---|---|", *rows])
    return f"### {_title(name)}\n\n{shape['description']}\n\n{table}{others}"


def _rows(shape: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, bool]]:
    """Yield the members of an object, each followed by those of the objects that it contains."""
    for name, member in shape["properties"].items():
        what = str(member.get("description") or SHAPES[_name_of(member)]["description"]).replace("|", "\\|")
        yield f"{prefix}{name}", _kind(member), what, name in shape["required"]
        inner, step = member, "."
        for one in member.get("anyOf", ()):
            inner = one if "properties" in one else inner
        if "items" in inner and "properties" in inner["items"]:
            inner, step = inner["items"], "[]."
        if "properties" in inner:
            yield from _rows(inner, f"{prefix}{name}{step}")


def _kind(member: Mapping[str, Any]) -> str:
    """Return the kind of a value in words."""
    kinds = member.get("type", "any value")
    words = " or ".join(_WORDS.get(one, one) for one in ([kinds] if isinstance(kinds, str) else kinds))
    if "$ref" in member:
        words = _link(_name_of(member))
    elif "anyOf" in member:
        words = " or ".join(map(_kind, member["anyOf"]))
    elif "const" in member or "enum" in member:
        values = [one if one is None else f"`{one}`" for one in member.get("enum", [member.get("const")])]
        words = " or ".join(
            filter(None, [", ".join(str(one or "null") for one in values[:-1]), str(values[-1] or "null")])
        )
    elif member.get("format") == "date-time":
        words = words.replace("text", "a time")
    elif "$ref" in member.get("items", ()):
        words = f"a list of {_link(_name_of(member['items']))}"
    return words


def _name_of(member: Mapping[str, Any]) -> str:
    return str(member["$ref"]).rpartition("/")[2]


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _link(name: str) -> str:
    return f"[{_title(name).lower()}](#{_title(name).lower().replace(' ', '-')})"


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is up to date\n")
