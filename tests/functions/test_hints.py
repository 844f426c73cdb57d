"""Task Runners' hints as they reach the checker over HTTP."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_emulator.testing.world import World
from functions.posting import Deployed, Golden

PUSH: Final = {"Content-Type": "application/json"}


def pushed(data: bytes, subscription: str = "atom-jobs", attempt: int | None = None) -> Golden:
    """Return a push of a hint."""
    message = {"data": base64.b64encode(data).decode(), "messageId": "m-1", "attributes": {}}
    body: dict[str, Any] = {"message": message, "subscription": f"projects/demo/subscriptions/{subscription}"}
    return Golden("checker", PUSH, body | ({} if attempt is None else {"deliveryAttempt": attempt}))


def hint(**names: str) -> bytes:
    """Return the data of a hint."""
    return json.dumps({"type": "job.ended", **names}).encode()


@pytest.mark.parametrize("subscription", ["jobs", "atom-jobs"])
def test_a_hint_settles_a_step(functions: Deployed, world: World, run_id: str, subscription: str) -> None:
    """A hint from the topic's subscription is answered by one call, and the step ends."""
    world.settle_down("steps")
    world.clock.move(timedelta(seconds=6))
    assert functions.post(pushed(hint(idempotency_key=f"{run_id}/extract/1"), subscription)) == 204
    world.settle_down("steps")
    assert world.states(run_id)["extract"] == "SUCCEEDED"
    assert len(world.task_runner.polled) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"type": "tick"}',
        b'{"type": "job.ended"}',
        hint(idempotency_key="../../etc"),
        hint(idempotency_key="a/b/0"),
        hint(job_id="x" * 600),
    ],
)
def test_a_malformed_hint_is_logged_and_acknowledged(functions: Deployed, world: World, data: bytes) -> None:
    """It is neither delivered again nor kept: anyone may write a hint."""
    assert functions.post(pushed(data)) == 204
    assert [line["severity"] for line in functions.logged("event.malformed")] == ["WARNING"]
    assert world.bus.take_all("dead-letters") == []


def test_a_hint_that_comes_too_early_is_refused(functions: Deployed, world: World, run_id: str) -> None:
    """It is delivered again, and dropped after the last delivery, since the job is polled anyway."""
    [ready] = world.bus.take_all("steps")
    early: list[int] = []
    submit = world.task_runner.jobs.submit

    def submit_with_hint(*args: Any) -> Any:
        early.extend(
            functions.post(pushed(hint(idempotency_key=f"{run_id}/extract/1"), attempt=attempt)) for attempt in (1, 99)
        )
        return submit(*args)

    world.task_runner.jobs.submit = submit_with_hint  # type: ignore[assignment, method-assign]  # the moment of a submission
    world.deliver(ready)
    assert early == [500, 204]
    assert world.bus.take_all("dead-letters") == []
