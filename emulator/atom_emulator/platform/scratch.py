"""The folder that the parts write into while a platform is up, and those that killed platforms left behind.

The process that a platform runs in keeps a lock on a file in its folder, which the kernel releases however that
process ends. So a folder whose lock can be taken belongs to no platform any more.
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
"""A file in every such folder, and in no other: a folder without it is not one of ours."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a new folder for as long as the block lasts.

    Those of platforms that were killed are removed first.
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
    """Remove this user's folders of platforms whose process is gone.

    What cannot be removed stays.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_abandoned(folder)


def _lock_mark(folder: Path) -> int:
    """Lock the folder's mark, which appears only once it is locked.

    So no one can take a new folder for an old one. A file system without locks gets no mark, so that nothing is removed
    there.
    """
    unseen = folder / f"{MARK}.new"
    lock = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
        unseen.rename(folder / MARK)
    return lock


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder whose platform has ended.

    Raises `OSError` if the lock is held, or there is none.
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
