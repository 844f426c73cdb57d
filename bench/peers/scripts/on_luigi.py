"""Luigi: one worker and the local scheduler; a step is done when its file exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import luigi

from bench.peers.scripts.passes import Pass, scratch, serve, submit

GRAPH: dict[str, Sequence[str]] = {}
"""The graph of the current pass; Luigi asks each task for the tasks that it needs."""


class Step(luigi.Task):  # type: ignore[misc]  # luigi is not installed where types are checked
    """One step of one run."""

    run_id = luigi.Parameter()
    step = luigi.Parameter()

    def requires(self) -> Iterator[Step]:
        """Return the steps that must be done before."""
        return (Step(run_id=self.run_id, step=need) for need in GRAPH[self.step])

    def output(self) -> luigi.LocalTarget:
        """Return the file that marks the step as done."""
        return luigi.LocalTarget(scratch() / self.run_id / self.step)

    def run(self) -> None:
        """Run the job."""
        job_id = submit(self.run_id, self.step)
        with self.output().open("w") as file:
            file.write(job_id)


def perform(asked: Pass) -> None:
    """Run all the runs in one build."""
    _learn(asked.steps)
    ends = [Step(run_id=run_id, step=end) for run_id in asked.run_ids() for end in asked.ends]
    if not luigi.build(ends, local_scheduler=True, workers=1, log_level="ERROR"):
        raise RuntimeError("a task failed")


def _learn(steps: Mapping[str, Sequence[str]]) -> None:
    GRAPH.clear()
    GRAPH.update(steps)


if __name__ == "__main__":
    serve(perform)
