"""Each way to have no token has its own message, and only what waiting cannot fix fails the step at once."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from atom_workflows.adapters.task_runner.id_tokens import CREDENTIALS, fetch_id_token
from atom_workflows.adapters.task_runner.tokens import FixedToken
from atom_workflows.errors import CredentialUnusable, JobRefused, TaskRunnerUnavailable
from unit.adapters.servers import AUDIENCE, Identity

USER = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
KEY = {"type": "service_account", "client_email": "a@b.test", "private_key": "no key", "token_uri": "http://x"}
IMPERSONATED = {
    "type": "impersonated_service_account",
    "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.test"
    ":generateAccessToken",
    "source_credentials": USER,
}


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path in GOOGLE_APPLICATION_CREDENTIALS, where no file is yet."""
    path = tmp_path / "credentials.json"
    monkeypatch.setenv(CREDENTIALS, str(path))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (USER, r'a user\'s own credential.*must be service_account.*not "authorized_user".*WORKFLOW_TR_AUTH_JWT'),
        ({"type": "external_account"}, r'cannot create ID tokens.*not "external_account"'),
        ({}, "not null"),
        ([], "not a JSON credential"),
        ({"type": "service_account"}, "a key file without client_email, private_key, token_uri"),
        (KEY, "whose private_key cannot be read"),
        (
            {**IMPERSONATED, "service_account_impersonation_url": "http://evil.test/a:generateAccessToken"},
            "is not valid",
        ),
        ({**IMPERSONATED, "service_account_impersonation_url": None}, "service_account_impersonation_url is not valid"),
        ({**IMPERSONATED, "source_credentials": {"type": "gdch"}}, "source_credentials are not a usable"),
        ({**IMPERSONATED, "source_credentials": {**KEY}}, "source_credentials are not a usable"),
    ],
)
def test_a_credential_that_can_never_work_is_refused_at_once(content: Any, message: str, credentials: Path) -> None:
    """An unusable credential fails the step with audience, file and reason."""
    credentials.write_text(json.dumps(content))
    with pytest.raises(
        CredentialUnusable, match=rf"no ID token for {AUDIENCE}: .*credentials\.json.*{message}"
    ) as caught:
        fetch_id_token(AUDIENCE)
    assert isinstance(caught.value, JobRefused)


def test_a_file_that_is_not_json_is_refused_at_once(credentials: Path) -> None:
    """A credential file that is no JSON is refused without quoting it."""
    credentials.write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(CredentialUnusable, match="not a JSON credential") as caught:
        fetch_id_token(AUDIENCE)
    assert "BEGIN" not in str(caught.value)


def test_a_missing_file_is_waited_for(credentials: Path) -> None:
    """A missing credential file is an outage."""
    with pytest.raises(TaskRunnerUnavailable, match=f"{credentials}, which cannot be read: No such file"):
        fetch_id_token(AUDIENCE)


def test_no_credential_at_all() -> None:
    """Without a credential the message names every way to provide one."""
    with pytest.raises(
        TaskRunnerUnavailable, match=rf"there is no credential: {CREDENTIALS} is not set.*WORKFLOW_TR_AUTH_JWT"
    ):
        fetch_id_token(AUDIENCE)


def test_a_metadata_server_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metadata server that cannot be reached is an outage."""
    monkeypatch.setenv("K_SERVICE", "dispatcher")
    with pytest.raises(
        TaskRunnerUnavailable, match=r"metadata server cannot be reached \(no connection: nothing is listening at .*"
    ):
        fetch_id_token(AUDIENCE)


def test_a_metadata_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent metadata server is an outage after a short wait."""
    monkeypatch.setenv("K_SERVICE", "dispatcher")
    monkeypatch.setattr("atom_workflows.adapters.http.READ_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
        with pytest.raises(TaskRunnerUnavailable, match=r"metadata server cannot be reached \(no response in time\)"):
            fetch_id_token(AUDIENCE)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([404], "has no service account for this machine"),
        ([403], r"the metadata server returned no token \(HTTP 403\)"),
        ([503, 503], "the metadata server responded with HTTP 503; this is usually temporary"),
    ],
)
def test_a_metadata_server_that_refuses(faults: list[int], message: str, metadata_server: Identity) -> None:
    """A refusal of the metadata server is reported with its status and meaning."""
    metadata_server.faults(*faults)
    with pytest.raises(TaskRunnerUnavailable, match=message):
        fetch_id_token(AUDIENCE)


def test_one_error_of_the_metadata_server_is_not_noticed(metadata_server: Identity) -> None:
    """The metadata server is asked a second time after an error."""
    metadata_server.faults(503)
    assert fetch_id_token(AUDIENCE).identity == "functions@atom-local.iam.gserviceaccount.com"


def test_a_key_that_was_disabled(identity: Identity, credentials: Path) -> None:
    """A disabled key is reported with the endpoint's words and the account."""
    identity.file(credentials.parent, "_key").rename(credentials)
    identity.read("/_key")  # Disables the former one.
    message = r"the key of deployer@\S+: invalid_grant: Invalid JWT Signature.*deleted or disabled.*clock"
    with pytest.raises(TaskRunnerUnavailable, match=message):
        fetch_id_token(AUDIENCE)


def test_a_token_endpoint_that_cannot_be_reached(identity: Identity, credentials: Path) -> None:
    """A token endpoint that cannot be reached is an outage."""
    key = identity.read("/_key") | {"token_uri": "http://127.0.0.1:9/token"}
    credentials.write_text(json.dumps(key))
    with pytest.raises(TaskRunnerUnavailable, match="the token endpoint"):
        fetch_id_token(AUDIENCE)


def test_an_account_that_may_not_be_impersonated(identity: Identity, credentials: Path) -> None:
    """A missing right to impersonate is reported with role and account."""
    document = identity.read("/_impersonation")
    url = document["service_account_impersonation_url"].replace("invoker@", "stranger@")
    credentials.write_text(json.dumps(document | {"service_account_impersonation_url": url}))
    message = r"no permission to impersonate stranger@\S+.*roles/iam\.serviceAccountTokenCreator on stranger@"
    with pytest.raises(TaskRunnerUnavailable, match=message):
        fetch_id_token(AUDIENCE)


@pytest.mark.parametrize("token", ["Bearer abc", "a\nb", "tökén"])
def test_a_fixed_token_that_no_header_can_carry(token: str) -> None:
    """A token that no header can carry is refused without quoting it."""
    with pytest.raises(CredentialUnusable, match="just the token, without `Bearer`") as caught:
        FixedToken(token).token_for(AUDIENCE)
    assert token not in str(caught.value)
