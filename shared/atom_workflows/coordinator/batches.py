"""Divide step documents into batches that each fit into one commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from atom_workflows.core.item_ids import EXPANDER_PREFIX
from atom_workflows.documents import OUTPUTS
from atom_workflows.errors import NotStorable
from atom_workflows.ports import Create, Update

BATCH_DOCUMENTS: Final = 200
BATCH_BYTES: Final = 900_000
"""A request may be up to 1 MB in size; this leaves room for the encoding."""

MAX_STEP_BYTES: Final = 900_000
"""The maximum size of a step's new document. A document may be at most 1 MiB in size, and it grows when the step's
result and the body that was sent are added. If it became too large to write, its run would never end. What is copied
from an ended run has stopped growing.
"""

_DOCUMENT_OVERHEAD: Final = 600
_LISTS_OF_NAMES: Final = frozenset({"depends_on", "dependents", "barriers", "conditional", "heirs"})
_LONG_TEXTS: Final = frozenset(
    {
        "task",
        "templates",
        "constants",
        "outputs",
        "loop",
        "item",
        "item_type",
        "values",
        "message",
        "because",
        "attempts",
    }
)
"""The fields of a step or of its outputs, other than its conditions, that may be long."""

_Batched = TypeVar("_Batched", Create, Update)


def in_batches(writes: Iterable[_Batched]) -> Iterator[list[_Batched]]:
    """Divide the writes into batches, in order.

    Raises `NotStorable` if one of them is too large.
    """
    batch: list[_Batched] = []
    size = 0
    for write in writes:
        takes = size_of(write)
        if batch and (len(batch) == BATCH_DOCUMENTS or size + takes > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += takes
    if batch:
        yield batch


def size_of(write: Create | Update) -> int:
    """Estimate the size of a step's document in a request.

    Raises `NotStorable` if it is too large.
    """
    fields = write.fields
    size = _DOCUMENT_OVERHEAD
    for name, value in fields.items():
        if name in _LISTS_OF_NAMES and value:
            size += sum(map(len, value)) + 6 * len(value)
        elif name in _LONG_TEXTS and value:
            size += len(value.encode())
    for condition in (fields.get("when"), (fields.get("policies") or {}).get("retry_when")):
        if condition:
            size += len(condition["text"].encode())
    if size > MAX_STEP_BYTES and not _is_copied(write):
        # Users do not see the node that creates the items of their step.
        step_id = write.path.rpartition("/")[2].removeprefix(EXPANDER_PREFIX)
        what = f"the task of step {step_id}, its expressions, and their values and types"
        raise NotStorable(f"{what} take up {size:,} bytes, but at most {MAX_STEP_BYTES:,} can be stored")
    return size


def _is_copied(write: Create | Update) -> bool:
    """Return True if the write copies a kept step or its outputs."""
    return bool(write.fields.get("kept_from")) or f"/{OUTPUTS}/" in write.path
