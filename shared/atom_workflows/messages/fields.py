"""Read the fields of an event's JSON body.

Each function returns a checked value or raises `MalformedEvent`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from atom_workflows.bounded_json import MAX_VALUES, read_json
from atom_workflows.errors import JsonTooDeep, JsonTooLarge, MalformedEvent, NewerVersion

SCHEMA: Final = 1
"""The schema of the events that this version publishes. Adding an optional field does not change it."""

SCHEMA_OF_ITEMS: Final = 2
"""The schema of events that name items of a step with `forEach`, whose ids earlier versions would reject."""

SCHEDULED_SCHEMA: Final = 2
"""The schema of requests for a run at a scheduled time. Earlier versions would use the current time instead.

This schema and `SCHEMA_OF_ITEMS` can both be 2, since no event is of both kinds. Which schemas a version can read
depends on the event's type.
"""

SCHEMA_OF_REPAIRS: Final = 3
"""The schema of requests for a run that keeps steps of another run. Earlier versions would run all of its steps."""

SCHEMA_OF_COMMANDS: Final = 3
"""The schema of commands about runs. Earlier versions would give up on an event of an unknown type."""

SCHEMA_OF_MARKS: Final = 4
"""The schema of commands that mark a step. Earlier versions would give up on an unknown command."""

ID: Final = re.compile(r"(?!__.*__$)[A-Za-z0-9_~][A-Za-z0-9._~-]{0,199}")
"""The pattern for the ids of runs and steps, which become part of a document's path."""

STEP_ID: Final = re.compile(rf"{ID.pattern}(?:\[[0-9]{{1,5}}\](?:~[0-9]{{1,7}})?)?")
"""The pattern for the ids of steps and of their items."""

MAX_SCHEMA: Final = 1_000
"""The schema will never reach this number, so a body with a higher number is not one of our events."""

MAX_TEXT: Final = 2_000
LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
MAX_LABELS: Final = 64
MAX_OBJECT_BYTES: Final = 100_000
MAX_ATTEMPT: Final = 1_000_000
MAX_ITEMS: Final = 50
"""The maximum number of items in an event. Each item requires a read of up to a quarter of a megabyte."""

MAX_NAMED: Final = 100
"""The maximum number of steps that a command may name."""

_LONGEST_SHOWN: Final = 80

_ATTEMPT: Final = re.compile(r"[1-9][0-9]{0,6}")
_STEP_PATH: Final = re.compile(rf"(?:runs|schedules)/{ID.pattern}/steps/{STEP_ID.pattern}")


def read_json_body(raw: bytes | str, *, most_values: int = MAX_VALUES) -> Any:
    """Return the JSON that an event carries."""
    try:
        body = read_json(raw, most_values=most_values)
        # An unpaired surrogate or NaN can be read, but can be neither stored nor sent on.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (JsonTooDeep, JsonTooLarge) as error:
        raise MalformedEvent(f"the event's data is not usable: {error}") from None
    except ValueError as error:
        raise MalformedEvent(f"the event's data is not JSON: {error}") from None
    return body


def show(value: Any) -> str:
    """Return a value as short JSON, for error messages."""
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def require_object(body: Any) -> Mapping[str, Any]:
    """Check that the body is a JSON object, and return it."""
    if not isinstance(body, Mapping):
        raise MalformedEvent(f"an event must be a JSON object, not {show(body)}")
    return body


def require_known_schema(body: Mapping[str, Any], *, newest: int) -> None:
    """Reject an event whose schema is higher than both `SCHEMA` and `newest`.

    An event without a schema has schema 1. Raises `NewerVersion`, so that the event is redelivered until it reaches an
    instance of the newer version.
    """
    schema = body.get("schema", 1)
    if not isinstance(schema, int) or isinstance(schema, bool) or not 1 <= schema <= MAX_SCHEMA:
        raise MalformedEvent(f"an event's schema must be a number from 1 to {MAX_SCHEMA}, not {show(schema)}")
    if schema > (newest := max(newest, SCHEMA)):
        raise NewerVersion("the event", f"its schema is {schema}, but this version reads only schemas up to {newest}")


def require_text(body: Mapping[str, Any], name: str) -> str:
    """Return a string, which must be present and not empty."""
    value = read_optional_text(body, name)
    if not value:
        raise MalformedEvent(f"an event's {name} must be text, not {show(body.get(name))}")
    return value


def read_optional_text(body: Mapping[str, Any], name: str, *, longest: int = MAX_TEXT) -> str | None:
    """Return the string, or None if it is missing.

    `longest` is its maximum length in characters.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedEvent(f"an event's {name} must be text, not {show(value)}")
    if value is not None and len(value) > longest:
        raise MalformedEvent(f"an event's {name} may be at most {longest} characters long, not {len(value)}")
    return value


def read_optional_flag(body: Mapping[str, Any], name: str) -> bool:
    """Return the boolean, or False if it is missing."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise MalformedEvent(f"an event's {name} must be true or false, not {show(value)}")
    return value is True


def read_id(body: Mapping[str, Any], name: str) -> str:
    """Return the id of a run."""
    return _read_matching(body, name, ID)


def read_step_id(body: Mapping[str, Any], name: str) -> str:
    """Return the id of a step or an item."""
    return _read_matching(body, name, STEP_ID)


def read_step_ids(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of ids of steps and items.

    The list may have at most `MAX_NAMED` ids. Returns an empty list if it is missing.
    """
    value = body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_NAMED:
        raise MalformedEvent(f"an event's {name} must be a list of at most {MAX_NAMED} steps, not {show(value)}")
    return tuple(_read_matching({name: one}, name, STEP_ID) for one in value)


def _read_matching(body: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = require_text(body, name)
    if not pattern.fullmatch(value):
        raise MalformedEvent(f"an event's {name} cannot be {show(value)}")
    return value


def read_attempt(body: Mapping[str, Any]) -> int | None:
    """Return the attempt's number, or None if it is missing."""
    value = body.get("attempt")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ATTEMPT:
        raise MalformedEvent(f"an event's attempt must be a whole number, not {show(value)}")
    return value


def read_count(body: Mapping[str, Any], name: str) -> int:
    """Return a required whole number that is not negative."""
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ATTEMPT:
        raise MalformedEvent(f"an event's {name} must be a whole number from 0 to {MAX_ATTEMPT:,}, not {show(value)}")
    return value


def read_attempt_key(body: Mapping[str, Any], name: str) -> str | None:
    """Return the key of an attempt, `run/step/attempt`.

    Returns None if it is missing.
    """
    value = read_optional_text(body, name)
    if value is None:
        return None
    *ids, attempt = value.split("/")
    is_numbered = _ATTEMPT.fullmatch(attempt) is not None and int(attempt) <= MAX_ATTEMPT
    is_named = len(ids) == 2 and ID.fullmatch(ids[0]) and STEP_ID.fullmatch(ids[1])  # noqa: PLR2004 (the run and the step)
    if not is_named or not is_numbered:
        raise MalformedEvent(f"an event's {name} must be run/step/attempt, not {show(value)}")
    return value


def read_time(body: Mapping[str, Any], name: str) -> datetime:
    """Return a time in UTC."""
    try:
        value = datetime.fromisoformat(require_text(body, name))
        in_utc = value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedEvent(f"an event's {name} must be a time: {error}") from None
    if value.tzinfo is None:
        raise MalformedEvent(f"an event's {name} must be a time with a time zone")
    return in_utc


def read_step_path(body: Mapping[str, Any], name: str) -> str:
    """Return the path of a step's document."""
    value = require_text(body, name)
    if not _STEP_PATH.fullmatch(value):
        raise MalformedEvent(f"an event's {name} must be the path of a step, not {show(value)}")
    return value


def read_objects(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return a list of at least one and at most `MAX_ITEMS` objects."""
    value = body.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
        raise MalformedEvent(f"an event's {name} must be a non-empty list of objects, not {show(value)}")
    if len(value) > MAX_ITEMS:
        raise MalformedEvent(f"an event's {name} may have at most {MAX_ITEMS:,} entries, not {len(value):,}")
    return value


def require_storable(name: str, value: str, *, longest: int = MAX_TEXT) -> str:
    """Check that a string can be stored, and return it.

    It must be at most `longest` bytes long and must not contain unpaired surrogates.
    """
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise MalformedEvent(f"an event's {name} contains an unpaired surrogate: {show(value)}") from None
    if size > longest:
        raise MalformedEvent(f"an event's {name} may be at most {longest:,} bytes long, not {size:,}")
    return value


def read_optional_object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object, or an empty object if it is missing."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MalformedEvent(f"an event's {name} must be an object, not {show(value)}")
    # Measured as it is stored, in UTF-8, where most characters take fewer bytes than as an escape sequence.
    if len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) > MAX_OBJECT_BYTES:
        raise MalformedEvent(f"an event's {name} may be at most {MAX_OBJECT_BYTES:,} bytes long")
    return value


def read_labels(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels, or an empty map if they are missing.

    A value that is a whole number is converted to text.
    """
    found = read_optional_object(body, "labels")
    if len(found) > MAX_LABELS:
        raise MalformedEvent(f"an event may have at most {MAX_LABELS} labels, not {len(found)}")
    for name, value in found.items():
        if not _is_text_or_number(value) or not LABEL_NAME.fullmatch(name):
            raise MalformedEvent(
                f"a label must have a lower-case name and a text value, not {name!r:.80}: {show(value)}"
            )
    return {name: str(value) for name, value in found.items()}


def read_optional_key(body: Mapping[str, Any], name: str) -> str | None:
    """Return the string, or None if it is missing.

    A whole number, such as an eight-digit date, is converted to text.
    """
    value = body.get(name)
    return read_optional_text({name: str(value)} if _is_text_or_number(value) else body, name)


def _is_text_or_number(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)
