"""The platform's Cloud Storage: the start function is notified of uploads, by whichever tool they are made."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import requests

from atom_client.cli.local_up import recipes
from atom_emulator.platform.errors import PlatformError, StorageMissing
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_emulator.platform.storage import find_program
from atom_workflows.adapters.storage.source import StorageSource
from support.services import Service, need
from unit.emulator.platform.processes import until

STUBS = Path(__file__).parent / "stub_functions"


def options(folder: Path, **changed: Any) -> PlatformOptions:
    """Build the options of a platform with stub functions and a bucket."""
    defaults: dict[str, Any] = {"functions_dir": STUBS, "log_dir": folder, "bucket": "uploads"}
    return PlatformOptions(**defaults | changed)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Run a platform for all the tests of this file."""
    need("storage")
    with LocalPlatform(options(tmp_path_factory.mktemp("logs"))) as platform:
        yield platform


def started(platform: LocalPlatform) -> list[dict[str, Any]]:
    """List the bodies of the messages that reached the start function."""
    lines = (platform.log_dir / "start.log").read_text().splitlines()
    return [json.loads(line)["body"] for line in lines]


def notified(platform: LocalPlatform, name: str) -> list[dict[str, Any]]:
    """List the notifications of that object."""
    return [body for body in started(platform) if body.get("name") == name]


def generations(platform: LocalPlatform, name: str) -> set[str]:
    """Return the generations of that object that were notified; each is notified again once it is overwritten."""
    return {body["generation"] for body in notified(platform, name)}


def upload(platform: LocalPlatform, name: str, content: bytes) -> str:
    """Upload an object and answer its generation."""
    url = f"{platform.environment['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/uploads/o?uploadType=media"
    answer = requests.post(f"{url}&name={quote(name, safe='')}", data=content, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["generation"])


def publish(platform: LocalPlatform, topic: str, body: object) -> requests.Response:
    """Publish by REST."""
    path = f"v1/projects/{platform.options.project}/topics/{topic}:publish"
    return requests.post(f"{platform.pubsub_url}/{path}", json=body, timeout=60)


def test_each_upload_below_the_prefix_is_notified_once(platform: LocalPlatform) -> None:
    """Each upload below the prefix has one notification, with its generation."""
    upload(platform, "elsewhere/a.yaml", b"a")
    old, new = (upload(platform, "workflows/a.yaml", content) for content in (b"a", b"b"))
    # The old generation is notified again, as it was overwritten.
    until(lambda: len(notified(platform, "workflows/a.yaml")) == 3)
    assert sorted(body["generation"] for body in notified(platform, "workflows/a.yaml")) == sorted([old, old, new])
    assert notified(platform, "workflows/a.yaml")[0]["bucket"] == "uploads"
    assert not notified(platform, "elsewhere/a.yaml")


def test_the_pinned_generation_is_read(platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions read the generation of the notification."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", platform.environment["STORAGE_EMULATOR_HOST"])
    generation = upload(platform, "workflows/sub folder/ü.yaml", b"name: x")
    assert StorageSource().read("gs://uploads/workflows/sub folder/ü.yaml", generation) == (b"name: x", generation)


@pytest.mark.parametrize("tool", ["gsutil", "gcloud-storage"])
def test_googles_own_tools_upload(platform: LocalPlatform, tool: str, tmp_path: Path) -> None:
    """The commands that `local up` prints work as printed."""
    need(_service(tool))
    (tmp_path / "FILE.yaml").write_text("name: x")
    before = len(generations(platform, "workflows/FILE.yaml"))
    for uploads in (1, 2):
        run(platform, tool, tmp_path)
        expected = before + uploads
        until(lambda: len(generations(platform, "workflows/FILE.yaml")) == expected, within_s=60)  # noqa: B023 (now)


def test_a_deletion_is_answered_as_cloud_storage_answers_it(platform: LocalPlatform) -> None:
    """A deletion has no body, an object that does not exist is missing, and the function is notified."""
    upload(platform, "workflows/gone.yaml", b"name: x")
    url = f"{platform.environment['STORAGE_EMULATOR_HOST']}/storage/v1/b/uploads/o/workflows%2Fgone.yaml"
    answers = [requests.delete(url, timeout=60) for _ in range(2)]
    assert [(answer.status_code, answer.ok) for answer in answers] == [(204, True), (404, False)]
    assert answers[0].content == b""
    until(lambda: len(notified(platform, "workflows/gone.yaml")) == 2)


def test_gcloud_deletes(platform: LocalPlatform, tmp_path: Path) -> None:
    """The printed gcloud command deletes a file and succeeds."""
    need("gcloud")
    upload(platform, "workflows/FILE.yaml", b"name: x")
    run(platform, "delete", tmp_path)


def test_gcloud_publishes(platform: LocalPlatform, tmp_path: Path) -> None:
    """The printed gcloud command publishes a start message."""
    need("gcloud")
    run(platform, "publish", tmp_path)
    until(lambda: {"workflow_path": "gs://uploads/workflows/FILE.yaml"} in started(platform), within_s=60)


def _service(tool: str) -> Service:
    return "gsutil" if tool == "gsutil" else "gcloud"


def run(platform: LocalPlatform, recipe: str, folder: Path) -> None:
    """Paste a command into a shell."""
    command = next(each.command for each in recipes(platform) if each.name == recipe)
    environment = {**os.environ, "CLOUDSDK_CONFIG": str(folder / "gcloud"), "HOME": str(folder)}
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_messages_are_published_by_rest(platform: LocalPlatform) -> None:
    """Publishing by REST answers message ids and reaches the function."""
    data = base64.b64encode(b'{"by": "rest"}').decode()
    answer = publish(platform, "start", {"messages": [{"data": data, "attributes": {"a": "b"}}]})
    assert answer.status_code == 200
    assert len(answer.json()["messageIds"]) == 1
    until(lambda: {"by": "rest"} in started(platform))


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda platform: publish(platform, "start", {"messages": [{"data": "not base64"}]}), 400),
        (lambda platform: publish(platform, "start", []), 400),
        (lambda platform: publish(platform, "nowhere", {"messages": [{"data": ""}]}), 400),
        (lambda platform: publish(platform, "nowhere", {"messages": [{"data": "aGk="}]}), 404),
        (lambda platform: requests.post(f"{platform.pubsub_url}/v1/other", json={}, timeout=60), 501),
        (lambda platform: requests.get(f"{platform.pubsub_url}/v1/projects/p/topics", timeout=60), 501),
    ],
    ids=["data", "shape", "empty", "topic", "method", "verb"],
)
def test_what_cannot_be_published_is_refused(
    platform: LocalPlatform, call: Callable[[LocalPlatform], requests.Response], status: int
) -> None:
    """Bad messages get Pub/Sub's status, and the rest of the REST API 501."""
    assert call(platform).status_code == status


def test_a_bucket_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """An invalid bucket name ends the start."""
    need("storage")
    with pytest.raises(PlatformError, match="bucket UPPER! could not be created"):
        LocalPlatform(options(tmp_path, bucket="UPPER!")).__enter__()


@pytest.mark.parametrize(
    ("found", "said"),
    [(None, "not installed"), (SimpleNamespace(origin="/nowhere/__init__.py"), "no program for")],
    ids=["package", "program"],
)
def test_without_the_server_it_is_said_what_is_missing(
    found: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage server that cannot be started is missing for a reason."""
    monkeypatch.setattr("atom_emulator.platform.storage.find_spec", lambda _: found)
    with pytest.raises(StorageMissing, match=said):
        find_program()


def test_without_the_server_the_platform_has_no_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the storage server the platform starts without a bucket, and says why."""
    monkeypatch.setattr("atom_emulator.platform.storage.find_spec", lambda _: None)
    with LocalPlatform(options(tmp_path)) as platform:
        assert "not installed" in platform.storage_missing
        assert platform.storage is None
        assert "STORAGE_EMULATOR_HOST" not in platform.environment
        assert PartName.STORAGE not in platform.addresses
        assert [shlex.split(recipe.command)[2] for recipe in recipes(platform)] == ["gcloud"]
