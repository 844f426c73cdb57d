"""What can go wrong with a deployment, told to the person who deploys."""

from __future__ import annotations

from typing import Final

_WORDS_OF_LOGIN: Final = 3
"""Lines of gcloud's own words; the others say at length how to log in."""


class DeployProblem(Exception):
    """Says what is wrong, where, and what to do next; it is printed without a traceback."""


class WrongRegion(DeployProblem):
    """The region that was said does not exist, or is not where the deployment is."""


class Refused(DeployProblem):
    """Something that exists cannot be deployed over before a person has changed it."""


class CommandFailed(DeployProblem):
    """A gcloud command that did not succeed; `told` is what gcloud said."""

    def __init__(self, command: str, told: str) -> None:
        super().__init__(f"this command failed:\n  {command}\ngcloud said:\n{_indented(told)}")
        self.command = command
        self.told = told


class Exists(CommandFailed):
    """What the command was to make exists already: somebody was faster, or has taken its name."""


class Missing(CommandFailed):
    """What the command is about does not exist, or its API is not enabled yet."""


class NotLoggedIn(DeployProblem):
    """No command can succeed before somebody logs in; that comes first, and little of what gcloud said."""

    def __init__(self, told: str) -> None:
        super().__init__(
            "gcloud is not logged in: run `gcloud auth login`, then run the same command again; "
            f"gcloud said:\n{_indented(told, at_most=_WORDS_OF_LOGIN)}"
        )


def _indented(text: str, *, at_most: int | None = None) -> str:
    lines = [line for line in text.splitlines() if line.strip()] or ["nothing"]
    return "\n".join(f"  {line}" for line in lines[:at_most])
