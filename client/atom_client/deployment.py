"""The deployment that a command works on.

It is named by the command's options or, failing that, by the environment. If neither names one, it is the local
platform that is up in this folder.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

DEPLOYED_PREFIX: Final = "atom-"
"""The prefix of a deployment's names, unless another prefix was chosen."""

PROJECTS: Final = ("WORKFLOW_PROJECT", "GOOGLE_CLOUD_PROJECT")
"""Variables that may name the project; the first one that is set is used."""

EMULATORS: Final = ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST")
"""Variables that name a local platform."""

PROJECT_FOLDER: Final = Path(".atom-workflows")
"""The folder that holds a local platform's history, and that lets commands find the platform while it is up."""

_STATE: Final = PROJECT_FOLDER / "platform.json"
_ADOPTED: Final = "atom_workflows.adopted"
_CHOSEN: Final = "atom_workflows.place"
_FOUND: Final = "atom_workflows.project"

_VARIABLES: Final[Mapping[str, str]] = {
    "project": "WORKFLOW_PROJECT",
    "database": "WORKFLOW_DATABASE",
    "topic_prefix": "WORKFLOW_TOPIC_PREFIX",
}
"""The variable that each option sets."""

_PATTERNS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "project": (
        re.compile(r"([a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{4,61}[a-z0-9]"),
        "a project's id of six or more lowercase letters, digits and hyphens; `gcloud projects list` shows the ids",
    ),
    "database": (
        re.compile(r"\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9]"),
        "a Firestore database's id; `gcloud firestore databases list` shows the ids",
    ),
    "topic_prefix": (
        re.compile(r"([A-Za-z][A-Za-z0-9._~+%-]{0,99})?"),
        "the prefix of the topics' names, such as atom-; `gcloud pubsub topics list` shows the names",
    ),
}


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a deployment in Google Cloud."""
    options = (
        _option(
            "--project",
            "P",
            "The Google Cloud project [env: WORKFLOW_PROJECT, GOOGLE_CLOUD_PROJECT; default: gcloud's].",
        ),
        _option("--database", "NAME", "The project's Firestore database [env: WORKFLOW_DATABASE; default: (default)]."),
        _option(
            "--topic-prefix",
            "TEXT",
            f"The prefix of the topics' names [env: WORKFLOW_TOPIC_PREFIX; default: {DEPLOYED_PREFIX}].",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def environment() -> dict[str, str]:
    """Return the environment with the command's options applied.

    If neither they nor the environment name a platform or a project, the variables of a platform that is up in this
    folder are added.
    """
    if names_no_place():
        adopt_platform()
    return {**os.environ, **_chosen()}


def names_no_place() -> bool:
    """Return True if no option or variable names a platform or project."""
    return not _chosen() and not any(os.environ.get(name) for name in (*EMULATORS, *PROJECTS))


def adopt_platform() -> None:
    """Add the variables of this folder's platform, if any, to the environment.

    Google's clients read these from the process's own environment.
    """
    context = click.get_current_context(silent=True)
    # Tests that pass their own services as `obj` need no platform.
    if context is None or context.obj is not None or not _is_there(_STATE):
        return
    from atom_emulator.platform.project_folder import ProjectFolder  # noqa: PLC0415 (not installed everywhere)

    if found := ProjectFolder.of(Path.cwd()).running_platform():
        os.environ.update(found)
        context.meta[_ADOPTED] = True


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # The folder may be another user's. What needs its history says that it cannot be read.
        return False


def is_adopted() -> bool:
    """Return True if the platform was found in this folder.

    Returns False if the environment names it.
    """
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_ADOPTED))


def chosen_project() -> str | None:
    """Return the project given as an option, if any."""
    return _chosen().get(_VARIABLES["project"])


def project_meant() -> str:
    """Return the command's project for use in messages, or PROJECT if unknown."""
    place = environment()
    context = click.get_current_context(silent=True)
    login = "" if context is None else str(context.meta.get(_FOUND, ""))
    found = (login, *(place.get(name) for name in PROJECTS))
    return next((one for one in found if one), "PROJECT")


def place_meant() -> str:
    """Return the command's project and chosen database and prefix, for messages."""
    place = environment()
    chosen = {"database": place.get(_VARIABLES["database"]), "prefix": place.get(_VARIABLES["topic_prefix"])}
    words = ", ".join(f"{name} {value}" for name, value in chosen.items() if value)
    return f"{project_meant()} ({words})" if words else project_meant()


def remember_project(project: str) -> None:
    """Remember the project of the user's credentials, for use in messages."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_FOUND] = project


def with_place(command: str) -> str:
    """Return a command to type, with this deployment's options."""
    names = {variable: f"--{name.replace('_', '-')}" for name, variable in _VARIABLES.items()}
    words = [f"{names[variable]}={shlex.quote(value)}" for variable, value in _chosen().items()]
    return " ".join(["atom-workflows", command, *words])


def _option(flag: str, metavar: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(flag, metavar=metavar, help=text, expose_value=False, callback=_keep)


def _keep(context: click.Context, option: click.Parameter, value: str | None) -> None:
    name = option.name or ""
    if value is None:
        return
    pattern, what = _PATTERNS[name]
    if not pattern.fullmatch(value):
        raise click.BadParameter(f"{value!r:.100} is not valid; it must be {what}", context, option)
    context.meta.setdefault(_CHOSEN, {})[_VARIABLES[name]] = value


def _chosen() -> dict[str, str]:
    context = click.get_current_context(silent=True)
    chosen: dict[str, str] = {} if context is None else context.meta.get(_CHOSEN, {})
    return chosen
