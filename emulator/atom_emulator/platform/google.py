"""Find Google's own Firestore and Pub/Sub emulators, and start their jars.

The jars are run by `java` itself. `gcloud emulators … start` would add a wrapper that leaves the server running when
the wrapper itself is ended.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from atom_emulator.platform.errors import EmulatorsMissing
from atom_emulator.platform.network import HOST, accepts_connections
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_emulator.platform.servers import Server

SYSTEM_SDK: Final = Path("/usr/lib/google-cloud-sdk")
"""Where Google's Debian and RPM packages install the SDK."""

_JARS: Final[Mapping[PartName, str]] = MappingProxyType(
    {
        PartName.FIRESTORE: "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar",
        PartName.PUBSUB: "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar",
    }
)
"""The paths of the jars in the SDK; one file name contains the version."""

_FIRESTORE_MAIN: Final = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"

_JAVA_FLAGS: Final = (
    # The Firestore emulator works only with English messages; its own start script sets this language, too.
    "-Duser.language=en",
    # The emulators run for minutes, so a quick start and low memory use matter more than peak speed.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """Java and the emulators that were found on this machine."""

    java: Path
    jars: Mapping[PartName, Path]

    def server(self, name: PartName, port: int) -> Server:
        """Describe how to start one of the emulators.

        The emulator is ready once it accepts connections.
        """
        jar = str(self.jars[name])
        where = (f"--host={HOST}", f"--port={port}")
        run = ("-cp", jar, _FIRESTORE_MAIN, "start") if name is PartName.FIRESTORE else ("-jar", jar)
        address = f"{HOST}:{port}"
        return Server(
            name=name,
            command=[str(self.java), *_JAVA_FLAGS, *run, *where],
            address=lambda: address if accepts_connections(address) else None,
        )


def find_installed(names: Sequence[PartName], environment: Mapping[str, str] = os.environ) -> Installed:
    """Find Java and these emulators.

    Raises `EmulatorsMissing`, which names everything that is missing.
    """
    java = _find_java(environment)
    jars: dict[PartName, Path] = {}
    for name in names:
        found = (jar for sdk in _find_sdks(environment) for jar in sorted(sdk.glob(_JARS[name])))
        if jar := next(found, None):
            jars[name] = jar
    if java is None or len(jars) < len(names):
        raise EmulatorsMissing(java=java is None, emulators=[name for name in names if name not in jars])
    return Installed(java=java, jars=jars)


def use_running_emulators(options: PlatformOptions, environment: Mapping[str, str] = os.environ) -> PlatformOptions:
    """Use the emulators that the environment names, if Google's are requested.

    Their data stays untouched: unless a project was chosen, the platform then uses a new one.
    """
    if options.emulators != "google":
        return options
    firestore = options.firestore_address or environment.get("FIRESTORE_EMULATOR_HOST") or None
    pubsub = options.pubsub_address or environment.get("PUBSUB_EMULATOR_HOST") or None
    project = options.project
    if (firestore or pubsub) and project == PlatformOptions().project:
        project = f"{project}-{uuid.uuid4().hex[:8]}"
    return replace(options, firestore_address=firestore, pubsub_address=pubsub, project=project)


def _find_java(environment: Mapping[str, str]) -> Path | None:
    home = environment.get("JAVA_HOME")
    of_home = Path(home, "bin", "java") if home else None
    if of_home is not None and os.access(of_home, os.X_OK):
        return of_home
    found = shutil.which("java", path=environment.get("PATH"))
    return Path(found) if found else None


def _find_sdks(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders in which the Google Cloud SDK may be installed.

    `gcloud info` would print the folder, but takes seconds.
    """
    root = environment.get("CLOUDSDK_ROOT_DIR")
    if root:
        yield Path(root)
    gcloud = shutil.which("gcloud", path=environment.get("PATH"))
    if gcloud:
        yield Path(gcloud).resolve().parents[1]
    yield SYSTEM_SDK
    yield Path.home() / "google-cloud-sdk"
