"""DBOS: a run is one workflow, each job a checkpointed step of it; steps whose needs are met run at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing

from dbos import DBOS, DBOSConfig, StepReservation

from bench.peers.scripts.passes import JOBS_AT_ONCE, Pass, scratch, serve, submit


async def graph(run_id: str, steps: Mapping[str, Sequence[str]]) -> None:
    """Run each numbered step as soon as the steps that it needs have ended."""
    under_way: dict[str, asyncio.Task[None]] = {}

    async def run(step: str, reserved: StepReservation) -> None:
        await asyncio.gather(*(under_way[need] for need in steps[step]))
        await reserved.run_async({"name": step}, submit, run_id, step)

    for step in steps:
        under_way[step] = asyncio.create_task(run(step, DBOS.reserve_step()))
    await asyncio.gather(*under_way.values())


workflow = DBOS.workflow()(graph)


def perform(asked: Pass) -> None:
    """Run all the runs at the same time, in one process."""
    asyncio.run(_perform(asked))


async def _perform(asked: Pass) -> None:
    steps = {step: list(asked.steps[step]) for step in asked.in_order}
    handles = [await DBOS.start_workflow_async(workflow, run_id, steps) for run_id in asked.run_ids()]
    await asyncio.gather(*(handle.get_result() for handle in handles))


class _Launched:
    def __init__(self, database_url: str) -> None:
        config = DBOSConfig(
            name="bench",
            system_database_url=database_url,
            log_level="ERROR",
            max_executor_threads=JOBS_AT_ONCE,
        )
        DBOS(config=config)
        DBOS.launch()

    def close(self) -> None:
        DBOS.destroy()


def main(database_url: str) -> None:
    """Serve passes with the given system database."""
    with closing(_Launched(database_url)):
        serve(perform)


if __name__ == "__main__":
    main(f"sqlite:///{scratch()}/dbos.sqlite")
