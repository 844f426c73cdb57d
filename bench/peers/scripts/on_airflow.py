"""Airflow: a run is a DAG run, each step is a task that runs in its own process; LocalExecutor on SQLite."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from bench.peers.scripts.passes import JOBS_AT_ONCE, Pass, running, scratch, serve, until

PARTS: Final = (("api-server",), ("scheduler", "--skip-serve-logs"), ("dag-processor",))
WITHIN_S: Final = 600.0
LOOK_EVERY_S: Final = 0.5
"""Rarely, since each poll loads the database that the scheduler writes to."""

_DAGS: Final = "dags"
_DAG_FILE: Final = """\
import json
from pathlib import Path

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, get_current_context
from bench.peers.scripts.passes import submit


def run_step(step):
    submit(get_current_context()["run_id"], step)


path = Path(__file__).with_suffix(".json")
with DAG(path.stem, schedule=None) as dag:
    steps = json.loads(path.read_text())
    tasks = {step: PythonOperator(task_id=step, python_callable=run_step, op_args=[step]) for step in steps}
    for step, needs in steps.items():
        tasks[step].set_upstream([tasks[need] for need in needs])
"""


def prepare(asked: Pass) -> None:
    """Deploy the graph as a DAG, and wait until Airflow knows it.

    Normally this is done long before a run.
    """
    from airflow.models.serialized_dag import SerializedDagModel  # noqa: PLC0415 - once the settings are made

    dag_id = _dag_id(asked.steps)
    path = scratch() / _DAGS / f"{dag_id}.py"
    if not path.exists():
        path.with_suffix(".json").write_text(json.dumps(asked.steps), encoding="utf-8")
        path.write_text(_DAG_FILE, encoding="utf-8")
    until(lambda: SerializedDagModel.has_dag(dag_id), "the DAG was not read", WITHIN_S, LOOK_EVERY_S)


def perform(asked: Pass) -> None:
    """Run all the runs at the same time."""
    from airflow.api.client import get_current_api_client  # noqa: PLC0415 - once the settings are made

    dag_id, client = _dag_id(asked.steps), get_current_api_client()
    for run_id in asked.run_ids():
        client.trigger_dag(dag_id, run_id=run_id)
    until(lambda: _have_ended(dag_id, asked.run_ids()), "the runs did not end", WITHIN_S, LOOK_EVERY_S)


def _have_ended(dag_id: str, run_ids: Sequence[str]) -> bool:
    from airflow.models.dagrun import DagRun  # noqa: PLC0415 - once the settings are made

    states = [str(run.state) for run in DagRun.find(dag_id=dag_id) if run.run_id in run_ids]
    if "failed" in states:
        raise RuntimeError(f"a run of {dag_id} failed")
    return states.count("success") == len(run_ids)


def _dag_id(steps: Mapping[str, Any]) -> str:
    return "graph_" + hashlib.sha256(json.dumps(steps).encode()).hexdigest()[:8]


@contextmanager
def airflow() -> Iterator[None]:
    """Airflow's parts with a fresh database."""
    (scratch() / _DAGS).mkdir()
    os.environ.update(_settings(_free_port()))
    program = str(Path(sys.executable).parent / "airflow")
    subprocess.run([program, "db", "migrate"], check=True, stdout=sys.stderr)  # noqa: S603 - our own command
    with ExitStack() as stack:
        for part in PARTS:
            stack.enter_context(running([program, *part]))
        yield


def _settings(port: int) -> dict[str, str]:
    settings = {
        "CORE__DAGS_FOLDER": str(scratch() / _DAGS),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__MAX_ACTIVE_RUNS_PER_DAG": "64",
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "CORE__PARALLELISM": str(JOBS_AT_ONCE),
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__WORKERS": "1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "2",
        "LOGGING__LOGGING_LEVEL": "WARNING",
    }
    return {f"AIRFLOW__{name}": value for name, value in settings.items()}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


if __name__ == "__main__":
    with airflow():
        serve(perform, prepare)
