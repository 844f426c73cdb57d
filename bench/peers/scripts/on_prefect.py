"""Prefect: a run is a flow run whose tasks wait for each other; its own server with SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from prefect import flow, task
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from bench.peers.scripts.passes import JOBS_AT_ONCE, Pass, serve, submit

step_task = task(submit)


def _graph(run_id: str, steps: Mapping[str, Sequence[str]]) -> None:
    futures: dict[str, PrefectFuture[str]] = {}
    for step, needs in steps.items():
        futures[step] = step_task.submit(run_id, step, wait_for=[futures[need] for need in needs])
    for future in futures.values():
        future.result()


# The graph, a dictionary of strings, does not need a check of its types.
graph = flow(
    _graph, name="graph", task_runner=ThreadPoolTaskRunner(max_workers=JOBS_AT_ONCE), validate_parameters=False
)


def perform(asked: Pass) -> None:
    """Run as many flows at the same time as jobs may run."""
    steps = {step: list(asked.steps[step]) for step in asked.in_order}
    with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
        list(pool.map(lambda run_id: graph(run_id, steps), asked.run_ids()))


if __name__ == "__main__":
    serve(perform)
