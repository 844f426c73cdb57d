"""Processor time and memory of the platform's processes, by part."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from atom_emulator.platform.options import FUNCTIONS, PartName

_MARKS = {
    **{part: f"atom_emulator.{part.replace('-', '_')}" for part in PartName if part not in FUNCTIONS},
    **{part: f"--target={part}" for part in FUNCTIONS},
}
"""An argument that occurs only in this part's command line."""


def by_part() -> dict[PartName, list[psutil.Process]]:
    """Return every process below this one, by part.

    A part that is not running is omitted.
    """
    found: dict[PartName, list[psutil.Process]] = {part: [] for part in PartName}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            arguments = process.cmdline()
            for part, mark in _MARKS.items():
                if mark in arguments:
                    found[part].append(process)
    return {part: group for part, group in found.items() if group}


def cpu_seconds(processes: dict[PartName, list[psutil.Process]]) -> dict[PartName, float]:
    """Return each part's processor time so far.

    User and system mode together.
    """
    return {part: sum(_cpu_seconds(one) for one in group) for part, group in processes.items()}


def _cpu_seconds(process: psutil.Process) -> float:
    if sys.platform != "linux":
        return sum(process.cpu_times()[:2])
    # The file that psutil reads counts in hundredths of a second, as much as a small workload takes. A process's clock
    # counts in nanoseconds; clock_getcpuclockid(3) forms its number like this.
    return time.clock_gettime((~process.pid << 3) | 2)


def peak_mb(processes: dict[PartName, list[psutil.Process]]) -> dict[PartName, float]:
    """Return the peak memory of each part's largest process.

    Empty where the system does not report it.
    """
    peaks = {
        part: max((peak for one in group for peak in _peak_mb(one.pid)), default=0.0)
        for part, group in processes.items()
    }
    return {part: peak for part, peak in peaks.items() if peak}


def _peak_mb(pid: int) -> Iterator[float]:
    with suppress(OSError):
        if peak := re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
            yield int(peak[1]) / 1024
