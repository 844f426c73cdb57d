"""`upload`: put a valid workflow file into a bucket, and print the id of the run that it starts."""

from __future__ import annotations

import os
import shlex
from pathlib import PurePath

import click

from atom_client.cli.platform import ask_no_proxy
from atom_client.cli.run import print_problems, warn_of_programs_on_platform
from atom_client.cli.sources import STDIN, content_of, shown_name
from atom_client.cli.start import require_object
from atom_client.cli.validate import print_warnings
from atom_client.deployment import environment, with_place
from atom_client.errors import Misuse
from atom_client.text import name_of, one_line
from atom_client.views.as_json import json_text
from atom_workflows.core.run_ids import run_id_for
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
    required = [param.name for param in workflow.params if param.required]
    if as_json:
        more = {"required_params": required} if required else {}
        click.echo(json_text({"run": run_id, "object": path, "generation": generation, **more}))
    elif required:
        needed = " ".join(f"--param {name}=…" for name in required)
        click.echo(f"Uploaded {name_of(path)}, generation {generation}.")
        click.echo(f"An upload cannot pass parameters, so run {run_id} will be INVALID: `{required[0]}` is required.")
        click.echo(f"To start a run: `{with_place(f'start {shlex.quote(one_line(path))} {needed}')}`")
    else:
        click.echo(f"Uploaded {name_of(path)}, generation {generation}, which starts run {run_id}.")
        click.echo(f"To look at it: `{with_place(f'runs show {run_id}')}`")
    return 0
