"""Errors of a deployment, written for the person who deploys."""

from __future__ import annotations

from typing import Final

_LOGIN_LINES: Final = 3
"""The number of lines of gcloud's output to quote; the rest explains at length how to log in."""


class DeployProblem(Exception):
    """Says what is wrong, where, and what to do next.

    It is printed without a traceback.
    """


class WrongRegion(DeployProblem):
    """The given region does not exist, or the deployment is elsewhere."""


class Refused(DeployProblem):
    """An existing resource cannot be used until a person changes it."""


class CommandFailed(DeployProblem):
    """A gcloud command failed; `output` is what gcloud printed."""

    def __init__(self, command: str, output: str) -> None:
        super().__init__(f"this command failed:\n  {command}\ngcloud said:\n{_indented(output)}")
        self.command = command
        self.output = output


class Exists(CommandFailed):
    """The resource already exists: someone created it first or uses its name."""


class Missing(CommandFailed):
    """The resource does not exist, or its API is not enabled yet."""


class NotLoggedIn(DeployProblem):
    """Every command fails until someone logs in.

    The message therefore starts with how to log in, and quotes gcloud only briefly.
    """

    def __init__(self, output: str) -> None:
        super().__init__(
            "gcloud is not logged in: run `gcloud auth login`, then run the same command again; "
            f"gcloud said:\n{_indented(output, at_most=_LOGIN_LINES)}"
        )


def _indented(text: str, *, at_most: int | None = None) -> str:
    lines = [line for line in text.splitlines() if line.strip()] or ["nothing"]
    return "\n".join(f"  {line}" for line in lines[:at_most])
