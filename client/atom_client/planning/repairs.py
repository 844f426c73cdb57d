"""New runs that repair ended ones: their file, kept steps and request."""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atom_client.errors import Misuse
from atom_client.planning.params import GivenParams, read_params
from atom_client.planning.requests import check_message
from atom_client.text import name_of
from atom_workflows.coordinator.preparation import new_run
from atom_workflows.coordinator.reuse import ReusePlan, plan_reuse
from atom_workflows.coordinator.services import Services
from atom_workflows.core.reads import paths_in
from atom_workflows.core.records import RunRecord
from atom_workflows.core.workflow import Template, Workflow
from atom_workflows.documents import definition_path
from atom_workflows.errors import InvalidParams, SourceNotFound
from atom_workflows.language.limits import MAX_FILE_BYTES
from atom_workflows.messages.fields import SCHEMA_OF_REPAIRS


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A workflow file and its name in messages.

    `fields` are the fields of a start message that name or hold the file.
    """

    content: bytes
    name: str
    fields: dict[str, str] = field(default_factory=dict)


def find_own_file(services: Services, run: RunRecord, *, advice: str) -> FoundFile:
    """Return the file that the run was started from.

    Only some runs store it. Otherwise, it must be in its bucket or in the working folder, unchanged. Raises `Misuse` if
    it is not found; the message ends with `advice`.
    """
    path = str(run.source.get("path", ""))
    stored = services.store.get([definition_path(run.id)])[0]
    if stored is not None:
        content = zlib.decompress(stored.fields["text"])
        return FoundFile(content=content, name=path, fields={"definition": text_of(content, path)})
    if not run.source.get("inline"):
        generation = str(run.source["generation"])
        try:
            content, _ = services.source.read(path, generation)
        except SourceNotFound:
            said = f"{name_of(path)} has changed, and its bucket does not keep generation {generation} of it"
        else:
            return FoundFile(content=content, name=path, fields={"generation": generation})
    else:
        said = f"run {run.id} does not store its file, and this folder has no unchanged {name_of(path)}"
        with_path = Path(path).name
        try:
            # Whoever starts runs chooses the name. Reading a pipe would never end.
            found = Path(with_path)
            is_readable = found.is_file() and found.stat().st_size <= MAX_FILE_BYTES
            content = found.read_bytes() if is_readable else b""
        except (OSError, ValueError):
            content = b""
        if hashlib.sha256(text_of(content, path).encode()).hexdigest() == run.digest:
            return FoundFile(content=content, name=with_path, fields={"definition": text_of(content, path)})
    raise Misuse(f"{said}; {advice}")


def text_of(content: bytes, name: str) -> str:
    """Decode a file's content.

    Raises `Misuse` if it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Misuse(f"{name_of(name)} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def plan_repair(  # noqa: PLR0913 (what a request of a repair is made of)
    services: Services,
    earlier: RunRecord,
    file: FoundFile,
    workflow: Workflow,
    params: Mapping[str, str],
    *,
    key: str = "",
) -> tuple[ReusePlan, dict[str, Any]]:
    """Plan a new run that keeps steps of an ended one.

    Returns the plan and the message that requests the run.

    `params` are the texts of the parameters to change. `key` replaces the new run's random key, so that publishing the
    same request twice starts only one run. The message's digest makes the start function refuse it once the ended run
    has changed. Raises `InvalidParams`, or `RunStateError` if the run cannot be repaired.
    """
    read = read_params(GivenParams(texts=params), workflow)
    if read.problems:
        raise InvalidParams(read.problems)
    digest = hashlib.sha256(file.content).hexdigest()
    if params and not workflow.params and digest == earlier.digest:
        # Nothing reads them, so the new run would differ in nothing.
        raise InvalidParams(tuple(f"there is no param `{name:.60}`; the workflow has no params" for name in params))
    body = {
        "workflow_path": str(earlier.source.get("path", "")),
        "run_key": key or uuid.uuid4().hex,
        "schema": SCHEMA_OF_REPAIRS,
        "repairs": earlier.id,
        **file.fields,
        **({"params": dict(read.values)} if read.values else {}),
    }
    event = check_message(body)
    run = replace(new_run(services, event), digest=digest)
    group = [workflow.concurrency.group] if workflow.concurrency is not None else []
    texts = [*workflow.outputs, *(text for step in workflow.all_steps for text in step.expressions)]
    texts += [one for one in group if isinstance(one, Template)]
    names = {path[1] for text in texts for path in paths_in(text) if path[0] == "env" and len(path) > 1}
    # The deployment's environment is not known here. A name that the earlier run did not read may have any value: a
    # step that reads it is new, or was edited.
    env = {**dict.fromkeys(names, ""), **services.settings.env, **earlier.env}
    plan = plan_reuse(services, run, event, workflow, env)
    return plan, {**body, "kept_digest": plan.judgment.digest}
