"""Dagster: a run is a job executed in process, its steps one after the other; an instance on SQLite."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import (
    DagsterInstance,
    DependencyDefinition,
    GraphDefinition,
    In,
    JobDefinition,
    MultiDependencyDefinition,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
)

from bench.peers.scripts.passes import Pass, serve, submit

_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
"""Events are still stored in the instance, but not printed."""


def _op(step: str) -> OpDefinition:
    def compute(context: OpExecutionContext, _inputs: Any) -> Any:
        submit(context.run.tags["bench_run"], step)
        yield from ()

    return OpDefinition(compute, name=step, ins={"needs": In(Nothing)}, outs={"done": Out(Nothing)})


def _job(steps: Mapping[str, Sequence[str]]) -> JobDefinition:
    needs = {
        step: {"needs": MultiDependencyDefinition([DependencyDefinition(need, "done") for need in needs])}
        for step, needs in steps.items()
        if needs
    }
    return GraphDefinition("graph", node_defs=[_op(step) for step in steps], dependencies=needs).to_job()


def perform(asked: Pass) -> None:
    """Run the runs one after the other.

    The definition of the job is made once.
    """
    job, instance = _job(asked.steps), DagsterInstance.get()
    for run_id in asked.run_ids():
        job.execute_in_process(run_config=_QUIET, instance=instance, tags={"bench_run": run_id})


if __name__ == "__main__":
    serve(perform)
