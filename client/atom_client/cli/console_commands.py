"""The command `console`."""

from __future__ import annotations

import click

from atom_client.deployment import place_options


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="The port to listen on [default: any free port].",
)
@click.option("--read-only", is_flag=True, help="Show everything, but change nothing.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@place_options
def console(*, port: int, read_only: bool, open_browser: bool) -> None:
    """Show runs, graphs and schedules on a page in the browser.

    The page is served only on this machine, with your permissions, until Ctrl-C. Nothing is deployed, and only the
    platform is called. While no platform is up in this folder, the page shows the folder's history.

    Exit code: 0 when stopped with Ctrl-C, 2 if the options are invalid.
    """
    from atom_client.cli.console import ConsoleOptions, serve_console  # noqa: PLC0415 (imported only when needed)

    serve_console(ConsoleOptions(port=port, read_only=read_only, open_browser=open_browser))
