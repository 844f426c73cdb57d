"""Google's own emulators as parts of the platform, and as servers that were running before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, pubsub_v1

from atom_emulator.platform.errors import EmulatorsMissing, EmulatorUnreachable
from atom_emulator.platform.google import find_installed, use_running_emulators
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from support.services import need
from unit.emulator.platform.processes import family, gone, until

STUBS = Path(__file__).parent / "stub_functions"
BOTH = (PartName.FIRESTORE, PartName.PUBSUB)


def fake_sdk(folder: Path) -> Path:
    """Lay out the part of an SDK that is looked for."""
    for jar in (
        "cloud-firestore-emulator/cloud-firestore-emulator.jar",
        "pubsub-emulator/lib/cloud-pubsub-emulator-9-all.jar",
    ):
        path = folder / "platform" / jar
        path.parent.mkdir(parents=True)
        path.touch()
    return folder


def program(path: Path) -> Path:
    """Write a program that does nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_sdk_of_the_gcloud_on_the_path_is_found(tmp_path: Path) -> None:
    """The SDK is found from `gcloud` on the path, also through a link."""
    sdk = fake_sdk(tmp_path / "sdk")
    gcloud = program(sdk / "bin" / "gcloud")
    java = program(tmp_path / "bin" / "java")
    (tmp_path / "bin" / "gcloud").symlink_to(gcloud)
    installed = find_installed(BOTH, {"PATH": str(tmp_path / "bin")})
    assert installed.java == java
    assert {name: jar.is_relative_to(sdk) for name, jar in installed.jars.items()} == dict.fromkeys(BOTH, True)


def test_the_places_that_the_environment_names_come_first(tmp_path: Path) -> None:
    """`JAVA_HOME` and `CLOUDSDK_ROOT_DIR` count more than the path."""
    sdk = fake_sdk(tmp_path / "sdk")
    java = program(tmp_path / "jdk" / "bin" / "java")
    environment = {**os.environ, "CLOUDSDK_ROOT_DIR": str(sdk), "JAVA_HOME": str(tmp_path / "jdk")}
    installed = find_installed(BOTH, environment)
    assert installed.java == java
    assert installed.jars[PartName.FIRESTORE].is_relative_to(sdk)


def test_all_that_is_missing_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error names Java and each emulator, and what to install."""
    monkeypatch.setattr("atom_emulator.platform.google.SYSTEM_SDK", tmp_path / "none")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(EmulatorsMissing) as caught:
        find_installed(BOTH, {"PATH": str(tmp_path)})
    for word in ("Java", "default-jre-headless", "google-cloud-cli-pubsub-emulator"):
        assert word in str(caught.value)
    assert "gcloud components install cloud-firestore-emulator pubsub-emulator" in str(caught.value)


def test_emulators_of_the_environment_are_used_in_a_project_of_their_own() -> None:
    """Running emulators are used in a new project unless one is chosen."""
    environment = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1"}
    first, second = (use_running_emulators(PlatformOptions(emulators="google"), environment) for _ in range(2))
    assert (first.firestore_address, first.pubsub_address) == ("127.0.0.1:1", None)
    assert len({first.project, second.project, PlatformOptions().project}) == 3
    chosen = use_running_emulators(PlatformOptions(emulators="google", project="mine"), environment)
    assert chosen.project == "mine"
    assert use_running_emulators(PlatformOptions(), environment) == PlatformOptions()


def test_an_emulator_that_does_not_run_is_named(tmp_path: Path) -> None:
    """An address where no emulator runs ends the start."""
    options = PlatformOptions(functions_dir=STUBS, log_dir=tmp_path, pubsub_address="127.0.0.1:1", bucket=None)
    with pytest.raises(EmulatorUnreachable, match=r"127\.0\.0\.1:1, where the pubsub emulator"):
        LocalPlatform(options).__enter__()


def test_a_second_platform_on_running_emulators_sees_nothing_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second platform has its own project and leaves no subscription behind."""
    need("google emulators")
    google = PlatformOptions(emulators="google", functions_dir=STUBS, log_dir=tmp_path / "a", tick_every_s=0.05)
    with LocalPlatform(google) as first:
        environment = {name: first.environment[name] for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST")}
        for name, address in environment.items():
            monkeypatch.setenv(name, address)
        other = PlatformOptions(emulators="google", functions_dir=STUBS, log_dir=tmp_path / "b", tick_every_s=0.05)
        with LocalPlatform(use_running_emulators(other, environment)) as second:
            project = second.options.project
            for platform, value in ((first, 1), (second, 2)):
                client = firestore.Client(project=platform.options.project, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]  # google-auth is partly typed
                client.document("runs/same").create({"of": value}, timeout=20)
                assert client.document("runs/same").get().get("of") == value
                client.close()  # type: ignore[no-untyped-call]  # likewise
            until((second.log_dir / "checker.log").read_text, within_s=60)
            assert not (second.log_dir / "firestore.log").exists()
        with pubsub_v1.SubscriberClient() as subscriber, pytest.raises(NotFound):
            subscriber.get_subscription(subscription=f"projects/{project}/subscriptions/tick", timeout=20)
        until((first.log_dir / "checker.log").read_text, within_s=60)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the platform's command line on Google's emulators, ready."""
    need("google emulators")
    command = [sys.executable, "-m", "atom_emulator.platform", "--emulators", "google"]
    command += ["--functions-dir", str(STUBS), "--log-dir", str(tmp_path / "logs")]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_EMULATOR_HOST")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        until(lambda: "# logs:" in str(process.stdout and process.stdout.readline()), within_s=40)
        yield process
        process.kill()


def test_no_java_outlives_the_platform(served: subprocess.Popen[str]) -> None:
    """Google's emulators end even if the platform is killed."""
    processes = family(served.pid)
    assert sum(process.name() == "java" for process in processes) == 2
    served.send_signal(signal.SIGKILL)
    served.wait(60)
    until(lambda: gone(processes), within_s=60)
