"""The platform's bucket as its users see it: Google's tools and other clients upload, and runs begin."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests
from google.cloud.firestore_v1.base_query import FieldFilter

from atom_client.cli.local_up import recipes
from e2e.site import Site
from support.deadline import eventually

LONGEST_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The site's bucket. `folder` is where the tools are started, and their home."""

    site: Site
    folder: Path

    @property
    def name(self) -> str:
        """The bucket's name."""
        storage = self.site.platform.storage
        assert storage is not None, self.site.platform.storage_missing
        return storage.bucket

    def path(self, name: str) -> str:
        """Return the object's path as a run's source names it."""
        return f"gs://{self.name}/{name}"

    def put(self, name: str, content: str) -> str:
        """Upload an object without any tool, and answer its generation."""
        query = f"uploadType=media&name={quote(name, safe='')}"
        answer = requests.post(f"{self._url('/upload')}?{query}", data=content.encode(), timeout=60)
        answer.raise_for_status()
        return str(answer.json()["generation"])

    def remove(self, name: str) -> None:
        """Delete an object."""
        requests.delete(f"{self._url('')}/{quote(name, safe='')}", timeout=60).raise_for_status()

    def notify(self, name: str, generation: str) -> None:
        """Publish what Cloud Storage does when an object has been uploaded."""
        named = {"bucketId": self.name, "objectId": name, "objectGeneration": generation}
        self.site.publish("start", b"{}", eventType="OBJECT_FINALIZE", payloadFormat="JSON_API_V1", **named)

    def paste(self, command: str, file: str, content: str) -> None:
        """Run a command with that file for FILE.yaml."""
        (self.folder / file).write_text(content)
        run_shell(command.replace("FILE.yaml", shlex.quote(file)), self.folder)

    def tool(self, recipe: str, file: str, content: str) -> None:
        """Upload or start with one of the commands that `local up` prints."""
        command = next(each.command for each in recipes(self.site.platform) if each.name == recipe)
        self.paste(command, file, content)

    def runs(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the documents of the object's runs, by id."""
        at = FieldFilter("source.path", "==", self.path(name))
        found = self.site.database.collection("runs").where(filter=at)
        return {one.id: one.to_dict() for one in found.stream(retry=None, timeout=60)}

    def new_run(self, name: str, known: Mapping[str, Any], *, within_s: float = 60) -> str:
        """Return the id of the object's run that is not known yet."""
        new = eventually(
            lambda: self.runs(name).keys() - known.keys(), within_s=within_s, what=f"a run of {name}", every_s=0.005
        )
        (run_id,) = new
        return run_id

    def _url(self, prefix: str) -> str:
        return f"{self.site.environment['STORAGE_EMULATOR_HOST']}{prefix}/storage/v1/b/{self.name}/o"


def run_shell(command: str, home: Path) -> None:
    """Run a command without settings."""
    environment = {**os.environ, "CLOUDSDK_CONFIG": str(home / "gcloud"), "HOME": str(home)}
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
