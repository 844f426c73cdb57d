"""How gcloud's answers are understood: what is missing, what only needs time, and what to do about the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from atom_deploy.apply import Application, Outcome, run_side_by_side
from atom_deploy.deployment import Deployment
from atom_deploy.gcloud import PATIENCE_S, InstalledGcloud
from atom_deploy.problems import CommandFailed, DeployProblem, Missing, NotLoggedIn
from atom_deploy.resources.pubsub import topics
from support.deadline import eventually

ROOT: Final = Path(__file__).parents[2]
REFUSED: Final = (
    "ERROR: (gcloud.projects.describe) [me@example.org] does not have permission to access projects instance "
    "[my-project] (or it may not exist): The caller does not have permission. This command is authenticated as "
    "me@example.org which is the active account specified by the [core/account] property"
)
NO_ACCOUNT: Final = (
    "ERROR: (gcloud) You do not currently have an active account selected.\nPlease run:\n\n  $ gcloud auth login\n\n"
    "to obtain new credentials.\n\nIf you have already logged in with a different account, run:\n\n"
    "  $ gcloud config set account ACCOUNT"
)
LATE: Final = "ERROR: (gcloud.projects.add-iam-policy-binding) INVALID_ARGUMENT: Service account a@b does not exist."


NEW: Final = """
ERROR: (gcloud.functions.deploy) OperationError: code=3, message=Build failed with status: FAILURE. Access to bucket \
gcf-v2-sources-1-us-central1 denied. You must grant Storage Object Viewer permission to atom-build@p.example.
ERROR: (gcloud.functions.deploy) status=[404], message=[Service account atom-build@p.example was not found.]
ERROR: (gcloud.functions.deploy) HTTPError 404: Service account atom-start@p was not found; it needs actAs.
ERROR: (gcloud.functions.deploy) Permission 'iam.serviceaccounts.actAs' denied on service account a@b.
ERROR: denied: Permission "artifactregistry.repositories.uploadArtifacts" denied on resource (or it may not exist)
ERROR: (gcloud.functions.deploy) Permission denied on secret: projects/1/secrets/t/versions/latest for Revision \
service account atom-checker@p.example. The service account used must be granted the role.
ERROR: (gcloud.storage.buckets.notifications.create) HTTPError 403: The service account 'service-1@gs.example' does \
not have permission to publish messages to the topic.
ERROR: The service account running this build does not have permission to write logs to Cloud Logging.
ERROR: (gcloud.projects.add-iam-policy-binding) Service account a@b does not exist.
ERROR: (gcloud.pubsub.topics.add-iam-policy-binding) There were concurrent policy changes. Please retry.
"""
"""What other services answer, one a line, until they have heard of a new account, a new grant or a new agent."""

FULL: Final = """
ERROR: (gcloud.functions.deploy) UNAVAILABLE: spec.template: Max instances must be set to 5 or fewer to set the \
requested total CPU. Quota violated: CpuAllocPerProjectRegion requested: 20000 allowed: 5000
ERROR: Could not create Cloud Run service. For the specified value, maxScale may not exceed 10. Your project may gain \
access to further scaling by adding billing information to your account.
ERROR: (gcloud.functions.deploy) RESOURCE_EXHAUSTED: You may not have more than 32 total max instances in your project.
"""
"""What a region says, one a line, that has no room for so many instances."""


class Clock:
    """Remember for how long a program slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    @property
    def now(self) -> float:
        """Seconds slept so far."""
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)


def gcloud(folder: Path, clock: Clock, *answers: tuple[int, str, str]) -> InstalledGcloud:
    """Make a program that notes its arguments and gives these answers.

    An answer is code, stdout and stderr. The last one is given for ever.
    """
    for number, (code, out, err) in enumerate(answers):
        (folder / f"{number}.out").write_text(out)
        (folder / f"{number}.err").write_text(err)
        (folder / f"{number}.code").write_text(str(code))
    program = folder / "gcloud"
    program.write_text(
        f'#!/bin/sh\ncd {folder}\necho "$@" >> asked\nn=$(($(wc -l < asked) - 1))\n'
        f"[ $n -lt {len(answers)} ] || n={len(answers) - 1}\n"
        "cat $n.out; cat $n.err >&2; exit $(cat $n.code)\n"
    )
    program.chmod(0o755)
    return InstalledGcloud("my-project", program=str(program), sleep=clock.sleep)


def test_an_answer_is_json(tmp_path: Path) -> None:
    """Every command names project and format, and runs without prompts."""
    assert gcloud(tmp_path, Clock(), (0, '[{"name": "t"}]', "")).look(("pubsub", "topics", "list")) == [{"name": "t"}]
    asked = (tmp_path / "asked").read_text()
    assert asked == "pubsub topics list --project=my-project --format=json --quiet\n"


@pytest.mark.parametrize(
    "output",
    [
        "ERROR: (gcloud.pubsub.topics.describe) NOT_FOUND: Resource not found (resource=t).",
        "ERROR: (gcloud.storage.buckets.describe) gs://b not found: 404.",
        "ERROR: (gcloud.x) PERMISSION_DENIED: Cloud Scheduler API has not been used in project p before.",
        "ERROR: (gcloud.run.services.get-iam-policy) Cannot find service [s]",
    ],
)
def test_a_missing_resource_is_reported_at_once(tmp_path: Path, output: str) -> None:
    """A look at a missing resource is not repeated."""
    clock = Clock()
    with pytest.raises(Missing):
        gcloud(tmp_path, clock, (1, "", output)).look(("describe", "it"))
    assert clock.slept == []


def test_what_needs_time_is_repeated(tmp_path: Path) -> None:
    """A service account that is not known everywhere yet is waited for."""
    clock = Clock()
    gcloud(tmp_path, clock, (1, "", LATE), (1, "", LATE), (0, "", "")).change(("add", "binding"))
    assert clock.slept == [5.0, 10.0]


@pytest.mark.parametrize("output", NEW.strip().splitlines())
def test_what_is_too_new_is_waited_for(tmp_path: Path, output: str) -> None:
    """A change that met a new account or grant is repeated."""
    clock = Clock()
    gcloud(tmp_path, clock, (1, "", output), (0, "", "")).change(("functions", "deploy", "atom-start"))
    assert clock.slept == [5.0]


@pytest.mark.parametrize("output", FULL.strip().splitlines())
def test_a_full_region_is_reported_at_once(tmp_path: Path, output: str) -> None:
    """A full region is reported at once, with the option for fewer instances."""
    clock = Clock()
    with pytest.raises(CommandFailed, match=r"OPTIONS='--max-instances=N'"):
        gcloud(tmp_path, clock, (1, "", output)).change(("functions", "deploy", "atom-start"))
    assert clock.slept == []


def test_waiting_is_reported(tmp_path: Path) -> None:
    """A wait of minutes is explained once a command."""
    clock = Clock()
    output: list[str] = []
    gcloud(tmp_path, clock, (1, "", LATE), (1, "", LATE), (0, "", ""))
    program = InstalledGcloud("p", program=str(tmp_path / "gcloud"), sleep=clock.sleep, report=output.append)
    program.change(("add", "binding"))
    assert output == [f"      ...  waiting, as this may only need time: {LATE}"]


def test_waiting_ends_after_ten_minutes(tmp_path: Path) -> None:
    """After ten minutes of waiting the failure is reported with gcloud's words.

    Only pauses are counted, whatever time the commands themselves take: a build that fails late may be tried again.
    """
    clock = Clock()
    with pytest.raises(CommandFailed, match=r"gcloud add binding(?s:.*)Service account a@b does not exist"):
        gcloud(tmp_path, clock, (1, "", LATE)).change(("add", "binding"))
    assert PATIENCE_S - 60 < clock.now <= PATIENCE_S


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: FAILED_PRECONDITION: Billing account for project '1' is not found.", "link a billing account"),
        ("ERROR: PERMISSION_DENIED: caller does not have permission", "docs/how-to/deploy.md lists the roles"),
        ("ERROR: (gcloud.storage) HTTPError 400: The specified location constraint is not valid.", "check REGION"),
        ("ERROR: NOT_FOUND: Location 'europe-west99' is not found or access is unauthorized.", "check REGION"),
        ("ERROR: PERMISSION_DENIED: Location europe-west99 is not found or access is unauthorized.", "check REGION"),
        ("ERROR: INVALID_ARGUMENT: Invalid location: europe-west99", "check REGION"),
        (REFUSED, "check the project's id .* and the roles of the account"),
    ],
)
def test_a_problem_comes_with_what_to_do(tmp_path: Path, output: str, advice: str) -> None:
    """A known problem fails at once with advice."""
    clock = Clock()
    with pytest.raises(CommandFailed, match=advice):
        gcloud(tmp_path, clock, (1, "", output)).change(("services", "enable", "x"))
    assert clock.slept == []


@pytest.mark.parametrize(
    "output",
    [
        NO_ACCOUNT,
        "ERROR: Reauthentication failed. cannot prompt during non-interactive execution.",
        "ERROR: There was a problem refreshing your current auth tokens: ('invalid_grant: Bad Request')",
        "ERROR: (gcloud.x) Your current active account [me@example.org] does not have any valid credentials",
    ],
)
def test_a_missing_login_is_reported_first(tmp_path: Path, output: str) -> None:
    """A missing login is reported in a sentence, then by gcloud's words."""
    with pytest.raises(NotLoggedIn) as problem:
        gcloud(tmp_path, Clock(), (1, "", output)).look(("projects", "describe", "my-project"))
    first, *others = str(problem.value).splitlines()
    assert first.startswith("gcloud is not logged in: run `gcloud auth login`, then run the same command again")
    assert 1 <= len(others) <= 3
    assert all(line.startswith("  ") for line in others)
    assert output.splitlines()[0] in others[0]


def test_a_place_in_a_name_is_no_wrong_region(tmp_path: Path) -> None:
    """A resource that is missing in an existing region is no wrong region."""
    output = "ERROR: NOT_FOUND: Resource 'projects/p/locations/us-central1/functions/atom-start' was not found"
    with pytest.raises(Missing) as problem:
        gcloud(tmp_path, Clock(), (1, "", output)).change(("functions", "delete", "atom-start"))
    assert "REGION" not in str(problem.value)


def test_a_network_that_fails_is_no_failed_login(tmp_path: Path) -> None:
    """A token that cannot be refreshed because nothing answers is tried again."""
    clock, broken = Clock(), "ERROR: There was a problem refreshing your current auth tokens: Connection refused"
    gcloud(tmp_path, clock, (1, "", broken), (0, "", "")).look(("projects", "describe", "my-project"))
    assert clock.slept == [5.0]


def test_a_refusal_suggests_no_login(tmp_path: Path) -> None:
    """A refusal does not suggest to log in again."""
    with pytest.raises(CommandFailed) as problem:
        gcloud(tmp_path, Clock(), (1, "", REFUSED)).look(("projects", "describe", "my-project"))
    assert "auth login" not in str(problem.value)


def deployed(program: InstalledGcloud) -> Application:
    """Deploy one topic by that program."""
    wanted = Deployment(project="my-project", region="us-central1", task_runner_url="https://runner")
    application = Application(gcloud=program, project=wanted.project, report=lambda _: None)
    application.carry_out([topics(wanted, with_runner=False)[:1]])
    return application


def test_a_second_deployment_at_the_same_time_does_no_harm(tmp_path: Path) -> None:
    """A resource that someone else has just made counts as made."""
    there = '[{"name": "projects/my-project/topics/atom-start"}]'
    answers = (0, "[]", ""), (1, "", "ERROR: (gcloud) ALREADY_EXISTS: Resource already exists"), (0, there, "")
    assert deployed(gcloud(tmp_path, Clock(), *answers)).outcomes[Outcome.CREATED] == 1


def test_a_name_that_someone_else_has_is_reported(tmp_path: Path) -> None:
    """A resource that exists but cannot be seen here is a problem."""
    answers = (0, "[]", ""), (1, "", "ERROR: (gcloud) HTTPError 409: The name is not available."), (0, "[]", "")
    with pytest.raises(CommandFailed, match="The name is not available"):
        deployed(gcloud(tmp_path, Clock(), *answers))


def test_after_a_failure_nothing_more_is_begun() -> None:
    """After a failure no waiting call is begun."""
    made: list[int] = []
    released = threading.Event()

    def fail() -> None:
        raise DeployProblem("it failed")

    def last_one_begun() -> None:
        released.wait(30)

    calls: list[Callable[[], None]] = [fail, last_one_begun, *(partial(made.append, number) for number in range(5))]
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(DeployProblem, match="it failed"):
            run_side_by_side(pool, calls)
        released.set()
    assert made == []


def test_an_interrupted_deployment_waits_for_nothing(tmp_path: Path) -> None:
    """After an interrupt, no command that waits is tried again."""
    clock = Clock()
    program = gcloud(tmp_path, clock, (1, "", LATE))
    program.stop()
    with pytest.raises(CommandFailed):
        program.change(("add", "binding"))
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_ctrl_c_ends_it_in_a_line(tmp_path: Path) -> None:
    """Ctrl-C ends with exit code 130, without a traceback or process left."""
    (tmp_path / "gcloud").write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep 60\n")
    (tmp_path / "gcloud").chmod(0o755)
    command = [
        sys.executable,
        "-m",
        "atom_deploy",
        "deploy",
        "--project",
        "my-project",
        "--task-runner-url",
        "https://r",
    ]
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}/deploy:{ROOT}/shared"}
    with subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        eventually((tmp_path / "begun").exists, within_s=60, what="the first command")
        os.killpg(process.pid, signal.SIGINT)
        _, output = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output == "interrupted; run the same command again to continue (deploy)\n"


def test_without_gcloud_nothing_is_begun() -> None:
    """A missing gcloud is reported with the address to get it from."""
    with pytest.raises(DeployProblem, match="gcloud is not installed; see https://"):
        InstalledGcloud("my-project", program="no-such-gcloud")
