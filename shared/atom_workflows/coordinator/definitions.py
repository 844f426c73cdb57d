"""Store the definitions of large runs, and read them to continue runs."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.turns import turn_to_read
from atom_workflows.core.records import RunRecord
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import definition_path, definitions_path
from atom_workflows.errors import Conflict, DefinitionUnusable, NotStorable
from atom_workflows.ports import Create, Query, Update

if TYPE_CHECKING:
    from atom_workflows.coordinator.reuse import Reuse

MAX_DEFINITION_BYTES: Final = 900_000
"""The maximum compressed size of a large run's definition, which is kept in a document of at most 1 MiB."""


_MOST_NAMED: Final = 3


class Definition(NamedTuple):
    """A workflow, the text that it was parsed from, and the path of its file.

    `reuse` is None unless the run keeps steps of another one.
    """

    workflow: Workflow
    text: bytes
    path: str
    reuse: Reuse | None = None


def store_definition(run: RunRecord, definition: Definition) -> Create:
    """Return the document that holds a large run's definition.

    Raises `NotStorable` if it is too large.
    """
    compressed = zlib.compress(definition.text)
    reuse = {} if definition.reuse is None else {"reuse": definition.reuse.stored()}
    size = len(compressed) + sum(map(len, reuse.values()))
    if size > MAX_DEFINITION_BYTES:
        raise NotStorable(
            f"{definition.path} takes up {size} bytes even when compressed, but at most "
            f"{MAX_DEFINITION_BYTES} can be stored; move large args to files that the jobs read"
        )
    fields = {"text": compressed, "path": definition.path, "expire_at": run.expire_at, **reuse}
    return Create(path=definition_path(run.id), fields=fields)


def load_workflow(services: Services, run: RunRecord) -> tuple[Workflow, str]:
    """Return the stored workflow of a large run, and its file's path.

    Raises `DefinitionUnusable`.
    """
    # Of the functions, only start needs the parser; others get here only when they repair a run.
    from atom_workflows.language.parser import parse_workflow  # noqa: PLC0415 - see above
    from atom_workflows.language.problems import InvalidWorkflow  # noqa: PLC0415 - see above

    stored = services.store.get([definition_path(run.id)])[0]
    if stored is None:
        raise DefinitionUnusable("its definition was deleted before all of its steps were written")
    try:
        path, text = stored.fields["path"], zlib.decompress(stored.fields["text"])
        with turn_to_read(len(text)):
            return parse_workflow(text, filename=path), path
    except InvalidWorkflow as error:
        problems = "; ".join(map(str, error.problems[:_MOST_NAMED]))
        more = f"; and {len(error.problems) - _MOST_NAMED} more" if len(error.problems) > _MOST_NAMED else ""
        message = f"its definition is not valid in the version that continued the run: {problems}{more}"
        raise DefinitionUnusable(message) from None
    except (zlib.error, LookupError, TypeError) as error:
        raise DefinitionUnusable(f"its definition cannot be read: {type(error).__name__}: {error}") from None


def keep_definition(services: Services, run_id: str, until: datetime) -> bool:
    """Keep the run's definition, if there is one, until a date.

    Returns False if the definition cannot be renewed at the moment.
    """
    # Do not read the text, which may take up a megabyte. A refused write would not show whether a definition exists.
    query = Query(collection=definitions_path(run_id), limit=1, fields=("expire_at",))
    try:
        services.store.commit(
            [
                Update(path=document.path, fields={"expire_at": until}, guard=document.version)
                for document in services.store.query(query)
                if document.fields["expire_at"] != until
            ]
        )
    except Conflict:
        return False
    return True
