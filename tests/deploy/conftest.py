"""One deployment by the installed gcloud onto the recording API, made once for all tests, and what came of it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from atom_deploy import command_line
from atom_deploy.__main__ import main
from atom_deploy.deployment import Deployment
from atom_deploy.plan import plan_of
from atom_deploy.resources.functions import ALL_FUNCTIONS
from deploy.fake_cloud import PROJECT, Cloud, Request, running_cloud
from deploy.gcloud_here import warm_gcloud
from deploy.remembered import Memory
from support.services import need

RUNNER_URL: Final = "https://runner.example.app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One run of the command line: its exit code, what it printed, and the requests that came of it."""

    code: int
    out: str
    err: str
    requests: Sequence[Request]

    @property
    def changes(self) -> list[Request]:
        """The requests that could change something."""
        return [request for request in self.requests if request.changes]

    def bodies(self, method: str, ending: str) -> list[object]:
        """Return what a method sent to the paths that end so."""
        return [one.body for one in self.requests if one.method == method and one.path.endswith(ending)]


@dataclass(slots=True, kw_only=True)
class Site:
    """The recording API, and the installed gcloud, which takes it for Google Cloud."""

    cloud: Cloud
    token_file: Path
    environment: Mapping[str, str]

    @property
    def options(self) -> list[str]:
        """Everything that a deployment can have."""
        return [
            *("--project", PROJECT, "--task-runner-url", RUNNER_URL, "--task-runner-service", "runner"),
            *("--token-file", str(self.token_file), "--alert-channel", "projects/p/notificationChannels/1"),
            *("--alert-email", "team@example.org"),
        ]

    def run(self, *arguments: str) -> Pass:
        """Run the command line."""
        before, out, err = len(self.cloud.requests), io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            code = main(arguments)
        made = Pass(code=code, out=out.getvalue(), err=err.getvalue(), requests=self.cloud.requests[before:])
        assert "Traceback" not in made.err, made.err
        assert "gcloud crashed" not in made.err, made.err
        return made


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield an empty project."""
    need("gcloud")
    folder = tmp_path_factory.mktemp("deploy")
    token = folder / "jwt"
    token.write_text("header.payload.signature")
    with running_cloud() as cloud:
        environment = cloud.environment(folder)
        with warm_gcloud(folder, environment, _warm_ups()) as programs:
            cloud.requests.clear()
            environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
            yield Site(cloud=cloud, token_file=token, environment=environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRunner:
    """A deployment with a Task Runner of its own, made twice in an empty project, and what there was then."""

    first: Pass
    second: Pass
    memory: Memory
    enabled: set[str]
    removal: Pass


OWN: Final = (
    "--project",
    PROJECT,
    "--region",
    "us-central1",
    "--runner-images",
    "docker.io/acme/",
    "--runner-spot",
    "--alerts",
)


@pytest.fixture(scope="package")
def own_runner(site: Site) -> OwnRunner:
    """Deploy twice without a Task Runner's URL, and remove it again."""
    cloud = site.cloud
    before = cloud.memory, cloud.enabled
    cloud.memory, cloud.enabled = Memory(), set()
    try:
        first, second = site.run("deploy", *OWN), site.run("deploy", *OWN)
        there = deepcopy(cloud.memory.resources), deepcopy(cloud.memory.policies)
        enabled = set(cloud.enabled)
        removal = site.run("destroy", "--project", PROJECT, "--region", "us-central1")
    finally:
        cloud.memory, cloud.enabled = before
    memory = Memory()
    memory.resources, memory.policies = there
    return OwnRunner(first=first, second=second, memory=memory, enabled=enabled, removal=removal)


@pytest.fixture
def empty_site(site: Site) -> Iterator[Site]:
    """Another empty project, for one test."""
    cloud = site.cloud
    before = cloud.memory, cloud.enabled
    cloud.memory, cloud.enabled = Memory(), set()
    yield site
    cloud.memory, cloud.enabled = before


def _warm_ups() -> list[list[str]]:
    """Return every look of the plan.

    What these commands import is then there before the first of them is run.
    """
    plan = plan_of(deployment(), staged=Path("STAGED"), digests=dict.fromkeys(ALL_FUNCTIONS, ""), all_options=True)
    looks = dict.fromkeys(resource.look for stage in plan for resource in stage)
    return [[*look, f"--project={PROJECT}", "--format=json", "--quiet"] for look in looks]


def deployment(*options: str) -> Deployment:
    """Return the deployment that some options describe."""
    required = ["deploy", "--project", PROJECT, "--task-runner-url", RUNNER_URL]
    return command_line.deployment(command_line.parser().parse_args([*required, *options]))


@pytest.fixture(scope="package")
def first(site: Site) -> Pass:
    """Deploy to an empty project."""
    return site.run("deploy", *site.options)


@pytest.fixture(scope="package")
def second(site: Site, first: Pass) -> Pass:
    """Deploy the same again."""
    return site.run("deploy", *site.options)
