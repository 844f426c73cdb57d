"""`start`: request a run by sending a message to a platform.

The run's id is printed before the run exists.
"""

from __future__ import annotations

import click

from atom_client.cli.output import Output
from atom_client.cli.params import print_param_problems
from atom_client.cli.platform import connect_services, platform_of
from atom_client.cli.platform_choice import PlatformChoice
from atom_client.cli.run import Running, RunOptions, print_problems, run_to_end, warn_of_programs_on_platform
from atom_client.cli.start_request import StartOptions, read_request
from atom_client.cli.validate import print_warnings
from atom_client.deployment import environment, with_place
from atom_client.errors import Misuse
from atom_client.planning.earlier_start import EarlierStart, find_earlier_start, started_before_line
from atom_client.planning.requests import check_message, warn_of_group
from atom_client.text import name_of
from atom_client.views.as_json import json_document
from atom_workflows.errors import InvalidParams
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.ports import Message


def start_run(options: StartOptions) -> int:
    """Publish the start message and return the exit code.

    With `wait`, follow the run to its end.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    try:
        request = read_request(options)
    except InvalidWorkflow as error:
        return print_problems(error, as_json=options.as_json)
    except InvalidParams as error:
        return print_param_problems(error, options.source, as_json=options.as_json)
    print_warnings((*request.warnings, *warn_of_group(request)))
    warn_of_programs_on_platform(request.workflow)
    body = request.message_body(options.task_runner_url)
    event, earlier = check_message(body), EarlierStart()
    if options.key is not None:
        earlier = find_earlier_start(connect_services(environment()).store, request, event)
    if earlier.is_started:
        click.echo(started_before_line(request.run_id), err=True)
    if options.wait:
        run_options = RunOptions(
            source=options.source,
            choice=PlatformChoice(task_runner_url=options.task_runner_url),
            as_json=options.as_json,
            timeout_s=options.timeout_s,
            superseded=earlier.invalid,
            more_json={"started_before": earlier.is_started},
        )
        running = Running(environment=platform_of(environment()))
        return run_to_end(running, request, run_options, Output(aside=options.as_json))
    connect_services(environment()).bus.publish([Message(topic="start", body=body)])
    if options.as_json:
        ids = {"run_id": request.run_id, "run": request.run_id, "key": request.run_key}
        requested = {**ids, "workflow_path": request.workflow_path}
        click.echo(json_document({**requested, "started_before": earlier.is_started}))
    else:
        click.echo(f"Requested run {request.run_id} of {name_of(options.source)}{request.size}.")
        click.echo(f"To view it: `{with_place(f'runs show {request.run_id}')}`")
    return 0
