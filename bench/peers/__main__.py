"""`python -m bench.peers`: compare with other engines; `--write` updates docs/explanation/benchmarks-peers.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_workflows.bootstrap import connect
from atom_workflows.closed_pipe import exit_with
from atom_workflows.settings import from_environment
from bench.counts import Servers
from bench.floor import Floor
from bench.measure import Bench, Inconsistent
from bench.peers import page
from bench.peers.environments import HOME, python_for, reserved, versions
from bench.peers.failures import PeerFailed
from bench.peers.roster import PEERS, Peer
from bench.peers.rounds import ROOT, Ours, Rounds, Row, Theirs
from bench.peers.submissions import TaskRunner
from bench.workloads import WORKLOADS

DOCUMENT: Final = ROOT / "docs" / "explanation" / "benchmarks-peers.md"
TICK_EVERY_S: Final = 60.0
OURS_CONFIGURED: Final = (
    "The local platform: embedded Firestore and Pub/Sub, each in its own process, and the three functions, each in its "
    "own process with eight threads. State is kept in memory, as in Google's emulators; the calls are the same as in "
    "the cloud."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    Returns 1 if Atom Workflows failed, or a peer that was requested by name.
    """
    options = _options(arguments)
    try:
        with reserved():
            compared = _compared(options)
    except (Inconsistent, PeerFailed) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted; nothing is left running\n")
        return 130
    _print_tables(compared)
    if options.write:
        DOCUMENT.write_text(page.document(compared), encoding="utf-8")
    return int(bool(options.only) and any(row.failed for row in compared.rows))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--repeat", type=int, default=3, help="passes of each workload (default: 3)")
    parser.add_argument("--only", choices=names, action="append", help="compare only with this peer; may be repeated")
    parser.add_argument("--with-slow", action="store_true", help="also measure Airflow, in one pass")
    parser.add_argument("--limit", type=float, default=300.0, help="time limit of a pass in seconds (default: 300)")
    parser.add_argument("--write", action="store_true", help="write docs/explanation/benchmarks-peers.md")
    options = parser.parse_args(arguments)
    if options.repeat < 1 or not options.limit > 0:
        parser.error("--repeat must be 1 or more, --limit more than 0")
    if options.write and options.only:
        parser.error("--write needs every peer")
    return options


def _chosen(options: argparse.Namespace) -> list[Peer]:
    if options.only:
        return [peer for peer in PEERS if peer.name in options.only]
    return [peer for peer in PEERS if options.with_slow or not peer.slow]


def _compared(options: argparse.Namespace) -> page.Compared:
    load_before, _, _ = os.getloadavg()
    installed = [_installed(peer) for peer in _chosen(options)]
    with _platform() as platform, closing(Servers(platform.addresses)) as servers, ExitStack() as stack:
        bench = Bench(connect(from_environment(os.environ)), servers)
        body = bench.request_body("warm-up")
        task_runner = TaskRunner(platform.addresses[PartName.TASK_RUNNER])
        floor = stack.enter_context(closing(Floor(task_runner.url, body)))
        rounds = Rounds(workloads=WORKLOADS, repeat=options.repeat, limit_s=options.limit, floor=floor, say=_say)
        rows = [_ours(rounds, bench)]
        rounds = replace(rounds, beside=Ours(bench))
        for peer, row, python in installed:
            rows.append(row)
            if python is not None:
                with Theirs(peer, python, task_runner, body) as theirs:
                    _fill(row, rounds, theirs, slow=peer.slow)
    load_after, _, _ = os.getloadavg()
    return page.Compared(
        workloads=WORKLOADS, rows=rows, repeat=options.repeat, load_before=load_before, load_after=load_after
    )


def _installed(peer: Peer) -> tuple[Peer, Row, Path | None]:
    """Install a peer; return its row and interpreter.

    The interpreter is None if it cannot be installed, and the row says why.
    """
    row = Row(name=peer.name, title=peer.title, configured=peer.configured)
    _say(f"{peer.title}: installing into {HOME.name}/{peer.name} unless it is already installed")
    try:
        python = python_for(peer)
        row.versions = versions(python, peer.versions_of)
    except PeerFailed as error:
        _fail(row, error)
        return peer, row, None
    return peer, row, python


def _ours(rounds: Rounds, bench: Bench) -> Row:
    row = Row(name=page.OURS, title="Atom Workflows", configured=OURS_CONFIGURED)
    row.cells = {cell.workload.name: cell for cell in rounds.cells(row.title, Ours(bench))}
    return row


def _fill(row: Row, rounds: Rounds, theirs: Theirs, *, slow: bool) -> None:
    try:
        for cell in rounds.cells(row.title, theirs, slow=slow):
            row.cells[cell.workload.name] = cell
    except PeerFailed as error:
        _fail(row, error)


def _fail(row: Row, error: PeerFailed) -> None:
    row.failed = str(error)
    _say(f"{row.title}: not measured: {error}")


@contextmanager
def _platform() -> Iterator[LocalPlatform]:
    """Start a platform, and point this process's Google clients at it."""
    with (
        tempfile.TemporaryDirectory(prefix="atom-bench-") as folder,
        LocalPlatform(PlatformOptions(log_dir=Path(folder), tick_every_s=TICK_EVERY_S)) as platform,
    ):
        os.environ.update(platform.environment)
        yield platform


def _print_tables(compared: page.Compared) -> None:
    _say("\nMilliseconds a step · steps/s · times the floor\n\n" + page.time_table(compared))
    if ratios := page.ratio_table(compared):
        _say("\nTimes ours\n\n" + ratios)
    if failed := page.failures(compared):
        _say("\nNot measured\n\n" + failed)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    exit_with(main)
