"""Measuring a peer: a trivial engine's script, run as a real one is, against the mock Task Runner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from bench.floor import Floor
from bench.peers.failures import PeerFailed, TooLong
from bench.peers.roster import PEERS, Peer
from bench.peers.rounds import ROOT, Cell, Rounds, Theirs
from bench.peers.submissions import TaskRunner
from bench.workloads import Workload, chain, fan

from support.deadline import eventually
from unit.adapters.servers import running

JOB = {"job_name": "s", "scaleTier": "BASIC", "labels": {"workflow": "bench", "type": "step"}}
CHAIN = Workload(name="chain", title="chain of 3", definition=chain(3), floor_threads=1)
FAN = Workload(name="fan", title="1 → 4 → 1, twice", definition=fan(4), runs=2)


@pytest.fixture(scope="module")
def task_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskRunner]:
    """Return one mock for these tests, which every pass resets."""
    with running(tmp_path_factory.mktemp("task-runner"), "atom_emulator.task_runner") as url:
        yield TaskRunner(url)


@pytest.fixture
def theirs(task_runner: TaskRunner) -> Iterator[Callable[..., Theirs]]:
    """Engines that behave as said; each is ended with the test."""
    engines: list[Theirs] = []

    def make(behavior: str, **environment: str) -> Theirs:
        peer = Peer(
            name="fake",
            title="Fake",
            packages=(),
            versions_of=(),
            module="tests.unit.bench.on_fake",
            configured="",
            environment={"FAKE": behavior, **environment},
        )
        engines.append(Theirs(peer, Path(sys.executable), task_runner, JOB))
        return engines[-1]

    yield make
    for engine in engines:
        with engine:
            pass


def test_a_pass_is_timed_by_the_script(theirs: Callable[..., Theirs]) -> None:
    """An engine that submits each step in order has a time for each pass."""
    engine = theirs("good")
    assert all(0 < engine.seconds(workload, limit_s=30) < 30 for workload in (CHAIN, FAN, FAN))


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [("twice", "s0 of run 0-0 was submitted 2 times"), ("backwards", "s1 of run 0-0 came before s0")],
)
def test_an_engine_is_held_to_the_workload(theirs: Callable[..., Theirs], behavior: str, reason: str) -> None:
    """A pass with a repeated or early submission is refused."""
    with pytest.raises(PeerFailed, match=reason):
        theirs(behavior).seconds(CHAIN, limit_s=30)


@pytest.mark.parametrize(("behavior", "reason"), [("crash", "the engine broke"), ("absent", "engine is not there")])
def test_a_failure_has_its_reason(theirs: Callable[..., Theirs], behavior: str, reason: str) -> None:
    """The engine's last line is the reason of its failure."""
    with pytest.raises(PeerFailed, match=reason):
        theirs(behavior).seconds(CHAIN, limit_s=30)


def test_a_pass_has_a_limit(theirs: Callable[..., Theirs]) -> None:
    """A pass over its limit ends the engine, which the next workload starts again."""
    engine = theirs("hang")
    for _ in range(2):
        with pytest.raises(TooLong, match="more than 0 s"):
            engine.seconds(CHAIN, limit_s=0.1)


@pytest.mark.parametrize("how", [None, KeyboardInterrupt])
def test_nothing_is_left_running(
    theirs: Callable[..., Theirs], tmp_path: Path, how: type[KeyboardInterrupt] | None
) -> None:
    """All processes of an engine end with it, even detached ones."""
    pids = tmp_path / "pids"
    with suppress(KeyboardInterrupt), theirs("good", LEFT_BEHIND=str(pids)) as engine:
        engine.seconds(CHAIN, limit_s=30)
        left = [psutil.Process(int(pid)) for pid in pids.read_text(encoding="utf-8").split()]
        if how is not None:
            raise how
    eventually(lambda: not any(_runs(one) for one in left), within_s=60, what="the end of what the engine started")


def test_rounds_keep_what_follows_the_warm_up(theirs: Callable[..., Theirs], task_runner: TaskRunner) -> None:
    """Each workload has its passes and their floors, without the warm-up."""
    cells, lines = _measured(task_runner, theirs("good"), slow=False)
    assert [(cell.workload, len(cell.passes)) for cell in cells] == [(CHAIN, 2), (FAN, 2)]
    assert all(one.floor_s > 0 for cell in cells for one in cell.passes)
    assert len(lines) == 6


def test_a_slow_engine_has_one_pass(theirs: Callable[..., Theirs], task_runner: TaskRunner) -> None:
    """A slow engine has a short warm-up and one pass for each workload."""
    cells, lines = _measured(task_runner, theirs("good"), slow=True)
    assert [len(cell.passes) for cell in cells] == [1, 1]
    assert lines[0].startswith("Fake, warm-up: chain of 4: ")


def test_a_workload_that_takes_too_long_is_reported(theirs: Callable[..., Theirs], task_runner: TaskRunner) -> None:
    """A workload over its limit has no passes, and the others go on."""
    cells, lines = _measured(task_runner, theirs("hang"), slow=False, limit_s=0.1)
    assert [(len(cell.passes), cell.over_s) for cell in cells] == [(0, 0.1), (0, 0.1)]
    assert lines[0] == "Fake: chain of 3: more than 0 s"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_the_roster_is_complete(peer: Peer) -> None:
    """Each peer has a script, bounded packages, and a note on its configuration."""
    assert (ROOT / (peer.module.replace(".", "/") + ".py")).is_file()
    assert all(package == "requests" or ",<" in package for package in peer.packages)
    assert peer.configured.endswith(".")


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _measured(
    task_runner: TaskRunner, engine: Theirs, *, slow: bool, limit_s: float = 30
) -> tuple[list[Cell], list[str]]:
    lines: list[str] = []
    with closing(Floor(task_runner.url, JOB)) as floor:
        rounds = Rounds(workloads=(CHAIN, FAN), repeat=2, limit_s=limit_s, floor=floor, say=lines.append)
        return list(rounds.cells("Fake", engine, slow=slow)), lines
