"""The files of a job: `RUN/STEP/ATTEMPT/` with its log, outputs and record, and whatever the job writes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from atom_workflows.errors import OutputsUnusable
from atom_workflows.runner.outputs import MAX_FILE_BYTES
from atom_workflows.runner.request import split_key

MAX_LAST_LINES: Final = 10
MAX_LAST_BYTES: Final = 1_500
"""A message has at most 2,000 characters, and begins with a sentence."""

MAX_SERVED_BYTES: Final = 4 * 1024 * 1024

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LONGEST_NAME: Final = 60


class NotRegular(ValueError):
    """Something else is in the place of a file: a link, a pipe, a folder or a device."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} is not a regular file")


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The folder of one attempt."""

    folder: Path

    @property
    def log(self) -> Path:
        """What the job wrote to its standard output and standard error."""
        return self.folder / "job.log"

    @property
    def outputs(self) -> Path:
        """The file to which the job may write its outputs."""
        return self.folder / "outputs" / "outputs.json"

    @property
    def record(self) -> Path:
        """The Task Runner's record of the job."""
        return self.folder / ".job.json"

    def read_outputs(self) -> bytes | None:
        """Return the beginning of the outputs file, None if there is none.

        Anything else in its place counts as no file. Raises `OutputsUnusable` for a file that may not be read.
        """
        try:
            with open_regular(self.outputs) as file:
                return file.read(MAX_FILE_BYTES + 1)
        except PermissionError as error:
            # A container's user is often root, whose files may be for root alone.
            raise OutputsUnusable(
                "its outputs file is not readable for the user of this machine; have the job set its mode to 644"
            ) from error
        except (OSError, NotRegular):
            return None

    def last_lines(self) -> str:
        """Return the end of the log."""
        text = self._read_end(MAX_LAST_BYTES)[0].decode(errors="replace")
        return "\n".join(text.splitlines()[-MAX_LAST_LINES:]).strip()

    def read_log(self) -> bytes:
        """Return the log, without the beginning of a very long one."""
        content, left_out = self._read_end(MAX_SERVED_BYTES)
        note = f"({left_out:,} bytes before this are only in {self.log})\n".encode() if left_out else b""
        return note + content

    def _read_end(self, most: int) -> tuple[bytes, int]:
        try:
            with open_regular(self.log) as file:
                start = max(0, file.seek(0, os.SEEK_END) - most)
                file.seek(start)
                return file.read(most), start
        except (OSError, NotRegular):
            return b"", 0


def open_regular(file: Path) -> BinaryIO:
    """Open a file that a job may have replaced with anything.

    A link is not followed, and a pipe is not waited for. Raises `NotRegular`, or `OSError` if it cannot be opened.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # A link, or a socket.
            raise NotRegular(file) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(file)
    return os.fdopen(descriptor, "rb")


def files_for(root: Path, key: str) -> JobFiles:
    """Return the files of the job with this idempotency key.

    `root` is the folder of all jobs. Raises `RequestRefused` for a key that no job has.
    """
    run_id, step_id, attempt = split_key(key)
    return JobFiles(root / _folder_name(run_id) / _folder_name(step_id) / str(attempt))


def _folder_name(name: str) -> str:
    """Return the name if it is a valid folder name. Otherwise, return a similar one that no other name gets."""
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9_-]+', '-', name)[:_LONGEST_NAME]}.{digest}"
