"""The command line on a Google Cloud that refuses: each refusal is reported with what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.identity.keys import Key
from atom_emulator.testing.world import World
from atom_workflows.adapters.firestore.store import FirestoreStore
from atom_workflows.adapters.pubsub.bus import PubsubBus
from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.coordinator.services import Services
from contract.canned import answer, canned
from contract.refusing import Refusing
from support.no_cloud import NO_CLOUD
from support.workflows import chain

PLACE = ("--project", "acme-flow")
NOT_ENABLED = "{} has not been used in project acme-flow before or it is disabled. Enable it by visiting …"

Connect = Callable[[Mapping[str, str]], Services]


@pytest.fixture
def connect(refusing: Refusing, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return services whose real clients talk to the refusing service.

    The command line takes them for those of a project.
    """
    with monkeypatch.context() as patch:
        for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
            patch.setenv(name, refusing.address)
        store = FirestoreStore(project="acme-flow", database="(default)", call_timeout_s=60, total_timeout_s=0.2)
        bus = PubsubBus(project="acme-flow", topic_prefix="atom-", limits=Limits(call_s=60, total_s=0.2))
    given = World().services
    return lambda _: Services(
        store=store,
        bus=bus,
        task_runner=given.task_runner,
        source=given.source,
        clock=given.clock,
        workers=given.workers,
        settings=given.settings,
        wake_limit=given.wake_limit,
    )


def call(connect: Connect | None, *args: str, **environment: str) -> Result:
    """Call a command on it."""
    variables = NO_CLOUD | environment
    return CliRunner().invoke(cli, [*args, *PLACE], obj=connect, env=variables, input=chain(1), catch_exceptions=False)


FIRESTORE = {
    ("PERMISSION_DENIED", "Missing or insufficient permissions."): "--role=roles/datastore.user",
    ("PERMISSION_DENIED", NOT_ENABLED.format("Cloud Firestore API")): "services enable firestore.googleapis.com",
    ("NOT_FOUND", "The database (default) does not exist for project acme-flow"): "firestore databases list",
    ("UNAUTHENTICATED", "Request had invalid authentication credentials."): "application-default login",
    ("UNAVAILABLE", "Getting metadata from plugin failed with error: Reauthentication is needed."): "default login",
    ("FAILED_PRECONDITION", "The query requires an index."): "lacks an index that the platform needs: deploy again",
}
PUBSUB = {
    ("PERMISSION_DENIED", "User not authorized to perform this action."): "--role=roles/pubsub.editor",
    ("PERMISSION_DENIED", NOT_ENABLED.format("Cloud Pub/Sub API")): "services enable pubsub.googleapis.com",
    ("NOT_FOUND", "Resource not found (resource=atom-start)."): "--topic-prefix",
    ("NOT_FOUND", "Requested project not found or user does not have access to it"): "pubsub topics list",
    ("UNAUTHENTICATED", "Request had invalid authentication credentials."): "application-default login",
}


@pytest.mark.parametrize(("status", "text"), FIRESTORE)
def test_what_firestore_refuses(refusing: Refusing, connect: Connect, status: str, text: str) -> None:
    """A refusal is reported with Firestore's words and the command that fixes it."""
    refusing.code, refusing.text = grpc.StatusCode[status], text
    result = call(connect, "runs", "list")
    assert (result.exit_code, FIRESTORE[status, text] in result.stderr) == (1, True), result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("status", "text"), PUBSUB)
def test_what_pubsub_refuses(refusing: Refusing, connect: Connect, status: str, text: str) -> None:
    """`start` reports a refusal of Pub/Sub with the command that fixes it."""
    refusing.code, refusing.text = grpc.StatusCode[status], text
    result = call(connect, "start", "-")
    assert (result.exit_code, PUBSUB[status, text] in result.stderr) == (1, True), result.stderr
    assert result.stdout == ""


def test_an_outage_is_no_refusal(refusing: Refusing, connect: Connect) -> None:
    """An outage is reported without mentioning roles."""
    refusing.code, refusing.text = grpc.StatusCode.UNAVAILABLE, "try again"
    result = call(connect, "runs", "list")
    assert (result.exit_code, "then try again" in result.stderr, "role" in result.stderr) == (1, True, False)


def test_an_expired_login_is_reported_at_once(tmp_path: Path) -> None:
    """An expired login ends the command before any client tries."""
    refusal = json.dumps({"error": "invalid_grant", "error_description": "Bad Request"}).encode()
    with canned(lambda _asked, _connection: answer(refusal, "400 Bad Request")) as endpoint:
        kept = {"type": "service_account", "client_email": "me@acme-flow.iam.gserviceaccount.com"}
        key = {**kept, "private_key": Key().pem, "token_uri": endpoint.url}
        (tmp_path / "key.json").write_text(json.dumps(key))
        result = call(None, "runs", "list", GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    assert result.exit_code == 1
    assert "invalid_grant" in result.stderr
    assert "gcloud auth application-default login" in result.stderr
    assert len(endpoint.asked) == 1
