"""Checks across runs: one burst at a time, and no commit that changes two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atom_workflows.documents import BURST_LEASE_PATH, RUNS
from atom_workflows.ports import Create, Update, Write
from simulation.evidence import Evidence
from simulation.findings import Findings, Rule
from simulation.lines import Lines
from simulation.machine import true_time
from simulation.repairs import Repair, Repairs
from simulation.scheduler import Invocation


def _is_link(write: Write) -> bool:
    """Return True if the write only lets an ended run name the one that repairs it."""
    return isinstance(write, Update) and set(write.fields) == {"repaired_by"} and not write.increments


class Apart:
    """Looks at commits across runs. `works_for` is the run of whose event or command an invocation is about."""

    def __init__(self, *, findings: Findings, evidence: Evidence, repairs: Repairs, skew_s: float) -> None:
        self.works_for: dict[Invocation, str] = {}
        self.lines: Lines | None = None
        self._findings = findings
        self._evidence = evidence
        self._repairs = repairs
        self._skew_s = skew_s
        self._lease: Mapping[str, Any] | None = None

    def on_commit(self, writes: Sequence[Write]) -> set[str]:
        """Check a commit that took effect, and return its runs."""
        run_ids = {write.path.split("/")[1] for write in writes if write.path.startswith(f"{RUNS}/")}
        of = self.works_for.get(self._evidence.scheduler.current.root)
        run_ids -= {write.path.split("/")[1] for write in writes if _is_link(write)}
        if (len(run_ids) > 1 or (of is not None and run_ids - {of})) and not self._is_of_a_line(writes, run_ids, of):
            self._findings.report(Rule.APART, f"one commit, for {of or 'all runs'}, changes {sorted(run_ids)}")
        for write in writes:
            if write.path == BURST_LEASE_PATH and isinstance(write, Create | Update):
                self._check_burst_lease(write.fields)
        return run_ids

    def _is_of_a_line(self, writes: Sequence[Write], run_ids: set[str], of: str | None) -> bool:
        """Return True if the commit lets runs of a group begin or skips them, perhaps as one of them ends."""
        if self.lines is None or not run_ids <= self.lines.members:
            return False
        of_runs = [write for write in writes if write.path.startswith(f"{RUNS}/")]
        return any(self.lines.allows(of_runs, one) for one in ([of] if of else run_ids))

    def _check_burst_lease(self, fields: Mapping[str, Any]) -> None:
        before, self._lease = self._lease, fields
        if before is None or "holder" not in fields:
            return
        left_s = (before["until"] - true_time(self._evidence.scheduler)).total_seconds()
        if left_s > self._skew_s:
            self._findings.report(Rule.LEASE, f"a burst began {left_s:.2f} s before the lease of another one was over")
        if "holder" in before:
            self._repairs.counts[Repair.BURST_TAKEN_OVER] += 1
