"""`runs retry --with` and `--param`: start a new run that keeps the unchanged steps of an ended one."""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.follow import Waiting
from atom_client.cli.history import require_platform
from atom_client.cli.output import Output
from atom_client.cli.params import GivenParams, pairs_of, print_param_problems, read_params
from atom_client.cli.run import print_problems
from atom_client.cli.sources import BUCKET_PREFIX, content_of, require_object, shown_name
from atom_client.cli.start_request import check_message
from atom_client.cli.tables import MOST_ROWS, Sheet
from atom_client.cli.validate import print_warnings
from atom_client.deployment import with_place
from atom_client.errors import RUN_FAILED, Misuse
from atom_client.text import counted, name_of, one_line
from atom_client.views.as_json import json_document
from atom_client.views.progress import RunView, view_of
from atom_client.views.queries import in_order, read_outlines_without_items
from atom_client.views.reuse import reuse_lines, reuse_object
from atom_client.views.run_references import require_run_to_change
from atom_workflows.coordinator.preparation import new_run
from atom_workflows.coordinator.reuse import ReusePlan, plan_reuse
from atom_workflows.coordinator.services import Services
from atom_workflows.core.reads import paths_in
from atom_workflows.core.records import RunRecord
from atom_workflows.core.reuse import What, require_reusable
from atom_workflows.core.workflow import Template, Workflow
from atom_workflows.documents import definition_path
from atom_workflows.errors import InvalidParams, SourceNotFound
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.fields import SCHEMA_OF_REPAIRS
from atom_workflows.ports import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseOptions:
    """The options that the user gave.

    `source` is the edited file, if there is one, and `params` have the form `name=value`.
    """

    run_id: str
    source: str | None = None
    params: Sequence[str] = ()
    dry_run: bool = False
    yes: bool = False
    wait: bool = False
    timeout_s: float | None = None
    reason: str = ""
    as_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A workflow file, its name in messages, and the fields of a start message that name or hold it."""

    content: bytes
    name: str
    fields: dict[str, str] = field(default_factory=dict)


def repair_by_new_run(services: Services, options: ReuseOptions) -> int:
    """Show what a new run would keep, and perhaps start it.

    It is not started in a dry run, or if the user declines. Returns the exit code.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    earlier = require_run_to_change(services.store, options.run_id)
    # Only a run that was started is known to have had a file.
    require_reusable(earlier, now=services.clock.now())
    file = find_file(services, earlier, options.source)
    try:
        workflow = parse_workflow(file.content, filename=file.name)
        plan, body = _plan(services, earlier, file, workflow, pairs_of("--param", options.params))
    except InvalidWorkflow as error:
        return print_problems(error, as_json=options.as_json)
    except InvalidParams as error:
        return print_param_problems(error, file.name, as_json=options.as_json)
    print_warnings(workflow.warnings)
    output = Output(aside=options.as_json)
    show_plan(plan, output)
    if not plan.reuse.kept:
        what = "the new run starts from scratch, like a run started with `atom-workflows start`"
        print_warnings([f"no step of run {earlier.id} is kept: {what}"])
    if options.dry_run:
        if options.as_json:
            click.echo(json_document({**reuse_object(plan), "dry_run": True}))
        return 0
    # A script that does not give --yes is not asked.
    if not options.yes and output.has_reader and not click.confirm("Start it?", err=options.as_json):
        click.echo("Nothing was started.", err=True)
        return RUN_FAILED
    require_platform(services)
    who = {"actor": current_actor(), **({"reason": options.reason} if options.reason else {})}
    return _start(services, plan, {**body, "kept_digest": plan.judgment.digest, **who}, options)


def _plan(
    services: Services, earlier: RunRecord, file: FoundFile, workflow: Workflow, params: Mapping[str, str]
) -> tuple[ReusePlan, dict[str, Any]]:
    """Return what the new run would keep, and the message that requests it.

    Raises `InvalidParams`, or `RunStateError` if the run cannot be repaired.
    """
    read = read_params(GivenParams(texts=params), workflow)
    if read.problems:
        raise InvalidParams(read.problems)
    body = {
        "workflow_path": str(earlier.source.get("path", "")),
        "run_key": uuid.uuid4().hex,
        "schema": SCHEMA_OF_REPAIRS,
        "repairs": earlier.id,
        **file.fields,
        **({"params": dict(read.values)} if read.values else {}),
    }
    event = check_message(body)
    run = replace(new_run(services, event), digest=hashlib.sha256(file.content).hexdigest())
    group = [workflow.concurrency.group] if workflow.concurrency is not None else []
    texts = [*workflow.outputs, *(text for step in workflow.all_steps for text in step.expressions)]
    texts += [one for one in group if isinstance(one, Template)]
    names = {path[1] for text in texts for path in paths_in(text) if path[0] == "env" and len(path) > 1}
    # The deployment's environment is not known here. A name that the earlier run did not read may have any value: a
    # step that reads it is new, or was edited.
    env = {**dict.fromkeys(names, ""), **services.settings.env, **earlier.env}
    return plan_reuse(services, run, event, workflow, env), body


def show_plan(plan: ReusePlan, output: Output) -> None:
    """Print what would happen to each step."""
    choices = plan.judgment.choices
    if len(choices) > MOST_ROWS:
        choices = tuple(choice for choice in choices if choice.what is not What.KEEP)[:MOST_ROWS]
    rows = tuple((choice.step_id, choice.what.value, one_line(choice.why)) for choice in choices)
    if rows:
        output.show(Sheet(heading=("STEP", "WHAT", "WHY"), rows=rows, state_column=1, may_be_narrowed=True))
    if hidden := len(plan.judgment.choices) - len(rows):
        output.say(f"({counted(hidden, 'more step')} not shown; `--json` lists all.)")
    output.say()
    for line in reuse_lines(plan):
        output.say(line)


def find_file(services: Services, run: RunRecord, source: str | None) -> FoundFile:
    """Return the file that the user names, or else the run's own.

    The latter is the file with which the run was started. Only some runs store it. Otherwise it is looked for in its
    bucket, or in the working folder, and must be unchanged. Raises `Misuse` if it is not there.
    """
    if source is not None:
        if source.startswith(BUCKET_PREFIX):
            require_object(source)
            content, _ = services.source.read(source, None)
        else:
            content = content_of(source, what="--with")
        return FoundFile(content=content, name=shown_name(source), fields={"definition": _text_of(content, source)})
    path = str(run.source.get("path", ""))
    stored = services.store.get([definition_path(run.id)])[0]
    if stored is not None:
        content = zlib.decompress(stored.fields["text"])
        return FoundFile(content=content, name=path, fields={"definition": _text_of(content, path)})
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
            content = Path(with_path).read_bytes()
        except (OSError, ValueError):
            content = b""
        if hashlib.sha256(_text_of(content, path).encode()).hexdigest() == run.digest:
            return FoundFile(content=content, name=with_path, fields={"definition": _text_of(content, path)})
    raise Misuse(f"{said}; give the file with --with FILE")


def _text_of(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Misuse(f"{name_of(name)} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _start(services: Services, plan: ReusePlan, body: dict[str, Any], options: ReuseOptions) -> int:
    run_id = plan.run.id

    def begin() -> str:
        services.bus.publish([Message(topic="start", body=body)])
        return f"Requested run {run_id}, which keeps {counted(len(plan.reuse.kept), 'step')} of run {plan.earlier.id}."

    if not options.wait:
        said = begin()
        if options.as_json:
            click.echo(json_document({"run_id": run_id, **reuse_object(plan)}))
        else:
            click.echo(f"{said}\nTo view it: `{with_place(f'runs show {run_id}')}`")
        return 0
    nodes = read_outlines_without_items(services.store, plan.earlier)
    order = tuple(choice.step_id for choice in plan.judgment.choices if choice.what is not What.REMOVE)
    kept = {step.id: view_of(step) for step in in_order(nodes.values()) if step.id in plan.reuse.kept}
    waiting = Waiting(
        services=services,
        view=RunView(run_id=run_id, total=len(order), order=order, steps=kept),
        output=Output(aside=options.as_json),
        as_json=options.as_json,
        timeout_s=options.timeout_s,
    )
    return waiting.to_exit_code(begin)
