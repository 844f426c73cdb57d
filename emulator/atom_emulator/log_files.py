"""Folders and files for logs, which only their owner may read, since logs contain the jobs' arguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

OWN_FOLDER: Final = ".atom-workflows"
"""A folder in the working directory; a `.gitignore` in it keeps the logs out of the user's repository."""


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, accessible only to the owner.

    An existing folder is left as it is.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        if missing.name == OWN_FOLDER:
            (missing / ".gitignore").write_text("*\n", encoding="utf-8")
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is not a folder")


def append_to(file: Path) -> BinaryIO:
    """Open a log, unbuffered and accessible only to the owner.

    Raises `OSError` if the path is a symbolic link, whatever its target.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)
