"""The documents: their paths, their schemas, and shared conversion code.

`runs/{run_id}` holds a run, and `runs/{run_id}/steps/{step_id}` a node of its compiled graph. `control/checker` holds
the lease for the checker's burst, and `control/round` the position at which the next page of a round begins. Fields
with their default values are not stored. step_documents.py, run_documents.py and schedule_documents.py convert records
to stored fields and back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.core.kinds import LANGUAGE_SCHEMA, LOOPS_SCHEMA
from atom_workflows.errors import NewerVersion
from atom_workflows.ports import Document, Fields

if TYPE_CHECKING:
    from atom_workflows.core.user_changes import UserChange

SCHEMAS: Final = (1, 2, 3, 4)
"""The schemas that this version reads. Every document stores its schema, and the checker's query selects only
these schemas.

All documents of a run have the run's schema. Adding a field that may be missing does not change the schema. In runs of
the second schema, internal barriers forward their counters (core/counts.py). Runs of the third schema use features that
earlier versions do not support: expressions, conditions, outputs or `finally`. Runs of the fourth schema use loops or
`concurrency`.
"""

SCHEMA: Final = 1
"""The schema of documents that do not belong to a run."""

SCHEMA_OF_NEW_RUNS: Final = 1
"""The schema of the plain runs that this version starts. All versions that may still be deployed can read it."""

SCHEMA_OF_LANGUAGE_RUNS: Final = LANGUAGE_SCHEMA
"""The schema of runs that use the expression language. Earlier versions leave these runs to this version."""

SCHEMA_OF_LOOP_RUNS: Final = LOOPS_SCHEMA
"""The schema of runs that use loops or `concurrency`. Earlier versions leave these runs to this version."""

_PART_BYTES: Final = 12
"""The size of a number or a time in a request, and the overhead of each element of a list or map."""

RUNS: Final = "runs"
STEPS: Final = "steps"
OUTPUTS: Final = "outputs"
GROUPS: Final = "groups"
BURST_LEASE_PATH: Final = "control/checker"
ROUND_PATH: Final = "control/round"


def run_path(run_id: str) -> str:
    """Return the path of a run's document."""
    return f"{RUNS}/{run_id}"


def group_path(group_id: str) -> str:
    """Return the path of the document that guards a group's places."""
    return f"{GROUPS}/{group_id}"


def steps_path(run_id: str) -> str:
    """Return the path of the collection of a run's steps."""
    return f"{RUNS}/{run_id}/{STEPS}"


def step_path(run_id: str, step_id: str) -> str:
    """Return the path of a step's document."""
    return f"{RUNS}/{run_id}/{STEPS}/{step_id}"


def definitions_path(run_id: str) -> str:
    """Return the path of the collection that holds a large run's definition."""
    return f"{RUNS}/{run_id}/definition"


def definition_path(run_id: str) -> str:
    """Return the path of a large run's stored definition.

    Only a run that cannot be seeded in one commit has one.
    """
    return f"{definitions_path(run_id)}/text"


def outputs_collection(run_id: str) -> str:
    """Return the path of the collection of a run's outputs."""
    return f"{RUNS}/{run_id}/{OUTPUTS}"


def outputs_path(run_id: str, step_id: str) -> str:
    """Return the path of the document that holds a step's outputs."""
    return f"{RUNS}/{run_id}/{OUTPUTS}/{step_id}"


def require_known_schema(document: Document) -> Fields:
    """Return the document's fields.

    A document that stores no schema has schema 1. Raises `NewerVersion` if a newer version wrote the document.
    """
    schema = document.fields.get("schema", 1)
    if schema not in SCHEMAS:
        raise NewerVersion(
            document.path, f"its schema is {schema}, but this version reads only schemas up to {SCHEMAS[-1]}"
        )
    return document.fields


# `json.dumps` would create an encoder for each call.
to_json: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""Return a value as compact JSON text."""


def estimate_bytes(value: Any) -> int:
    """Estimate a stored value's size from its text and number of parts."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _PART_BYTES + estimate_bytes(part) for name, part in value.items())
    return sum(_PART_BYTES + estimate_bytes(part) for part in value) if isinstance(value, list | tuple) else _PART_BYTES


def changes_fields(changes: Sequence[UserChange], latest: UserChange | None = None) -> dict[str, Any]:
    """Return the stored field for people's changes, including the latest one.

    Returns nothing if no one made any. Like a field's default, an empty reason is not stored.
    """
    if latest is not None:
        # Imported here because no function needs it, except when one runs a person's command.
        from atom_workflows.core.user_changes import with_change  # noqa: PLC0415 - see above

        changes = with_change(changes, latest)
    if not changes:
        return {}
    return {"changes": [{name: value for name, value in one._asdict().items() if value != ""} for one in changes]}


def read_changes(stored: Fields) -> tuple[UserChange, ...]:
    """Read people's changes to a run or to a file's schedules."""
    found = stored.get("changes")
    if not found:
        return ()
    # Imported here because most documents have none.
    from atom_workflows.core.user_changes import UserChange  # noqa: PLC0415 - see above

    return tuple(
        UserChange(
            at=one["at"], actor=str(one.get("actor", "")), what=str(one.get("what", "")), why=str(one.get("why", ""))
        )
        for one in found
    )
