"""`local up`: the platform for as long as the user wants it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from atom_client.cli.credentials import credential_problem
from atom_client.cli.local import NO_TOKEN, TOKEN, PlatformChoice, emulators_used, exports, local_platform, up
from atom_client.cli.recipes import recipes
from atom_client.text import clean, name_of
from atom_client.views.as_json import dumped

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform

_HOW_TO_START = """\
# In another terminal, paste the lines above; then
#   atom-workflows run FILE
#   atom-workflows runs list"""


def local_up(choice: PlatformChoice, *, as_json: bool) -> None:
    """Run the platform until Ctrl-C; raises `PlatformError` if it cannot start or a part crashes."""
    platform = local_platform(choice, os.environ, watched=False)
    if problem := credential_problem(choice, os.environ):
        click.echo(f"Warning: {problem}. Without one, steps wait until their timeouts.", err=True)
    with suppress(KeyboardInterrupt), up(platform):
        click.echo(dumped(_as_json(platform)) if as_json else "\n".join(map(clean, _lines(platform))))
        platform.wait()


def _as_json(platform: LocalPlatform) -> dict[str, Any]:
    return {
        "environment": {n: v for n, v in platform.environment.items() if n != TOKEN or v == NO_TOKEN},
        "addresses": {str(name): address for name, address in platform.addresses.items()},
        "commands": {recipe.name: recipe.command for recipe in recipes(platform)},
        "log_dir": str(platform.log_dir),
    }


def _lines(platform: LocalPlatform) -> Iterator[str]:
    """What to paste, and comments, which do no harm when they are pasted too."""
    yield exports(platform.environment)
    yield _HOW_TO_START
    for recipe in recipes(platform):
        yield f"# {recipe.purpose}:\n#   {recipe.command}"
    if platform.storage_missing:
        yield f"# There is no Cloud Storage to upload to: {platform.storage_missing}."
    if used := emulators_used(platform):
        yield f"# {used}"
    for name, address in platform.addresses.items():
        yield f"# {name:12} {address}"
    yield f"# {'logs':12} {name_of(platform.log_dir)}"
    yield "# Ctrl-C stops the platform."
