"""Runs in which everything goes well, small and large."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from e2e.graphs import layered
from e2e.site import Site
from support.call_log import Edges, between_jobs, submissions, violations
from support.workflows import definition

FORK_JOIN = {"extract": [], "left": ["extract"], "right": ["extract"], "report": ["left", "right"]}
WIDE = 1_002
MOST_MEMORY_MB = 300


def without(text: str, steps: Sequence[str]) -> str:
    """Return the definition without the tasks of these steps."""
    document = json.loads(text)
    for step in document["steps"]:
        if step["id"] in steps:
            del step["task"]
    return json.dumps(document)


def require_success(site: Site, run_id: str, edges: Edges, *, within_s: float) -> None:
    """Require one job a step, none of them before its time."""
    assert site.ended(run_id, within_s=within_s)["state"] == "SUCCEEDED"
    assert set(site.states(run_id).values()) == {"SUCCEEDED"}
    calls = site.calls(run_id)
    assert violations(calls, edges) == []
    assert submissions(calls).total() == sum(call.is_submission for call in calls) == len(edges)


@pytest.mark.parametrize("duration_s", [0, 0.3], ids=["answered-at-once", "polled"])
def test_fork_and_join(site: Site, duration_s: float) -> None:
    """A fork and a join succeed, with jobs answered at once or polled."""
    site.script(f"default: {{duration: {duration_s}}}")
    run_id = site.start(definition(FORK_JOIN))
    require_success(site, run_id, FORK_JOIN, within_s=60)
    run = site.run(run_id)
    assert (run["step_count"], run.get("errors", [])) == (4, [])
    assert run["started_at"] <= run["finished_at"]


def test_a_fan_of_a_thousand(site: Site) -> None:
    """A fan of a thousand steps succeeds."""
    leaves = [f"leaf{place}" for place in range(WIDE)]
    edges = {"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves}
    require_success(site, site.start(definition(edges)), edges, within_s=60)


def test_a_layered_graph_of_two_thousand(site: Site) -> None:
    """A random graph of two thousand steps keeps all its dependencies."""
    edges, without_task = layered()
    run_id = site.start(without(definition(edges), without_task))
    require_success(site, run_id, between_jobs(edges, without_task), within_s=60)
    assert len(site.steps(run_id)) == len(edges)


def test_no_process_has_grown(site: Site) -> None:
    """No process of the platform ever held more than 300 MB."""
    ours = [child for child in psutil.Process().children(recursive=True) if child.name() != "java"]
    peaks = {" ".join(child.cmdline())[-80:]: peak_mb(child.pid) for child in ours}
    assert {name: peak for name, peak in peaks.items() if peak > MOST_MEMORY_MB} == {}


def peak_mb(pid: int) -> float:
    """Return a process's peak memory, or its present one.

    The present one where the system does not report the peak.
    """
    status = Path(f"/proc/{pid}/status")
    if os.name != "posix" or not status.exists():
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
