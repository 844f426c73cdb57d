"""The folder that the parts write to while a platform is up, and the removal of folders that killed platforms left.

The process that runs a platform holds a lock on a file in its folder. The kernel releases the lock however that process
ends, so a folder whose lock can be acquired no longer belongs to a platform.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "atom-"
MARK: Final = "local-platform.lock"
"""A file that every such folder contains: a folder without it was not made here and is left alone."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a new folder that exists as long as the block lasts.

    The folders of killed platforms are removed first.
    """
    remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = _lock_mark(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Remove this user's folders of platforms whose process has ended.

    A folder that cannot be removed is left in place.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_abandoned(folder)


def _lock_mark(folder: Path) -> int:
    """Lock the folder's mark, which appears only once it is locked.

    Therefore a new folder cannot be mistaken for an abandoned one. On a file system without locks no mark is created,
    so nothing is removed there.
    """
    unseen = folder / f"{MARK}.new"
    lock = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
        unseen.rename(folder / MARK)
    return lock


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder whose platform has ended.

    Raises `OSError` if the lock is held or missing.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return
    lock = os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
