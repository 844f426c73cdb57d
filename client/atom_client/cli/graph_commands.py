"""The command `graph`."""

from __future__ import annotations

import click

from atom_client.cli.completion import FILE, FILE_OR_RUN
from atom_client.deployment import environment, place_options
from atom_client.errors import Misuse
from atom_client.text import name_of


@click.command()
@click.argument("source", type=FILE_OR_RUN, metavar="FILE|RUN", required=False)
@click.option("--last", is_flag=True, help="Draw the newest run instead of FILE or RUN.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid", "svg"]),
    help="text for terminals, mermaid for Markdown pages, or svg for browsers [default: svg or mermaid if --output "
    "ends in .svg or .mmd, otherwise text].",
)
@click.option(
    "--output",
    type=FILE,
    metavar="PATH",
    help="Write the picture to this file instead of to stdout (-). An existing file is overwritten.",
)
@place_options
def graph(source: str | None, form: str | None, output: str | None, *, last: bool) -> None:
    """Draw the steps of a file, or of a run with their states.

    FILE is a workflow file, or - for stdin; drawing it needs no platform. RUN is a run's id, its first characters,
    or the name of a workflow, which means its newest run. A name that could be either is taken as FILE if that file
    exists, or if the name has a slash or ends in .yaml, .yml or .json.

    As text, up to 40 steps are drawn with lines that connect each step to its dependencies; larger graphs are listed
    layer by layer. A step with `forEach` is drawn once, with the counts of its items. Conditions, triggers and
    `allowFailure` are noted beside the steps.

    Exit code: 0; 1 if there is no such run or it has no steps; 2 if the file or the options are invalid.
    """
    from atom_client.cli.graph import (  # noqa: PLC0415 (only when needed)
        GraphOptions,
        draw_file,
        draw_run,
        is_folder,
        names_run,
        require_drawn_format,
    )
    from atom_client.views.run_references import LAST  # noqa: PLC0415 (likewise)

    if last == (source is not None):
        raise click.UsageError("give exactly one of FILE, RUN and --last")
    options = GraphOptions(source=source or LAST, form=form, output=None if output == "-" else output)
    require_drawn_format(options)
    if last or names_run(options.source):
        from atom_client.cli.platform import connect_services  # noqa: PLC0415 (only for runs)

        try:
            services = connect_services(environment())
        except Misuse as error:
            if last:
                raise
            lacks = (
                f"{name_of(source)} is a folder" if is_folder(options.source) else f"there is no file {name_of(source)}"
            )
            raise Misuse(f"{lacks}; for a run, {error.message}") from error
        draw_run(services, options)
    else:
        raise click.exceptions.Exit(draw_file(options))
