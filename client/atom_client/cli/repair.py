"""`runs doctor`: examine a run and fix it."""

from __future__ import annotations

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.platform import services_for_run
from atom_client.views.as_json import json_document
from atom_client.views.examinations import examination_lines, examination_object, is_anything_wrong
from atom_client.views.run_references import full_run_id
from atom_workflows.coordinator.repair import examine
from atom_workflows.coordinator.services import Services


def repair(services: Services, text: str, *, dry_run: bool, as_json: bool) -> bool:
    """Examine a run, fix it and print what was wrong.

    Returns True if no problem remains.
    """
    run_id = full_run_id(services.store, text)
    if not dry_run:
        services = services_for_run(services, run_id)
    examination = examine(services, run_id, fixing=not dry_run, actor="" if dry_run else current_actor())
    if as_json:
        click.echo(json_document(examination_object(examination)))
    else:
        for line in examination_lines(examination, now=services.clock.now(), dry_run=dry_run):
            click.echo(line)
    return not is_anything_wrong(examination)
