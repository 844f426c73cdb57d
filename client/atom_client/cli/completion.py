"""Shell completion of files and run ids, which click cannot provide.

Click completes commands, options and choices by itself. While a shell waits for completions, nothing may be printed,
and a platform that does not respond must not hold up the user's typing.
"""

from __future__ import annotations

import os
import threading
from glob import escape, iglob
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from atom_client.text import name_of

VARIABLE: Final = "_ATOM_WORKFLOWS_COMPLETE"
"""The variable with which a shell asks the program for completions. Its name is derived from the program's name."""

SHELLS: Final = ("bash", "zsh", "fish")

WAIT_S: Final = 2.5
"""How long a shell waits for the platform's runs. Loading Google's clients takes about one second of this."""

MOST_RUNS: Final = 50


class FileName(click.types.StringParamType):
    """A file name, `-` or bucket path, with completion of file names."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:  # noqa: ARG002 (click's signature)
        """See `click.ParamType.shell_complete`."""
        return [CompletionItem(incomplete, type="file")]


class RunName(click.types.StringParamType):
    """A run's name; the shell completes run ids, newest first.

    Runs may also be named by their file, so the shell completes file names if no id begins with what was typed. With
    `files_first`, ids are offered only if no file name begins with it.
    """

    def __init__(self, *, files_first: bool = False) -> None:
        self._files_first = files_first

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:  # noqa: ARG002 (click's signature)
        """See `click.ParamType.shell_complete`."""
        files = [CompletionItem(incomplete, type="file")]
        if self._files_first and any(iglob(f"{escape(incomplete)}*")):  # noqa: PTH207 (what was typed may begin with a folder, or with /)
            return files
        return offer_runs(ctx, incomplete) or files


FILE: Final = FileName()
RUN: Final = RunName()
FILE_OR_RUN: Final = RunName(files_first=True)


def completion_script(cli: click.Command, shell: str) -> str:
    """Return the script that enables shell completion for the program."""
    found = get_completion_class(shell)
    if found is None:
        raise LookupError(shell)
    return found(cli, {}, "atom-workflows", VARIABLE).source()


def offer_runs(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Return the runs whose ids begin with the text.

    Returns none if no platform responds in time.
    """
    found: list[CompletionItem[str]] = []

    def look() -> None:
        # Whatever goes wrong, such as a missing login, the shell must not show it in the middle of a command.
        try:
            from atom_client.cli.platform import connect_services  # noqa: PLC0415 (needed for runs only)
            from atom_client.deployment import environment  # noqa: PLC0415 (likewise)
            from atom_client.views.run_references import runs_to_offer  # noqa: PLC0415 (likewise)

            with ctx.scope(cleanup=False):
                for run in runs_to_offer(connect_services(environment()).store, incomplete, most=MOST_RUNS):
                    state, workflow = (run.fields.get(name, "") for name in ("state", "workflow"))
                    found.append(CompletionItem(run.id, help=name_of(f"{state} {workflow}")))
        except (Exception, SystemExit):  # noqa: BLE001 (see above)
            found.clear()

    os.environ["GRPC_VERBOSITY"] = "NONE"  # gRPC would report an unreachable server on stderr.
    reader = threading.Thread(target=look, daemon=True)
    reader.start()
    reader.join(WAIT_S)
    return list(found)
