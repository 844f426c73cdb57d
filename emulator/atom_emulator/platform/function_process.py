"""The process of a function: functions-framework, which serves it from its source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from atom_emulator.platform.network import HOST
from atom_emulator.platform.options import PartName
from atom_emulator.platform.servers import PYTHON
from atom_emulator.web_pages import LOCAL_HOSTS

_NOT_PASSED_ON: Final = frozenset({"DEBUG", "FUNCTION_USE_ASGI", "HOST", "PORT", "WEB_CONCURRENCY"})
"""Variables of the user's shell that would change how the functions are served."""


def function_command(function: PartName, sources: Path, *, port: int) -> list[str]:
    """Return the command that serves a function."""
    return [
        *(*PYTHON, "functions_framework"),
        f"--source={sources / function / 'main.py'}",
        f"--target={function}",
        f"--host={HOST}",
        f"--port={port}",
    ]


def serving_environment(own: Path, *, threads: int) -> dict[str, str]:
    """Return this process's environment, with the variables that say how a function is served.

    `own` is the function's own folder for temporary files.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    return kept | {
        "THREADS": str(threads),
        "WORKERS": "1",
        "PYTHONUNBUFFERED": "1",
        # A web page whose host name was pointed at this machine sends another Host; see the functions'
        # handlers/entry.py.
        "WORKFLOW_HOSTS": ",".join(sorted(LOCAL_HOSTS)),
        # gunicorn puts a control socket with a fixed name there, which would conflict among several servers.
        "XDG_RUNTIME_DIR": str(own),
    }
