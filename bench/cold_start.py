"""The cost of importing a function in a fresh process, which is the coordinator's part of a cold start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

FUNCTIONS: Final = Path(__file__).parent.parent / "functions"
PASSES: Final = 5

_CLIENTS: Final = (
    "import flask, functions_framework, google.cloud.firestore, google.cloud.pubsub_v1, google.auth.transport.requests"
)
"""Imports that every function needs."""

_MEASURE: Final = """
import json, os, runpy, sys, time
began = time.process_time()
{what}
took, modules = time.process_time() - began, len(sys.modules)
import psutil  # getrusage's peak starts from that of the parent process
print(json.dumps([took, psutil.Process(os.getpid()).memory_info().rss, modules]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Processor time of the imports, the process's memory after them, and how many modules were loaded."""

    what: str
    cpu_ms: float
    rss_mb: float
    modules: int


def measure() -> list[ColdStart]:
    """Measure each function, and the clients alone for comparison.

    Each figure is the median of fresh processes.
    """
    return [_measured(what, code) for what, code in _subjects()]


def _subjects() -> Iterator[tuple[str, str]]:
    yield "the clients alone", _CLIENTS
    for folder in sorted(path.parent for path in FUNCTIONS.glob("*/main.py")):
        yield folder.name, f"runpy.run_path({str(folder / 'main.py')!r})"


def _measured(what: str, code: str) -> ColdStart:
    found = [_once(code) for _ in range(PASSES)]
    cpu_s, rss, modules = (median(one[place] for one in found) for place in range(3))
    return ColdStart(what=what, cpu_ms=1000 * cpu_s, rss_mb=rss / 2**20, modules=int(modules))


def _once(code: str) -> tuple[float, float, float]:
    command = [sys.executable, "-P", "-c", _MEASURE.format(what=code)]
    # The new process inherits no modules: it finds the library in the interpreter's path or in PYTHONPATH.
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    cpu_s, rss, modules = json.loads(done.stdout.splitlines()[-1])
    return cpu_s, rss, modules
