"""`python -m chaos.kills`: kill the whole platform at random moments, start it again, and judge its runs.

The Task Runner is outside of it, and so knows each job that it was ever asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from google.api_core.exceptions import GoogleAPIError

from atom_emulator.firestore.history_store import HistoryStore
from atom_emulator.platform.options import PartName
from atom_emulator.platform.project_folder import ProjectFolder
from atom_emulator.platform.topology import PubSub
from atom_emulator.ready_file import read_port
from atom_workflows.closed_pipe import exit_with
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.documents import run_path, steps_path
from atom_workflows.ports import Query
from chaos.flight import TERMINAL
from chaos.judge import Ended, Judge, Verdict, by_run, crowded_groups
from chaos.submissions import SubmissionWatch
from chaos.tally import Fault, Tally
from chaos.workloads import SCRIPT, Workload, drawn
from support.deadline import eventually

PROJECT: Final = "atom-local"
DATABASE: Final = f"projects/{PROJECT}/databases/(default)"
ALL_ENDED_WITHIN_S: Final = 180.0
"""After the last start."""

MOST_OPEN: Final = 20
"""Runs that are open at a time: a life is shorter than most of them."""

UP_WITHIN_S: Final = 60.0
_LONGEST_LIFE_S: Final = 3.0
_IN_THE_START: Final = 0.25
"""How many of the platforms are killed before they are ready."""

_ORPHANS_END_WITHIN_S: Final = 2.0
"""On a busy machine, processes whose parent was killed go on for a moment: a dispatcher may still submit a job."""

_KEPT: Final = ("HOME", "LANG", "PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often the platform is killed, how many runs each of its lives is asked for, and the seed of chance."""

    kills: int = 20
    runs_each: int = 2
    seed: int = 1


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of it. `fewest_open` counts the runs that were open at a kill, after the first starts."""

    plan: Plan
    kills: Counter[str] = field(default_factory=Counter)
    open_at_kills: list[int] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    took_s: float = 0.0
    last_s: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)

    def lines(self) -> Iterator[str]:
        """Yield the report."""
        verdict = self.verdict
        kills = ", ".join(f"{count} {how}" for how, count in sorted(self.kills.items()))
        yield f"the whole platform was killed {self.kills.total()} times (SIGKILL), seed {self.plan.seed}: {kills}"
        yield f"  {self.took_s:6.0f} s in all"
        yield f"  {self.ended.total():6} runs, and {self.unanswered} requests for runs without an answer"
        yield f"  {sum(self.open_at_kills):6} times a run was open when the platform was killed"
        yield f"  {verdict.submitted:6} attempts submitted, {verdict.again.total()} of them again, with the same key"
        yield f"  {verdict.twice:6} attempts that were given two jobs"
        yield f"  {verdict.given_up:6} steps with onLost: fail failed for a loss, as they should"
        yield f"  {self.last_s:6.1f} s after the last start the last run had ended"
        yield f"         ended: {', '.join(f'{count} {state}' for state, count in sorted(self.ended.items()))}"
        yield f"  {len(verdict.findings):6} problems"
        yield from (f"  {problem}" for problem in verdict.findings)


class Platform:
    """`local up` as a user's process, in the folder of a project."""

    def __init__(self, project: Path, task_runner: str) -> None:
        self._project = project
        self._folder = ProjectFolder.of(project)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with (project / "platform.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "atom_client",
                    "local",
                    "up",
                    "--no-bucket",
                    "--json",
                    f"--tr-url={task_runner}",
                ],
                cwd=project,
                env={**environment, "WORKFLOW_CHECK_STATE_DURATION_SEC": "0.3"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def up(self) -> Mapping[str, str]:
        """Wait until the platform is up, and return its variables."""

        def look() -> Mapping[str, str]:
            assert self.process.poll() is None, (self._project / "platform.log").read_text()[-2000:]
            return self._folder.running_platform() or {}

        return eventually(look, within_s=UP_WITHIN_S, what="the platform is up", every_s=0.05)

    def kill(self, *, whole: bool) -> None:
        """Kill its own process, or at the same time all processes that it has started."""
        processes = psutil.Process(self.process.pid).children(recursive=True) if whole else []
        self.process.kill()
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@dataclass(slots=True)
class Story:
    """One project whose platform is killed again and again."""

    plan: Plan
    project: Path
    task_runner: str
    result: Result
    tally: Tally = field(default_factory=Tally)
    runs: dict[str, Workload] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)

    def play(self) -> None:
        """Play all lives, the last of which is not cut short."""
        dice = random.Random(self.plan.seed)  # noqa: S311 - nothing secret
        workloads = drawn(dice)
        for _ in range(self.plan.kills):
            self._live(dice, workloads)
        began = time.monotonic()
        platform = Platform(self.project, self.task_runner)
        try:
            self._ask(platform.up(), [next(workloads)], dice)
            eventually(
                lambda: not self._open(), within_s=ALL_ENDED_WITHIN_S, what=f"the end of {self._open()}", every_s=0.5
            )
        finally:
            platform.stop()
        self.result.last_s = time.monotonic() - began

    def _live(self, dice: random.Random, workloads: Iterator[Workload]) -> None:
        platform = Platform(self.project, self.task_runner)
        whole, early = dice.random() < 0.5, dice.random() < _IN_THE_START
        if early:
            time.sleep(dice.uniform(0.1, 2.0))
        else:
            variables, room = platform.up(), MOST_OPEN - len(self._open())
            self._ask(variables, [next(workloads) for _ in range(min(room, self.plan.runs_each))], dice)
            time.sleep(dice.uniform(0.0, _LONGEST_LIFE_S))
        self.result.open_at_kills.append(len(self._open()))
        self.tally.add(Fault.FUNCTION_KILLED, PartName.DISPATCHER, within_s=0.0 if whole else _ORPHANS_END_WITHIN_S)
        platform.kill(whole=whole)
        how = f"{'all processes' if whole else 'only the first process'}{' while it started' if early else ''}"
        self.result.kills[how] += 1

    def _ask(self, variables: Mapping[str, str], workloads: Sequence[Workload], dice: random.Random) -> None:
        """Start runs by message."""
        with closing(PubSub(variables["PUBSUB_EMULATOR_HOST"], PROJECT)) as pubsub:
            for workload in workloads:
                path, run_key = f"{workload.shape.replace(' ', '-')}.yaml", uuid.UUID(int=dice.getrandbits(128)).hex
                body = {"workflow_path": path, "definition": workload.definition, "run_key": run_key}
                run_id = run_id_for(path, "key", run_key)
                self.runs[run_id] = workload
                try:
                    pubsub.publish(f"projects/{PROJECT}/topics/start", [{"data": json.dumps(body).encode()}])
                except GoogleAPIError:
                    self.unanswered.add(run_id)

    def _store(self) -> HistoryStore:
        def refuse() -> Any:
            raise AssertionError("a judge only reads")

        return HistoryStore(ProjectFolder.of(self.project).history, database=DATABASE, refuse=refuse)

    def _open(self) -> list[str]:
        """Return the runs that were accepted, or are there, and have not ended."""
        if not ProjectFolder.of(self.project).history.exists():
            return []
        found = self._store().get([run_path(run_id) for run_id in self.runs], fields=("state",))
        states = {run_id: one.fields["state"] if one else "" for run_id, one in zip(self.runs, found, strict=True)}
        return [
            run_id
            for run_id, state in states.items()
            if state not in TERMINAL and not (not state and run_id in self.unanswered)
        ]

    def judge(self, log: Path) -> None:
        """Judge every run from the history and the Task Runner's log."""
        judge = Judge(
            tally=self.tally, watch=SubmissionWatch(), log=by_run(log.read_text().splitlines()), calm_at=time.time()
        )
        ended, store = [], self._store()
        for run_id, workload in self.runs.items():
            (run,) = store.get([run_path(run_id)])
            if run is None:
                if run_id not in self.unanswered:
                    self.result.verdict.findings.append(f"{run_id} was accepted and is not there")
                continue
            steps = {step.id: step.fields for step in store.query(Query(collection=steps_path(run_id)))}
            ended.append(Ended(run_id=run_id, workload=workload, run=run.fields, steps=steps))
            judge.judge(ended[-1], self.result.verdict)
        self.result.verdict.findings += crowded_groups(ended, judge.log)
        self.result.ended = Counter(str(one.run.get("state")) for one in ended)
        self.result.unanswered = len(self.unanswered)


@contextmanager
def task_runner(folder: Path) -> Iterator[tuple[str, Path]]:
    """Run the judging Task Runner, and yield its URL and its log."""
    script, log, ready = folder / "script.yaml", folder / "calls.jsonl", folder / "ready.json"
    script.write_text(SCRIPT)
    options = ("--script", script, "--log", log, "--ready-file", ready)
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen([sys.executable, "-m", "atom_emulator.task_runner", *map(str, options)])
        )
        stack.callback(process.kill)
        port = eventually(lambda: read_port(ready), within_s=UP_WITHIN_S, what="the Task Runner is up")
        yield f"http://127.0.0.1:{port}", log


def play(plan: Plan, folder: Path) -> Result:
    """Play the plan in a folder, in which everything stays that may explain a problem."""
    began, result = time.monotonic(), Result(plan=plan)
    project = folder / "project"
    project.mkdir(parents=True)
    with task_runner(folder) as (url, log):
        story = Story(plan=plan, project=project, task_runner=url, result=result)
        story.play()
        story.judge(log)
    result.took_s = time.monotonic() - began
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Play a plan, print its report, and return 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(prog="chaos.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="(default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="what chance starts from (default: 1)")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    result = play(Plan(kills=options.kills, seed=options.seed), folder)
    sys.stdout.write("".join(f"{line}\n" for line in result.lines()))
    if result.verdict.findings:
        sys.stderr.write(f"everything is in {folder}\n")
    return int(bool(result.verdict.findings))


if __name__ == "__main__":
    exit_with(main)
