"""Read a script from YAML or JSON, with one error that lists every problem.

The fields are in `script_fields`, and docs/reference/mock-script.md describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import yaml

from atom_emulator.task_runner.script import FOREVER, Behavior, Fault, Rule, Script
from atom_emulator.task_runner.script_fields import (
    BEHAVIOR_FIELDS,
    CONDITION_FIELDS,
    NO_PLACES,
    SCRIPT_FIELDS,
    Fields,
    check_fields,
    quote,
)

if TYPE_CHECKING:
    from pathlib import Path


_RENAMED: Final = {"duration": "duration_s", "delay": "delay_s", "reason": "reasons", "logsUrl": "logs_url"}
"""Fields of a behavior whose names in the file are different."""


class InvalidScript(ValueError):
    """The script is invalid; `problems` lists every problem with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the Task Runner script is invalid:\n" + "\n".join(f"  {p}" for p in problems))
        self.problems = problems


class _Mapping(dict[Any, Any]):
    """A mapping in the file; `places` has the place of each field, with which problems begin."""

    places: Mapping[Any, str]


class _Loader(yaml.SafeLoader):
    """Reads a file as `SafeLoader` does, and records the place of each field."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        # Every mark has this name.
        self.name = name


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> _Mapping:
    mapping = _Mapping(loader.construct_mapping(node, deep=True))
    mapping.places = {loader.construct_object(key): _place(key.start_mark) for key, _ in node.value}
    return mapping


def _place(mark: yaml.Mark) -> str:
    return f"{mark.name}:{mark.line + 1}:{mark.column + 1}: "


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def load_script(path: Path) -> Script:
    """Read a script from a YAML or JSON file.

    Raises `InvalidScript` or `OSError`.
    """
    return parse_script(path.read_text(encoding="utf-8"), filename=str(path))


def parse_script(text: str, *, filename: str = "script") -> Script:
    """Read a script from its text.

    Problems begin with the file's name, and with the line and column if these are known. Raises `InvalidScript`.
    """
    name = "".join(sign if sign.isprintable() else "?" for sign in filename)
    try:
        loader = _Loader(text, name)
        try:
            document = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise InvalidScript([f"{_place(mark) if mark else f'{name}: '}{reason}"]) from error
    except yaml.YAMLError as error:
        raise InvalidScript([f"{name}: {' '.join(str(error).split())}"]) from error
    try:
        return build_script(document)
    except InvalidScript as error:
        # A value that is no mapping has no place.
        problems = [one if one.startswith(f"{name}:") else f"{name}: {one}" for one in error.problems]
        raise InvalidScript(problems) from None


def build_script(document: Any) -> Script:
    """Build a script from its parsed document.

    Raises `InvalidScript`.
    """
    problems: list[str] = []
    fields = _check_mapping(document or {}, "script", SCRIPT_FIELDS, problems)
    rules = tuple(
        _build_rule(entry, f"rules[{place}]", problems) for place, entry in enumerate(fields.get("rules", []))
    )
    default = _build_behavior(_check_mapping(fields.get("default", {}), "default", BEHAVIOR_FIELDS, problems))
    for rule in rules[:-1]:
        if rule.step is None and rule.image is None and rule.engine is None and not rule.labels:
            problems.append(f"{rule.where}: matches every job, so the rules after it never apply")
            break
    if problems:
        raise InvalidScript(problems)
    return Script(rules=rules, default=default, idempotent=fields.get("idempotent", True))


def _build_rule(document: Any, path: str, problems: list[str]) -> Rule:
    fields = _check_mapping(document, path, {**BEHAVIOR_FIELDS, **CONDITION_FIELDS}, problems)
    conditions = {name: fields.pop(name) for name in CONDITION_FIELDS if name in fields}
    places = document.places if isinstance(document, _Mapping) else NO_PLACES
    place = places.get("step") or next(iter(places.values()), "")
    return Rule(**conditions, behavior=_build_behavior(fields), where=f"{place}{path}")


def _build_behavior(fields: dict[str, Any]) -> Behavior:
    garbage = fields.pop("garbage", None)
    if garbage is not None:
        forever = Fault(kind=garbage, times=FOREVER)
        fields |= {"submit_errors": (forever,), "status_errors": (forever,)}
    for written, meant in _RENAMED.items():
        if written in fields:
            fields[meant] = fields.pop(written)
    return Behavior(**fields)


def _check_mapping(document: Any, path: str, fields: Fields, problems: list[str]) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        problems.append(f"{path}: expected a mapping, not {quote(document)}")
        return {}
    places = document.places if isinstance(document, _Mapping) else NO_PLACES
    return check_fields(document, path, fields, problems, places)
