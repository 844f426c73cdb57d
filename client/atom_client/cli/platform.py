"""Connect to the platform that the environment names."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import click

from atom_client.cli.history import (
    NO_MESSAGES,
    UNCHANGED,
    NoPlatform,
    has_history,
    history_services,
    refuse,
    require_platform,
)
from atom_client.deployment import DEPLOYED_PREFIX, PROJECT_FOLDER, PROJECTS, chosen_project, remember_project
from atom_client.errors import Failure, Misuse, explain
from atom_workflows.coordinator.services import Services

if TYPE_CHECKING:
    from atom_client.views.dead_letters import Desk
    from atom_workflows.listening import Listener

FIRESTORE_HOST: Final = "FIRESTORE_EMULATOR_HOST"
PUBSUB_HOST: Final = "PUBSUB_EMULATOR_HOST"
PLATFORM_HOSTS: Final = (FIRESTORE_HOST, PUBSUB_HOST, "STORAGE_EMULATOR_HOST")
"""The variables that name a local platform's servers.

A platform without a bucket has no storage.
"""
PREFIX: Final = "WORKFLOW_TOPIC_PREFIX"
_CONNECT_TIMEOUT_S: Final = 2.0
LOCAL_PATIENCE_S: Final = 5.0
"""How long to keep repeating a call to a local platform.

By then, a part that was killed is up again. Other causes, such as a full disk, do not go away by themselves.
"""


Connect: TypeAlias = Callable[[Mapping[str, str]], Services]
"""Connects to the services that an environment names. Tests pass their own function to the command line as `obj`."""


def names_local_platform(environment: Mapping[str, str]) -> bool:
    """Return True if the environment names a local platform.

    Rejects an environment that sets only one of `FIRESTORE_EMULATOR_HOST` and `PUBSUB_EMULATOR_HOST`.
    """
    named = [name for name in (FIRESTORE_HOST, PUBSUB_HOST) if environment.get(name)]
    if len(named) == 1:
        other = PUBSUB_HOST if named == [FIRESTORE_HOST] else FIRESTORE_HOST
        raise Misuse(
            f"{named[0]} is set but {other} is not. Export everything that `atom-workflows local up` prints, "
            f"or `unset {named[0]}`.",
        )
    return bool(named)


def connect_services(environment: Mapping[str, str]) -> Services:
    """Return the services of the platform that the environment names.

    If it names none, but this folder has a history, the services only read the history. Raises `Failure` if a local
    platform does not accept connections.
    """
    given: Connect | None = click.get_current_context().obj
    if given is None and has_history():
        return history_services()
    return services_on(environment if given is not None else platform_of(environment))


def platform_of(environment: Mapping[str, str], *, why: str = UNCHANGED) -> Mapping[str, str]:
    """Complete the environment so that it names a platform.

    The result names a project, or a local platform that accepts connections. `why` says what cannot be done if this
    folder only has a history.
    """
    if names_local_platform(environment):
        project = chosen_project()
        if project and project != environment.get("GOOGLE_CLOUD_PROJECT"):
            raise Misuse(
                f"--project is {project}, but {FIRESTORE_HOST} and {PUBSUB_HOST} name a local platform. To work on the "
                f"project, `unset {FIRESTORE_HOST} {PUBSUB_HOST} STORAGE_EMULATOR_HOST`; to work on the local "
                "platform, leave --project out."
            )
        for name in (FIRESTORE_HOST, PUBSUB_HOST):
            address = environment[name]
            try:
                connect_to(address)
            except (OSError, ValueError) as error:
                raise Failure(
                    f"nothing responds at {address}, the address in {name}. Start a platform with `atom-workflows "
                    f"local up` and export what it prints, or `unset {FIRESTORE_HOST} {PUBSUB_HOST}`."
                ) from error
        ask_no_proxy()
        return environment
    if has_history():
        refuse(why)
    from atom_workflows.adapters import own_credentials  # noqa: PLC0415 (only needed for deployments)

    own_credentials.expect_users_login()
    deployed = {PREFIX: DEPLOYED_PREFIX, **environment}
    if not any(environment.get(name) for name in PROJECTS):
        deployed[PROJECTS[0]] = _own_project()
    own_credentials.require_login()
    return deployed


def connect_to(address: str) -> None:
    """Check that a server accepts connections at HOST:PORT.

    Raises `OSError` if it does not, and `ValueError` if the address is invalid.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()


def ask_no_proxy() -> None:
    """Make Google's clients reach servers on this machine without a proxy.

    The clients read the process's environment.
    """
    from atom_emulator.platform.network import bypass_proxies  # noqa: PLC0415 (only needed for local platforms)

    os.environ.update(bypass_proxies(os.environ))


def _own_project() -> str:
    """Return the project from the user's credentials or from gcloud."""
    try:
        from atom_workflows.adapters.own_credentials import default_project  # noqa: PLC0415 (only needed here)

        found, problem = default_project(), ""
    except Exception as error:
        if explain(error) is None:
            raise
        found, problem = None, ", and there are no Google credentials to take a project from"
    if found is None:
        raise Misuse(
            f"no platform has been chosen, and this folder has no {PROJECT_FOLDER}{problem}. For a "
            "local platform, run `atom-workflows local up` in another terminal and export what it prints. For a Google "
            "Cloud project, run `gcloud auth application-default login`, and give --project or set "
            "GOOGLE_CLOUD_PROJECT."
        )
    remember_project(found)
    return found


def desk(environment: Mapping[str, str]) -> Desk:
    """Return the `Desk` for the platform that the environment names."""
    services = connect_services(environment)
    require_platform(services, NO_MESSAGES)
    return desk_of(services, is_local=names_local_platform(environment))


def desk_of(services: Services, *, is_local: bool) -> Desk:
    """Return the `Desk` for the dead letters of a platform."""
    from atom_client.views.dead_letters import Desk  # noqa: PLC0415 (only needed for dead letters)
    from atom_workflows.bootstrap import dead_letters  # noqa: PLC0415 (Google's clients take a second to import)

    settings = services.settings
    return Desk(
        bus=services.bus,
        box=dead_letters(settings),
        project=settings.project,
        is_local=is_local,
        topic_prefix=settings.topic_prefix,
    )


def listener_of(services: Services) -> Listener:
    """Return the listener for a platform's documents."""
    from atom_workflows.bootstrap import listener  # noqa: PLC0415 (Google's clients take a second to import)

    return listener(services.settings)


def services_for_run(services: Services, run_id: str) -> Services:
    """Return services that can change a run.

    See `find_services_for_run`. Raises `Failure` if there are none.
    """
    return find_services_for_run(services, run_id) or refuse()


def find_services_for_run(services: Services, run_id: str) -> Services | None:
    """Return services that can change a run or follow it.

    If the given ones only read the history, returns those of the platform that `run` started for this run, or
    None if that platform is not up.
    """
    if not isinstance(services.bus, NoPlatform):
        return services
    from atom_emulator.platform.project_folder import ProjectFolder  # noqa: PLC0415 (not installed everywhere)

    found = ProjectFolder.of(Path.cwd()).platform_of_run(run_id)
    if found is None:
        return None
    # Google's clients read these from the process's own environment.
    os.environ.update(found)
    return services_on(platform_of(os.environ))


class OwnPlatforms:
    """The platforms that `run` starts in this folder, each for one run.

    See `console.app.OwnPlatforms`.
    """

    def __init__(self) -> None:
        self._folder = Path.cwd()
        self._given: Connect | None = click.get_current_context().obj
        self._own = dict(os.environ)
        self._names: set[str] = set()
        self._connected: dict[tuple[tuple[str, str], ...], Services] = {}
        self._connecting = threading.Lock()

    def is_up(self, run_id: str) -> bool:
        """Return True if the platform of this run is up."""
        return self._find(run_id) is not None

    def connect(self, run_id: str) -> Services | None:
        """Return the services of this run's platform if it is up."""
        found = self._find(run_id)
        if found is None:
            return None
        # Google's clients read the addresses from the process's own environment, when they are made.
        with self._connecting:
            self._export(found)
            key = tuple(sorted(found.items()))
            if key not in self._connected:
                place = platform_of({**self._own, **found})
                self._connected[key] = services_on(place, given=self._given)
            return self._connected[key]

    def _export(self, found: Mapping[str, str]) -> None:
        """Replace the variables of another run's platform, which may have more of them."""
        for name in self._names - found.keys():
            if name in self._own:
                os.environ[name] = self._own[name]
            else:
                os.environ.pop(name, None)
        os.environ.update(found)
        self._names = set(found)

    def _find(self, run_id: str) -> Mapping[str, str] | None:
        from atom_emulator.platform.project_folder import ProjectFolder  # noqa: PLC0415 (not installed everywhere)

        return ProjectFolder.of(self._folder).platform_of_run(run_id)


def services_on(place: Mapping[str, str], *, given: Connect | None = None) -> Services:
    """Return the services for an environment that `platform_of` completed.

    Outside a command, `given` says how to connect.
    """
    context = click.get_current_context(silent=True)
    given = given if context is None else context.obj
    if given is not None:
        return given(place)
    from atom_workflows.bootstrap import connect  # noqa: PLC0415 (Google's clients take a second to import)
    from atom_workflows.settings import from_environment  # noqa: PLC0415 (imported only when needed)

    settings = from_environment(place)
    return connect(settings, patience_s=LOCAL_PATIENCE_S) if names_local_platform(place) else connect(settings)
