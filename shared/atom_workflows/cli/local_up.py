"""`local up`: the platform for as long as the user wants it."""

from __future__ import annotations

import os
from contextlib import suppress

import click

from atom_workflows.cli.as_json import dumped
from atom_workflows.cli.local import NO_TOKEN, TOKEN, PlatformChoice, exports, local_platform, up

_HOW_TO_START = """\
# In another terminal, paste the lines above; then
#   atom-workflows run FILE
#   atom-workflows runs list"""


def local_up(choice: PlatformChoice, *, as_json: bool) -> None:
    """Run the platform until Ctrl-C; raises `PlatformError` if it cannot start or a part crashes."""
    platform = local_platform(choice, os.environ, watched=False)
    with suppress(KeyboardInterrupt), up(platform):
        if as_json:
            environment = {n: v for n, v in platform.environment.items() if n != TOKEN or v == NO_TOKEN}
            addresses = {str(name): address for name, address in platform.addresses.items()}
            told = {"environment": environment, "addresses": addresses, "log_dir": str(platform.log_dir)}
            click.echo(dumped(told))
        else:
            click.echo(exports(platform.environment))
            click.echo(_HOW_TO_START)
            for name, address in platform.addresses.items():
                click.echo(f"# {name:12} {address}")
            click.echo(f"# {'logs':12} {platform.log_dir}")
            click.echo("# Ctrl-C stops the platform.")
        platform.wait()
