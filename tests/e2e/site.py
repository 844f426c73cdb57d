"""A running platform as its users see it: messages are published, documents read, the mock given scripts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests

from atom_emulator.platform.local import LocalPlatform
from atom_workflows.core.run_ids import run_id_for
from support.call_log import Call, calls_of
from support.deadline import eventually

CALL_S: Final = 60
TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED", "INVALID"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The platform, with the ordinary clients of Firestore (`database`) and Pub/Sub."""

    platform: LocalPlatform
    database: Any
    publisher: Any
    subscriber: Any

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a user exports."""
        return self.platform.environment

    def script(self, text: str) -> None:
        """Set how the jobs submitted from now on go."""
        url = self.environment["WORKFLOW_TASK_RUNNER_URL"]
        answer = requests.put(f"{url}/_script", data=text.encode(), timeout=60)
        assert answer.ok, answer.text

    def publish(self, topic: str, data: bytes, **attributes: str) -> None:
        """Publish a message."""
        path = f"projects/{self.platform.options.project}/topics/{topic}"
        self.publisher.publish(path, data, **attributes).result(timeout=60)

    def start(self, definition: str, *, name: str = "flow", times: int = 1, **fields: Any) -> str:
        """Publish a start message and return the run's id.

        The message carries the definition.
        """
        run_key = uuid.uuid4().hex
        body = {"workflow_path": f"{name}.yaml", "definition": definition, "run_key": run_key, **fields}
        for _ in range(times):
            self.publish("start", json.dumps(body).encode())
        return run_id_for(f"{name}.yaml", "key", run_key)

    def run(self, run_id: str) -> dict[str, Any]:
        """Return the run's document, empty if there is none."""
        assert self.platform.crash is None, self.platform.crash
        # The client's own retries would outlast every deadline of a test.
        return self.database.document(f"runs/{run_id}").get(retry=None, timeout=CALL_S).to_dict() or {}

    def steps(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the documents of the user's steps, by id."""
        documents = self.database.collection(f"runs/{run_id}/steps").stream(retry=None, timeout=CALL_S)
        return {document.id: document.to_dict() for document in documents if not document.id.startswith("~")}

    def states(self, run_id: str) -> dict[str, str]:
        """Return each step's state."""
        return {step: fields["state"] for step, fields in self.steps(run_id).items()}

    def ended(self, run_id: str, *, within_s: float = 60) -> dict[str, Any]:
        """Wait for the run's end and return its document."""

        def terminal() -> Mapping[str, Any]:
            run = self.run(run_id)
            return run if run.get("state") in TERMINAL else {}

        return dict(eventually(terminal, within_s=within_s, what=f"the end of run {run_id}", every_s=0.05))

    def calls(self, run_id: str) -> list[Call]:
        """Return the Task Runner's calls for the run so far."""
        whole, _, _ = self.platform.task_runner_log.read_text().rpartition("\n")
        return calls_of(run_id, whole.splitlines())

    def submitted(self, run_id: str, step: str, *, times: int = 1, within_s: float = 60) -> None:
        """Wait until the step's job was submitted that often."""

        def asked() -> bool:
            return sum(call.is_submission and call.step == step for call in self.calls(run_id)) >= times

        eventually(asked, within_s=within_s, what=f"submission {times} of {step}")

    def dead_letters(self) -> list[bytes]:
        """Messages that were given up, taken off their subscription."""
        path = f"projects/{self.platform.options.project}/subscriptions/dead-letters"
        request = {"subscription": path, "max_messages": 100, "return_immediately": True}
        pulled = self.subscriber.pull(request=request, timeout=60).received_messages
        if pulled:
            self.subscriber.acknowledge(subscription=path, ack_ids=[one.ack_id for one in pulled])
        return [one.message.data for one in pulled]
