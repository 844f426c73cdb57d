"""`console`: serve the page that shows runs, until Ctrl-C.

`local up` serves the same page for as long as the platform is up.
"""

from __future__ import annotations

import os
import threading
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import click

from atom_client.cli.actor import current_actor, local_actor
from atom_client.cli.history import NoPlatform
from atom_client.cli.platform import (
    LOCAL_PATIENCE_S,
    PLATFORM_HOSTS,
    OwnPlatforms,
    connect_services,
    desk_of,
    listener_of,
    names_local_platform,
)
from atom_client.console.app import Console
from atom_client.console.feeds import Feeds
from atom_client.console.guard import new_token
from atom_client.console.server import ConsoleServer, LaterConsoleServer
from atom_client.deployment import environment, place_meant
from atom_client.errors import Misuse


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleOptions:
    """The options that the user gave; port 0 means any free port."""

    port: int = 0
    read_only: bool = False
    open_browser: bool = False


def console_of_platform(variables: Mapping[str, str]) -> LaterConsoleServer:
    """Return a console server for the local platform that these variables name."""
    # Google's clients read these from the process's own environment.
    os.environ.update({name: variables[name] for name in PLATFORM_HOSTS if name in variables})
    token, actor = new_token(), current_actor()

    def make() -> Console:
        from atom_workflows.bootstrap import connect  # noqa: PLC0415 (Google's clients take a second to import)
        from atom_workflows.settings import from_environment  # noqa: PLC0415 (only needed here)

        settings = from_environment({**os.environ, **variables})
        services = connect(settings, patience_s=LOCAL_PATIENCE_S)
        return Console(
            services=services,
            token=token,
            place="the local platform",
            actor=actor,
            feeds=Feeds(listener_of(services)),
            desk=cache(lambda: desk_of(services, is_local=True)),
        )

    return LaterConsoleServer(make, token=token)


def serve_console(options: ConsoleOptions) -> None:
    """Print the console's address, and serve it until Ctrl-C."""
    place = environment()
    services = connect_services(place)
    is_local = names_local_platform(place)
    is_history = isinstance(services.bus, NoPlatform)
    console = Console(
        services=services,
        token=new_token(),
        place="the local platform" if is_local else "this folder's history" if is_history else place_meant(),
        # Whatever a history's console changes is on a local platform.
        actor="" if options.read_only else local_actor() if is_history else current_actor(),
        read_only=options.read_only,
        own_platforms=OwnPlatforms() if is_history else None,
        feeds=None if is_history else Feeds(listener_of(services)),
        # Its clients are made when dead letters are first asked for, and then used by all requests.
        desk=None if is_history else cache(lambda: desk_of(services, is_local=is_local)),
    )
    try:
        server = ConsoleServer(console, port=options.port)
    except OSError as error:
        port = f"port {options.port}" if options.port else "any port"
        advice = "choose another port, or leave out --port" if options.port else "see which programs are using ports"
        raise Misuse(f"the console cannot listen on {port} ({error.strerror}): {advice}") from error
    with server:
        click.echo(f"Console of {console.place}{' (read-only)' if options.read_only else ''}: {server.address}")
        click.echo("The address grants access, so do not share it. Ctrl-C stops the console.")
        if options.open_browser:
            webbrowser.open(f"{server.address.partition('/#')[0]}{console.openings.add()}")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
