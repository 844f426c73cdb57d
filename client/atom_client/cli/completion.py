"""Shell completion of what click cannot know: files, and the runs of the platform.

Click completes commands, options and choices by itself. While a shell waits for completions, nothing may be printed,
and a platform that does not respond must not hold up the user's typing.
"""

from __future__ import annotations

import os
import threading
from glob import escape, iglob
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from atom_client.text import name_of

if TYPE_CHECKING:
    from atom_workflows.ports import Document

VARIABLE: Final = "_ATOM_WORKFLOWS_COMPLETE"
"""The variable with which a shell asks the program for completions. Its name is derived from the program's name."""

SHELLS: Final = ("bash", "zsh", "fish")

WAIT_S: Final = 2.5
"""How long a shell waits for the platform's runs. Loading Google's clients takes about one second of this."""

MOST_RUNS: Final = 50


class FileName(click.types.StringParamType):
    """The name of a file, `-` or a path in a bucket; the shell completes file names."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:  # noqa: ARG002 (click's signature)
        """See `click.ParamType.shell_complete`."""
        return [CompletionItem(incomplete, type="file")]


class RunName(click.types.StringParamType):
    """A name of a run; the shell completes the ids of runs, newest first.

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
    """Return the script that makes a shell complete the program's commands."""
    found = get_completion_class(shell)
    if found is None:
        raise LookupError(shell)
    return found(cli, {}, "atom-workflows", VARIABLE).source()


def offer_runs(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Return the runs whose ids begin with the text; none if no platform responds in time."""
    found: list[CompletionItem[str]] = []

    def look() -> None:
        # Whatever goes wrong, such as a missing login, the shell must not show it in the middle of a command.
        try:
            with ctx.scope(cleanup=False):
                for run in read_runs(incomplete):
                    state, workflow = (run.fields.get(name, "") for name in ("state", "workflow"))
                    found.append(CompletionItem(run.id, help=name_of(f"{state} {workflow}")))
        except (Exception, SystemExit):  # noqa: BLE001 (see above)
            found.clear()

    os.environ["GRPC_VERBOSITY"] = "NONE"  # gRPC would report an unreachable server on stderr.
    reader = threading.Thread(target=look, daemon=True)
    reader.start()
    reader.join(WAIT_S)
    return list(found)


def read_runs(incomplete: str) -> list[Document]:
    """Return the newest runs, or the runs whose ids begin with the text."""
    from atom_client.cli.platform import connect_services  # noqa: PLC0415 (needed for runs only)
    from atom_client.deployment import environment  # noqa: PLC0415 (likewise)
    from atom_workflows.documents import RUNS, run_path  # noqa: PLC0415 (likewise)
    from atom_workflows.ports import Query  # noqa: PLC0415 (likewise)

    fields = ("state", "workflow", "created_at")
    if not incomplete:
        query = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=MOST_RUNS, fields=fields)
        return list(connect_services(environment()).store.query(query))
    # Runs are sorted by path, so the ids that begin with the text follow it. A whole id is not among them.
    query = Query(collection=RUNS, after=[run_path(incomplete)], limit=MOST_RUNS, fields=fields)
    begun = [one for one in connect_services(environment()).store.query(query) if one.id.startswith(incomplete)]
    return sorted(begun, key=lambda run: run.fields["created_at"], reverse=True)
