"""The runner function, as it is staged for Google Cloud, in a process of its own on the fakes of Google's APIs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from atom_deploy.stage import stage
from atom_emulator.platform.network import accepts_connections, reserve_port
from support.deadline import eventually
from support.google_jobs.containers import Time
from support.google_jobs.server import BUCKET, Google
from unit.adapters.servers import running

NOTICES: Final = "batch-notices"


class RealTime(Time):
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the current time."""
        return datetime.now(UTC)


@contextmanager
def staged_runner(apis: Google, pubsub: str, scratch: Path) -> Iterator[str]:
    """Serve the function while the block lasts, and yield its URL. Its log is `staged/runner.log`."""
    with ExitStack() as stack:
        identity = stack.enter_context(running(folder(scratch, "identity"), "atom_emulator.identity"))
        port = reserve_port("runner", 0, stack)
        stage(scratch / "staged")
        environment = runner_environment(apis, identity, pubsub, scratch)
        stack.enter_context(function(scratch / "staged" / "runner", environment, port))
        stack.enter_context(ticking(apis))
        yield f"http://127.0.0.1:{port}"


def folder(parent: Path, name: str) -> Path:
    """Return a new folder."""
    (parent / name).mkdir()
    return parent / name


def runner_environment(apis: Google, identity: str, pubsub: str, scratch: Path) -> dict[str, str]:
    """Return the runner's environment: that of a deployment, with Google's servers on this machine."""
    metadata = identity.removeprefix("http://")
    return {
        "PATH": os.environ["PATH"],
        "CLOUDSDK_CONFIG": str(folder(scratch, "gcloud")),
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_IP": metadata,
        "PUBSUB_EMULATOR_HOST": pubsub,
        "STORAGE_EMULATOR_HOST": apis.url,
        "THREADS": "8",
        "WORKFLOW_PROJECT": "atom-local",
        "WORKFLOW_RUNNER_ACCOUNT": "atom-jobs@atom-local.iam.gserviceaccount.com",
        "WORKFLOW_RUNNER_BATCH_URL": apis.url,
        "WORKFLOW_RUNNER_BUCKET": BUCKET,
        "WORKFLOW_RUNNER_NOTICE_TOPIC": NOTICES,
        "WORKFLOW_RUNNER_REGION": "europe-west1",
        "WORKFLOW_RUNNER_RUN_URL": apis.url,
    }


@contextmanager
def function(source: Path, environment: Mapping[str, str], port: int) -> Iterator[None]:
    """Serve the staged function while the block lasts."""
    command = [sys.executable, "-m", "functions_framework", "--target", "runner", "--source", "main.py"]
    # The staged library comes before the checkout's.
    given = {**environment, "PYTHONPATH": str(source), "HOST": "127.0.0.1", "PORT": str(port)}
    with (source.parent / "runner.log").open("a") as log:
        process = subprocess.Popen(command, cwd=source, env=given, stdout=log, stderr=log)
        try:
            eventually(lambda: accepts_connections(f"127.0.0.1:{port}"), within_s=60, what="the start of the runner")
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


@contextmanager
def ticking(apis: Google) -> Iterator[None]:
    """Let jobs go on although no one asks for them."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.05):
            apis.tick()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
