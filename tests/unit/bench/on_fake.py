"""An engine for the tests: it does what `FAKE` says with the passes that it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.peers.scripts.passes import Pass, serve, submit

BEHAVIOR = os.environ["FAKE"]


def perform(asked: Pass) -> None:
    """Run every job, unless the behavior says otherwise."""
    if BEHAVIOR == "crash":
        raise ValueError("the engine broke")
    if BEHAVIOR == "hang":
        time.sleep(600)
    steps = asked.in_order if BEHAVIOR != "backwards" else reversed(asked.in_order)
    for step in [step for step in steps for _ in range(1 + (BEHAVIOR == "twice"))]:
        for run_id in asked.run_ids():
            submit(run_id, step)


if __name__ == "__main__":
    if BEHAVIOR == "absent":
        sys.exit("the engine is not there")
    if "LEFT_BEHIND" in os.environ:
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        # One leaves the session, the other loses its environment.
        left = (subprocess.Popen(sleeper, start_new_session=True), subprocess.Popen(sleeper, env={}))
        Path(os.environ["LEFT_BEHIND"]).write_text(" ".join(str(one.pid) for one in left), encoding="utf-8")
    print("what an engine prints is no answer")  # noqa: T201 - to standard output, as an engine might
    serve(perform)
