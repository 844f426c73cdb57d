"""What goes wrong, as one sentence that says what to do next; every error of a command passes here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from atom_client.deployment import project_meant
from atom_client.refusals import told_as_refusal
from atom_client.text import clean, clip, name_of, one_line
from atom_workflows.errors import (
    AtomWorkflowsError,
    BusUnavailable,
    NewerVersion,
    SourceError,
    SourceUnavailable,
    StoreError,
    StoreUnavailable,
)

RUN_FAILED: Final = 1
INVALID_USE: Final = 2
INTERRUPTED: Final = 130
_LONGEST: Final = 400
_LONGEST_SENTENCE: Final = 4_000


class Failure(click.ClickException):
    """A sentence for the user."""

    exit_code = RUN_FAILED

    def __init__(self, sentence: str) -> None:
        super().__init__(clip(clean(sentence), _LONGEST_SENTENCE))


class Misuse(Failure):
    """A sentence about options, files or an environment that cannot be used as they are."""

    exit_code = INVALID_USE


@contextmanager
def explained() -> Iterator[None]:
    """Turn every error that has a cause outside the program into a `Failure`."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:
        sentence = explanation(error)
        if sentence is None:
            raise
        raise Failure(sentence) from error


def explanation(error: Exception) -> str | None:
    """The sentence for an error, None if it is a defect of the program."""
    if isinstance(error, StoreError | BusUnavailable | SourceError):
        return _of_service(error)
    if isinstance(error, AtomWorkflowsError) or _is_of("atom_emulator.platform.errors", "PlatformError", error):
        what_to_do = ". Install the version of atom-workflows that the deployment has."
        # What the platform says may end with lines of a log.
        told = one_line(error) if isinstance(error, AtomWorkflowsError) else str(error)
        return f"{told}{what_to_do if isinstance(error, NewerVersion) else ''}"
    if _is_of("google.auth.exceptions", "GoogleAuthError", error):
        said = clip(one_line(error), _LONGEST).rstrip(".")
        return (
            f"The login to Google Cloud failed: {said}. Run `gcloud auth application-default login`, or export what "
            "`atom-workflows local up` prints to use a local platform."
        )
    if isinstance(error, ModuleNotFoundError):
        return f"{error}; install what is missing with `pip install 'atom-workflows[local]'`"
    if isinstance(error, OSError):
        where = f": {name_of(error.filename)}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return None


def _of_service(error: Exception) -> str:
    """What a service did not do. A local platform refuses nobody, so there nothing is said of rights."""
    is_local = bool(os.environ.get("FIRESTORE_EMULATOR_HOST"))
    if not is_local and (told := told_as_refusal(error, project_meant())):
        return told
    if isinstance(error, StoreUnavailable | BusUnavailable | SourceUnavailable):
        return f"{one_line(error)}. {_where_to_look()}"
    return one_line(error)


def _is_of(module: str, name: str, error: Exception) -> bool:
    """Whether it is such an error, without importing a module that nothing has needed so far."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))


def _where_to_look() -> str:
    host = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if host:
        return f"Is the local platform at {host} still running? `atom-workflows local up` starts one."
    return "Check the project (--project or GOOGLE_CLOUD_PROJECT), your credentials and the network, then try again."
