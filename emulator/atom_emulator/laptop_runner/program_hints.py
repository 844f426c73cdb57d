"""What to do about a program that could not be run, or that did not find the file it was given."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from atom_workflows.expressions.names import did_you_mean
from atom_workflows.language.commands import list_words

_FIRST_LINE: Final = "a first line such as #!/usr/bin/env python3"
_MOST_FILES: Final = 500
"""The maximum number of files to search for one with a similar name."""

_SCRIPTS: Final = frozenset({".py", ".sh"})


def explain_not_started(code: int, name: str, started_in: Path) -> str:
    """Return what to do about a program that could not be started, or "".

    `code` is the system's error code, `name` the first argument of the job, and `started_in` the folder in which the
    platform was started.
    """
    program = started_in / name
    if code == errno.ENOENT:
        return _explain_missing(name, program)
    if code == errno.ENOEXEC:
        return f"a script needs {_FIRST_LINE}"
    if code != errno.EACCES or "/" not in name:
        return ""
    if program.is_dir():
        return "it is a folder"
    if os.access(program, os.X_OK):
        return ""
    return f"run `chmod +x {name}`" + ("" if _is_script(program) else f", and give it {_FIRST_LINE}")


def explain_lost_file(arguments: Sequence[str], started_in: Path, folder: Path) -> str:
    """Return what to do about an argument that names a file beside the workflow, or "".

    A job has a `folder` of its own, so such a relative path leads nowhere there.
    """
    for name in arguments:
        if name and not Path(name).is_absolute() and _is_only_in(name, started_in, folder):
            itself = f", or run the script itself: `args: [./{name.removeprefix('./')}]`"
            return (
                f"`{name}` is in {started_in}, but a job's relative paths start in a folder of its own; use the full "
                f"path{itself if Path(name).suffix in _SCRIPTS else ''}"
            )
    return ""


def _explain_missing(name: str, program: Path) -> str:
    if words := list_words(name):
        return f"no shell reads args, so each word is a separate entry: `args: {words}`"
    if "/" not in name:
        found = f"; for the one in {program.parent}, write ./{name}" if program.is_file() else ""
        return f"a name without a slash is searched for on the PATH{found}"
    if program.exists():
        return "it exists, but the program named in its first line, after #!, does not"
    near = did_you_mean(program.name, _files_in(program.parent))
    start = "" if Path(name).is_absolute() else "a relative path starts in the folder in which the platform was started"
    return "; ".join(filter(None, (near, start)))


def _files_in(folder: Path) -> list[str]:
    """Return the names of the first files in a folder, which may be missing."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, _MOST_FILES) if entry.name.isprintable()]
    except OSError:
        return []


def _is_only_in(name: str, started_in: Path, folder: Path) -> bool:
    try:
        return (started_in / name).is_file() and not (folder / name).exists()
    except OSError:  # It is too long for a path.
        return False


def _is_script(program: Path) -> bool:
    try:
        with program.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False
