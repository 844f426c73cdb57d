"""`upload`: put a valid workflow file into a bucket.

Prints the id of the run that the upload starts.
"""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime
from pathlib import PurePath

import click

from atom_client.cli.platform import ask_no_proxy
from atom_client.cli.run import print_problems, warn_of_programs_on_platform
from atom_client.cli.sources import STDIN, content_of, shown_name
from atom_client.cli.validate import print_warnings
from atom_client.deployment import environment, with_place
from atom_client.errors import Misuse
from atom_client.planning.requests import require_object
from atom_client.text import counted, name_of, one_line
from atom_client.views.as_json import json_document
from atom_client.views.schedules import instant_objects, next_instants, zoned
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.workflow import Workflow
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.start import start_of_object
from atom_workflows.settings import from_environment


def upload_file(source: str, target: str, *, as_json: bool) -> int:
    """Check and upload the file, and return the exit code."""
    path = target
    if target.endswith("/"):  # The target is a folder, and the file keeps its name there.
        if source == STDIN:
            raise Misuse(f"{name_of(target)} is a folder, and stdin has no name; give the object's full name")
        path += PurePath(os.path.abspath(source)).name  # noqa: PTH100 (resolve() would follow links)
    bucket, name = require_object(path)
    settings = from_environment(environment())
    if not settings.is_workflow_object(name):
        raise Misuse(
            f"an upload to {name_of(path)} would not start a run: the object's name must begin with "
            f"{settings.object_prefix} and end in {' or '.join(settings.object_suffixes)}. If your deployment expects "
            "other names, set WORKFLOW_OBJECT_PREFIX or WORKFLOW_OBJECT_SUFFIXES to its values"
        )
    content = content_of(source)
    try:
        workflow = parse_workflow(content, filename=shown_name(source))
    except InvalidWorkflow as error:
        return print_problems(error, as_json=as_json)
    print_warnings(workflow.warnings)
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        warn_of_programs_on_platform(workflow)
    from atom_workflows.adapters.storage.upload import StorageUpload  # noqa: PLC0415 (only needed for uploads)

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        ask_no_proxy()
    generation = StorageUpload().upload(path, content)
    started = start_of_object(bucket, name, generation, event_id="")
    run_id = run_id_for(started.workflow_path, *started.key)
    if workflow.schedules is not None:
        _print_registered(workflow, path, generation, as_json=as_json)
        return 0
    required = [param.name for param in workflow.params if param.required]
    if as_json:
        more = {"required_params": required} if required else {}
        click.echo(json_document({"run_id": run_id, "run": run_id, "object": path, "generation": generation, **more}))
    elif required:
        needed = " ".join(f"--param {name}=…" for name in required)
        click.echo(f"Uploaded {name_of(path)}, generation {generation}.")
        click.echo(f"An upload cannot pass parameters, so run {run_id} will be INVALID: `{required[0]}` is required.")
        click.echo(f"To start a run: `{with_place(f'start {shlex.quote(one_line(path))} {needed}')}`")
    else:
        click.echo(f"Uploaded {name_of(path)}, generation {generation}, which starts run {run_id}.")
        click.echo(f"To view it: `{with_place(f'runs show {run_id}')}`")
    return 0


def _print_registered(workflow: Workflow, path: str, generation: str, *, as_json: bool) -> None:
    """Explain that uploading a file with schedules does not start a run."""
    now, schedules = datetime.now(UTC), workflow.schedules or ()
    if as_json:
        instants = instant_objects(schedules, workflow.timezone, now, count=1)
        click.echo(
            json_document(
                {"run_id": None, "run": None, "object": path, "generation": generation, "schedules": instants}
            )
        )
        return
    shown = f"Uploaded {name_of(path)}, generation {generation}"
    if not schedules:
        start = with_place(f"start {shlex.quote(one_line(path))}")
        click.echo(f"{shown}, which does not start a run, as its `schedules` are empty. To start one: `{start}`")
        return
    found = (next(next_instants(one.cron, workflow.timezone, now, 1), None) for one in schedules)
    first = min(at for at, _ in filter(None, found))
    click.echo(f"{shown}, which registers {counted(len(schedules), 'schedule')}.")
    click.echo(f"The next run starts at {zoned(first, workflow.timezone)}, unless the schedules are paused.")
    click.echo(f"To view them: `{with_place(f'schedules next {shlex.quote(one_line(path))}')}`")
