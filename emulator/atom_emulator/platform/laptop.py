"""The Task Runner that really runs jobs, as a part of the platform: its secret and its options."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from atom_emulator.platform.options import PlatformOptions


@dataclass(slots=True)
class LaptopRunner:
    """A Task Runner with a secret of its own, which only the functions of its platform know."""

    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def options(self, platform: PlatformOptions, scratch: Path, jobs_dir: Path, hints: Path) -> list[str]:
        """Return the options of its command line.

        Anyone on this machine can read them, so the secret is in a file.
        """
        file = scratch / "task-runner-secret"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(self.secret)
        options = [f"--folder={jobs_dir}", f"--secret-file={file}", f"--engine={platform.runner}"]
        return [
            *options,
            f"--hints={hints}",
            f"--slots={platform.slots}",
            *([f"--only-run={platform.only_run}"] if platform.only_run else []),
        ]
