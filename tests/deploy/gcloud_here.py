"""The installed gcloud on the PATH of a test, kept warm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
_PROGRAM: Final = """#!{python} -ES
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    asked = dict(environment=dict(os.environ), folder=os.getcwd(), arguments=sys.argv[1:])
    socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
    sys.exit(int(server.recv(16) or b"1"))
"""


@contextmanager
def warm_gcloud(folder: Path, environment: Mapping[str, str], warm_ups: Sequence[Sequence[str]]) -> Iterator[Path]:
    """Yield a folder with a `gcloud` to put on the PATH.

    It works while the block lasts, in that environment.
    """
    sdk = _sdk()
    bundled = sdk / "platform" / "bundledpythonunix" / "bin" / "python3"
    python = str(bundled) if bundled.exists() else sys.executable
    path = folder / "gcloud.socket"
    command = [python, "-S", str(HERE / "warm_gcloud.py"), str(sdk / "lib"), str(path), *map(json.dumps, warm_ups)]
    programs = folder / "programs"
    programs.mkdir()
    (programs / "gcloud").write_text(_PROGRAM.format(python=sys.executable, path=str(path)))
    (programs / "gcloud").chmod(0o755)
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield programs
        finally:
            server.kill()


def _sdk() -> Path:
    program = shutil.which("gcloud")
    assert program is not None
    return Path(program).resolve().parents[1]
