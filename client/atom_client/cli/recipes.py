"""Commands to paste: how Google's own tools start a run on the local platform."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform
    from atom_emulator.platform.storage import Storage

_FILE = "FILE.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A command line for a shell; `FILE.yaml` in it stands for the user's file."""

    name: str
    purpose: str
    command: str


def recipes(platform: LocalPlatform) -> list[Recipe]:
    """Every way that this platform offers."""
    storage = platform.storage
    bucket = "BUCKET" if storage is None else storage.bucket
    publish = Recipe(
        name="publish",
        purpose="Start a run of an object in a bucket",
        command=_publish(platform.pubsub_url, platform.options.project, f"gs://{bucket}/workflows/{_FILE}"),
    )
    return [publish] if storage is None else [*_uploads(storage), publish]


def _uploads(storage: Storage) -> list[Recipe]:
    target = f"gs://{storage.bucket}/workflows/"
    return [
        Recipe(name="gsutil", purpose="Start a run by an upload", command=_gsutil(storage, target)),
        Recipe(name="gcloud-storage", purpose="The same with gcloud", command=_gcloud_storage(storage, target)),
    ]


def _gsutil(storage: Storage, target: str) -> str:
    """It speaks HTTPS alone, and the platform's certificate is nobody's; its own credentials stay at home."""
    address, port = storage.address.rsplit(":", 1)[0], storage.https_port
    options = (
        f"Credentials:gs_json_host={address}",
        f"Credentials:gs_json_port={port}",
        "Boto:https_validate_certificates=False",
    )
    flags = " ".join(f"-o {option}" for option in options)
    quiet = "BOTO_CONFIG=/dev/null CLOUDSDK_CORE_PASS_CREDENTIALS_TO_GSUTIL=false"
    return f"{quiet} gsutil {flags} cp {_FILE} {target}"


def _gcloud_storage(storage: Storage, target: str) -> str:
    return f"{_gcloud_at('STORAGE', f'{storage.url}/storage/v1/')} storage cp {_FILE} {target}"


def _publish(url: str, project: str, path: str) -> str:
    message = shlex.quote(json.dumps({"workflow_path": path}))
    return f"{_gcloud_at('PUBSUB', f'{url}/')} pubsub topics publish start --project={project} --message={message}"


def _gcloud_at(api: str, url: str) -> str:
    return f"CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}={url} gcloud"
