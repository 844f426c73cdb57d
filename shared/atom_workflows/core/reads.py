"""What expressions read: paths, the steps behind them, and run constants.

The `expressions` package is imported only when there is an expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from atom_workflows.core.workflow import Condition, JsonValue, Template
from atom_workflows.errors import EvaluationError

MAX_READ_BYTES: Final = 1024 * 1024
"""The maximum size of all outputs that one step's expressions read, as JSON. Once parsed, they need far more memory."""

RUN_RESULT: Final = ("state", "failures", "failureCount")
"""The members that `run` has in addition to its constants once the main part of the run has ended."""

ITEM_ROOTS: Final = frozenset({"item", "index"})
"""The names that only the expressions of a step with `forEach` can read; their values differ for each item."""


class Reads(NamedTuple):
    """The steps that an expression reads, grouped by what it reads."""

    outputs: frozenset[str] = frozenset()
    records: frozenset[str] = frozenset()
    # True if the expression reads the result of the main part (`run.state`), as steps under `finally` can.
    run: bool = False

    def __or__(self, other: Reads) -> Reads:
        return Reads(
            outputs=self.outputs | other.outputs, records=self.records | other.records, run=self.run or other.run
        )


def reads_of(texts: Sequence[Condition | Template]) -> Reads:
    """Return the steps that the given expressions read."""
    from atom_workflows.expressions.syntax import reads  # noqa: PLC0415 (only steps with expressions need it)

    outputs: set[str] = set()
    records: set[str] = set()
    run = False
    for expression in expressions_in(texts):
        for path in reads(expression):
            if path[0] == "steps" and len(path) > 1:
                # A step that is read as a whole is read with its outputs.
                if path[2:3] in {(), ("outputs",)}:
                    outputs.add(path[1])
                if path[2:3] != ("outputs",):
                    records.add(path[1])
            run = run or (path[0] == "run" and (len(path) == 1 or path[1] in RUN_RESULT))
    return Reads(outputs=frozenset(outputs), records=frozenset(records), run=run)


def require_readable(size: int) -> None:
    """Raise `ExpressionError` if the outputs read are too large in total."""
    if size > MAX_READ_BYTES:
        said = f"the outputs that its expressions read are more than {MAX_READ_BYTES:,} bytes in total"
        raise EvaluationError(said, at=0, suggestion="return less from each step, and put large values into files")


def expressions_in(texts: Sequence[Condition | Template]) -> Iterator[Any]:
    """Yield the parsed expressions of conditions and templates."""
    from atom_workflows.expressions.parser import parse  # noqa: PLC0415 (see above)

    for text in texts:
        if isinstance(text, Condition):
            yield parse(text.text)
        else:
            yield from (one.expression for one in parse_template_once(text.text).placeholders)


@lru_cache(maxsize=256)
def parse_template_once(text: str) -> Any:
    """Return a parsed template.

    Results are cached, because the thousands of items of a step may share the same templates.
    """
    from atom_workflows.expressions.templates import parse_template  # noqa: PLC0415 (see above)

    return parse_template(text)


def paths_in(text: Condition | Template) -> Iterator[tuple[str, ...]]:
    """Yield the paths that a condition or template reads.

    Example: `("params", "day")`.
    """
    from atom_workflows.expressions.syntax import reads  # noqa: PLC0415 (see above)

    for expression in expressions_in([text]):
        yield from reads(expression)


def required_paths_in(texts: Sequence[Condition | Template]) -> Iterator[tuple[str, ...]]:
    """Yield the paths that must exist for these expressions."""
    from atom_workflows.expressions.syntax import required_reads  # noqa: PLC0415 (see above)

    for expression in expressions_in(texts):
        yield from required_reads(expression)


def is_per_item(when: Condition) -> bool:
    """Return True if a condition must be evaluated separately for each item."""
    return any(path[0] in ITEM_ROOTS for path in paths_in(when))


def typed_constants(constants: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's or run's typed constants, keyed by root.

    They are stored as JSON values, along with their types: `{"values": {...}, "types": {...}, "zone": ...}`.
    """
    from atom_workflows.expressions.types import read_type, read_value  # noqa: PLC0415 (see above)

    zone = zone_of(constants)
    types = constants.get("types", {})
    return {
        root: {name: read_value(value, read_type(types[root][name]), zone=zone) for name, value in values.items()}
        for root, values in constants.get("values", {}).items()
    }


def zone_of(constants: Mapping[str, Any]) -> str:
    """Return the time zone that expressions use to determine dates."""
    return str(constants.get("zone", "UTC"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """The values of a run that do not change after its start.

    They are keyed by root (`params`, `run`, `env`) and name. `types` has the same shape and holds the notation of each
    value's type.
    """

    values: Mapping[str, Mapping[str, JsonValue]]
    types: Mapping[str, Mapping[str, Any]]
    zone: str = "UTC"

    def read_by(self, texts: Sequence[Condition | Template], *, reads_times: bool = False) -> dict[str, Any]:
        """Return the constants that these expressions read, as stored with a step.

        With `reads_times`, the zone is included even if there are no expressions.
        """
        zone = {"zone": self.zone} if self.zone != "UTC" and (texts or reads_times) else {}
        if not texts:
            return zone
        chosen: dict[str, set[str]] = {}
        for root, *path in (path for text in texts for path in paths_in(text)):
            known = self.values.get(root)
            if known is not None:
                # Reading the root as a whole, or a member with a computed name, may read any of its constants.
                chosen.setdefault(root, set()).update(name for name in (path[:1] or known) if name in known)
        return {"values": _select(self.values, chosen), "types": _select(self.types, chosen), **zone}

    def include_all(self, text: Condition | Template) -> bool:
        """Return True if the text's expressions read only these constants."""
        paths = list(paths_in(text))
        # `run` as a whole also has the result of the main part, once there is one.
        known = all(path[0] in self.values and {*path[1:2]} <= self.values[path[0]].keys() for path in paths)
        return known and ("run",) not in paths


def select_constants(stored: Mapping[str, Any], texts: Sequence[Condition | Template]) -> dict[str, Any]:
    """Return the constants that these expressions read, with the time zone."""
    constants = Constants(values=stored.get("values", {}), types=stored.get("types", {}), zone=zone_of(stored))
    return constants.read_by(texts, reads_times=True)


def _select(values: Mapping[str, Mapping[str, Any]], chosen: Mapping[str, set[str]]) -> dict[str, Any]:
    return {root: {name: values[root][name] for name in sorted(names)} for root, names in sorted(chosen.items())}
