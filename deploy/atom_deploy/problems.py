"""What can go wrong with a deployment, told to the person who deploys."""

from __future__ import annotations


class DeployProblem(Exception):
    """Says what is wrong, where, and what to do next; it is printed without a traceback."""


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


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in (text.strip() or "nothing").splitlines())
