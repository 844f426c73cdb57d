"""Options of a deployment: mistakes are named with what would be right, and limits follow from each other."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from atom_client.cost.usage import Assumptions
from atom_deploy import roles
from atom_deploy.__main__ import main
from atom_deploy.plan import plan_of
from atom_deploy.problems import DeployProblem
from atom_deploy.resources import pubsub
from atom_deploy.resources.functions import ALL_FUNCTIONS, FUNCTIONS, functions
from atom_emulator.platform import topology
from atom_workflows.ports import DEAD_LETTERS
from atom_workflows.settings import MAX_DELIVERIES, MAX_HINTS_PER_SECOND
from deploy.conftest import deployment
from support.services import need

ROOT: Final = Path(__file__).parents[2]
ELSEWHERE: Final = "import sys; from deploy.conftest import deployment; print(deployment(*sys.argv[1:]).token_digest)"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--project", "My Project", "PROJECT is 'My Project', but must be a project's id"),
        ("--project", "", "PROJECT is ''"),
        ("--project", "123456789012", "not its name or number"),
        ("--region", "us-central1-a", "REGION is 'us-central1-a', but must be a region"),
        ("--task-runner-url", "runner.a.run.app", "TASK_RUNNER_URL is 'runner.a.run.app', but must be a URL"),
        ("--task-runner-url", "https://me:secret@runner", "must be a URL"),
        ("--task-runner-url", "http://localhost:8080", "TASK_RUNNER_URL is 'http://localhost:8080', which in"),
        ("--task-runner-url", "http://LOCALHOST.", "the function's own machine"),
        ("--task-runner-url", "http://127.1.2.3/x", "give a URL that can be reached from there"),
        ("--task-runner-url", "http://[::1]:8080", "give a URL that can be reached from there"),
        ("--task-runner-url", "http://0.0.0.0:8080", "give a URL that can be reached from there"),
        ("--prefix", "Atom", "--prefix is 'Atom'"),
        ("--prefix", "google", "--prefix is 'google'"),
        ("--prefix", "x" * 19, "at most 18"),
        ("--bucket", "UPPER", "a bucket's name, without gs://"),
        ("--database", "Default", "--database is 'Default'"),
        ("--runtime", "nodejs22", "a runtime of Python"),
        ("--object-prefix", "", "--object-prefix is empty"),
        ("--token-file", "/no/such/file", "--token-file /no/such/file cannot be read"),
        ("--set", "WORKFLOW_BURST_SEC=9000", "WORKFLOW_BURST_SEC"),
        ("--set", "PATH=/", "a setting is WORKFLOW_SOMETHING=VALUE"),
        ("--set", "WORKFLOW_TR_AUTH_JWT=abc", "use --token-file"),
        ("--set", "WORKFLOW_X=a\nWORKFLOW_Y=b", "on one line"),
        ("--set", "WORKFLOW_X@WORKFLOW_Y=b", "a setting is WORKFLOW_SOMETHING=VALUE"),
        ("--set", "WORKFLOW_X=<start-url>", "without < and >"),
        ("--env", "registry", "--env is 'registry', but must be NAME=VALUE"),
        ("--env", "re-gistry=x", "a name of letters, digits and _"),
        ("--env", "x=<start-url>", "without < and >"),
        ("--task-runner-url", "https://r/x,https://evil", "must be a URL"),
        ("--task-runner-url", "https://r/<start-url>", "must be a URL"),
        ("--task-runner-service", "--flags-file=/tmp/x", "--task-runner-service is '--flags-file=/tmp/x'"),
        ("--task-runner-region", "--flags-file=/tmp/x", "--task-runner-region is"),
        ("--database-location", "nam5 --x", "--database-location is"),
        ("--object-prefix", "<start-url>/", "without < and >"),
        ("--alert-email", "a@b.example,c@d.example", "must be one e-mail address"),
        ("--alert-email", "--flags-file=x", "must be one e-mail address"),
        ("--alert-channel", "--flags-file=x", "a channel's full name"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    """A wrong option is reported before gcloud is looked for."""
    required = ["deploy", "--project", "my-project", "--task-runner-url", "https://runner"]
    assert main([*required, f"{option}={value}"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "token\n", "none"])
def test_a_token_file_holds_the_token_alone(tmp_path: Path, content: str) -> None:
    """A token file with an end of line is refused without showing its content."""
    (tmp_path / "jwt").write_text(content)
    with pytest.raises(DeployProblem, match="printf"):
        _ = deployment("--token-file", str(tmp_path / "jwt")).token_digest


@pytest.mark.parametrize(("token", "is_told_apart"), [("4711", False), ("header.payload.signature", True)])
def test_no_label_reveals_a_token_that_can_be_guessed(tmp_path: Path, token: str, *, is_told_apart: bool) -> None:
    """A label says nothing about a short token."""
    (tmp_path / "jwt").write_text(token)
    options = ("--token-file", str(tmp_path / "jwt"))
    digest = deployment(*options).token_digest
    assert digest == deployment(*options).token_digest
    assert digest != deployment(*options, "--prefix", "other").token_digest
    assert not sha256(token.encode()).hexdigest().startswith(digest)
    elsewhere = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *options],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (elsewhere.stdout.strip() == digest) is is_told_apart


@pytest.mark.parametrize("burst", ["1", "50", "500"])
def test_a_deadline_outlasts_its_function(burst: str) -> None:
    """An acknowledgement deadline is longer than the function's timeout."""
    shapes = deployment("--set", f"WORKFLOW_BURST_SEC={burst}").shapes
    for shape in shapes.values():
        assert shape.timeout_s < shape.ack_deadline_s <= 600
    assert shapes["checker"].timeout_s >= float(burst) + 40


def test_two_prefixes_share_no_name() -> None:
    """Two deployments with different prefixes share no name in a project."""
    plans = [
        plan_of(
            deployment("--prefix", prefix, "--database", f"{prefix}-db"),
            staged=Path(),
            digests=dict.fromkeys(ALL_FUNCTIONS, ""),
        )
        for prefix in ("one", "two")
    ]
    made = [{(one.kind, one.name) for stage in plan for one in stage if one.create} for plan in plans]
    shared = {kind for kind, _ in made[0] & made[1]}
    assert shared == {"index", "exemption", "TTL policy"}


def test_the_local_platform_has_the_same_topology() -> None:
    """Local platform and deployment have the same topics, functions and deliveries."""
    assert tuple(pubsub.TOPICS) == topology.TOPICS
    assert dict(pubsub.PUSHED) == dict(topology.SUBSCRIBED)
    assert deployment().settings.max_deliveries == MAX_DELIVERIES


def test_every_publisher_may_keep_dead_letters() -> None:
    """Each function and Pub/Sub may publish dead letters."""
    may = {grant.to for grant in roles.grants_on(f"topic {DEAD_LETTERS}", with_runner=True)}
    assert may == {*FUNCTIONS, roles.PUBSUB_AGENT}


def test_no_role_is_a_broad_one() -> None:
    """No account is owner, editor or admin."""
    grants = roles.all_grants(with_runner=True)
    assert all(grant.call for grant in grants)
    google = [grant for grant in grants if grant.role != roles.CLOUD_RUN_JOBS]
    assert not [grant for grant in google if "admin" in grant.role.lower() or grant.role.count("/") != 1]
    assert not {"roles/owner", "roles/editor"} & {grant.role for grant in grants}
    assert {grant.to for grant in roles.GRANTS} == {*roles.IDENTITIES, *roles.AGENTS_OF}
    assert {grant.to for grant in roles.RUNNER_GRANTS} - set(roles.IDENTITIES) == set(roles.RUNNER_IDENTITIES)


def test_deploying_takes_the_standard_library_alone() -> None:
    """Deploying imports nothing that would have to be installed."""
    names_of_library = ("errors", "settings", "ports", "task_runner_urls", "closed_pipe")
    of_runner = ("runner.cloud", "runner.cloud.images")
    pure = {f"atom_workflows.{name}" for name in (*names_of_library, *of_runner)}
    for path in (ROOT / "deploy" / "atom_deploy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top in sys.stdlib_module_names or top == "atom_deploy" or name in pure, (path, name)


class Terminal(io.StringIO):
    """A person who types at a terminal."""

    def isatty(self) -> bool:
        """Return True, as for a terminal."""
        return True


def test_deleting_data_is_asked_for_twice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Data is deleted only after the project's id was typed."""
    need("gcloud")
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    assert main(["destroy", "--project", "my-project", "--region", "us-central1", "--delete-data"]) == 1
    said = capsys.readouterr()
    assert "the bucket my-project-atom-workflows with all its files" in said.out
    assert said.err == "nothing was removed\n"


@pytest.mark.parametrize("region", [[], ["--region", ""]])
def test_a_removal_needs_the_region(capsys: pytest.CaptureFixture[str], region: list[str]) -> None:
    """Nothing is removed without a region."""
    assert main(["destroy", "--project", "my-project", *region]) == 1
    said = capsys.readouterr().err
    assert said.startswith("REGION is not set")
    assert "`gcloud functions list --project=my-project`" in said


def test_make_chooses_a_region_only_for_what_is_made() -> None:
    """Only deploying has a default region."""
    recipes = (ROOT / "Makefile").read_text()
    made = dict(re.findall(r"^(\w+):.*\n((?:\t.*\n)+)", recipes, flags=re.MULTILINE))
    assert [target for target in made if "$(HERE)" in made[target]] == ["deploy", "plan", "deployer"]
    assert "$(THERE)" in made["destroy"]
    command = ["make", "doctor", "PROJECT=my-project"]
    ended = subprocess.run(
        command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False, text=True
    )
    assert "`gcloud functions list --project=my-project`" in ended.stderr


def test_a_plan_calls_no_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is printed without gcloud, with every resource and command."""
    monkeypatch.setenv("PATH", "")
    assert main(["plan", "--project", "my-project", "--task-runner-url", "https://runner"]) == 0
    said = capsys.readouterr().out
    assert "# topic atom-events: events of runs" in said
    assert "gcloud pubsub subscriptions create atom-steps" in said
    assert "--push-endpoint=<dispatcher-url>" in said
    commands = [line for line in said.splitlines() if line.startswith("gcloud ")]
    assert all(line.endswith(" --project=my-project") for line in commands), "pasted, it would be run elsewhere"


def test_a_plan_can_be_followed_by_hand(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan has a command for each resource that is made or granted, and explains what its commands leave open."""
    monkeypatch.setenv("PATH", "")
    assert main(["plan", "--project", "my-project"]) == 0
    head, *resources = capsys.readouterr().out.split("\n\n")
    assert "STAGED is the folder that `make stage` fills" in head
    assert "such as <start-url>, stands for a value" in head
    without = [one.strip().partition(":")[0] for one in resources if "\ngcloud " not in one]
    assert without == ["# project my-project", "# grants on subscription atom-dead-letters"]


@pytest.mark.parametrize(
    ("options", "notes"),
    [([], 0), (["--prefix", "two"], 1), (["--prefix", "two", "--database", "two-runs"], 0)],
)
def test_a_second_deployment_gets_a_note_about_its_database(
    capsys: pytest.CaptureFixture[str], options: list[str], notes: int
) -> None:
    """A second prefix on the same database gets a note."""
    assert main(["plan", "--project", "my-project", "--task-runner-url", "https://runner", *options]) == 0
    assert capsys.readouterr().out.count("# note: two uses the database (default)") == notes
    assert "".join(deployment(*options).notes).count("--database=two-runs") == notes


def test_functions_are_as_large_as_their_price_says() -> None:
    """`atom-workflows cost` assumes instances as large as those that are deployed."""
    priced, shapes = Assumptions(), deployment().shapes
    # What a Task Runner costs is no part of a run's price.
    assert {name: float(shapes[name].cpu) for name in FUNCTIONS} == {
        "start": priced.vcpu,
        "dispatcher": priced.vcpu,
        "checker": priced.checker_vcpu,
    }
    assert shapes["dispatcher"].memory == f"{priced.gib * 1024:.0f}Mi"
    assert shapes["checker"].memory == f"{priced.checker_gib * 1024:.0f}Mi"


def test_a_part_of_a_processor_handles_one_request_at_a_time() -> None:
    """A function with less than one processor handles one request at a time."""
    for shape in deployment().shapes.values():
        assert float(shape.cpu) >= 1 or shape.concurrency == 1


def test_the_data_of_another_deployment_is_not_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    """A second deployment cannot delete the first one's database."""
    where = ("--project", "acme-flow", "--region", "us-central1", "--prefix", "two")
    assert main(["destroy", *where, "--delete-data"]) != 0
    assert "may belong to another deployment than two" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["https://r/x@WORKFLOW_TASK_RUNNER_ALLOW=https://evil", "https://r/a;b~!%&+$*"])
def test_no_value_becomes_another_setting(url: str) -> None:
    """Gcloud splits settings only where they were joined."""
    wanted = deployment("--task-runner-url", url, "--object-prefix", "a|b/", "--set", "WORKFLOW_TR_AUDIENCE=x;y@z")
    for function in functions(wanted, Path("x"), dict.fromkeys(ALL_FUNCTIONS, "")):
        [flag] = [word for word in function.create[0] if word.startswith("--set-env-vars=")]
        _, sign, joined = flag.removeprefix("--set-env-vars=").split("^", 2)
        given = dict(one.split("=", 1) for one in joined.split(sign))
        given.pop("THREADS")
        assert given == dict(wanted.function_environment)


def test_what_files_read_as_env_is_a_setting_of_the_functions(capsys: pytest.CaptureFixture[str]) -> None:
    """`--env` becomes a variable of the functions, and the plan shows it."""
    options = ["--project", "acme-flow", "--task-runner-url", "https://runner", "--env", "registry=eu.example/a=b"]
    assert main(["plan", *options]) == 0
    printed = capsys.readouterr().out
    assert "# workflow files read env.registry as 'eu.example/a=b'" in printed
    assert "WORKFLOW_ENV_registry=eu.example/a=b" in printed
    assert main(["plan", *options, "--env", "registry=x"]) == 1
    assert "--env names registry twice" in capsys.readouterr().err


def test_settings_that_leave_no_sign_are_refused() -> None:
    """Settings that use every sign that could join them are refused."""
    wanted = deployment("--set", "WORKFLOW_TR_AUDIENCE=@|;~!%#&+$*?")
    with pytest.raises(DeployProblem, match="the functions' settings use each of"):
        functions(wanted, Path("x"), dict.fromkeys(ALL_FUNCTIONS, ""))


@pytest.mark.parametrize(
    ("options", "is_mute"),
    [([], False), (["--alerts"], True), (["--alerts", "--alert-email", "a@b.example"], False)],
)
def test_alerts_that_reach_no_one_are_noted(options: list[str], *, is_mute: bool) -> None:
    """Alerts without a channel get a note."""
    assert any("--alert-email" in note for note in deployment(*options).notes) == is_mute


def test_a_new_project_has_room_for_all_instances() -> None:
    """A function's instances fit into the smallest known quota."""
    for shape in deployment().shapes.values():
        assert shape.max_instances * float(shape.cpu) <= 10


@pytest.mark.parametrize("options", [[], ["--max-instances", "3"]])
def test_all_instances_together_act_on_twenty_hints_a_second(options: list[str]) -> None:
    """Each instance of the checker takes its share, and another share can be chosen."""
    wanted = deployment(*options)
    share = wanted.settings.hint_interval.total_seconds()
    assert wanted.shapes["checker"].max_instances / share == pytest.approx(MAX_HINTS_PER_SECOND)
    chosen = deployment(*options, "--set", "WORKFLOW_HINT_INTERVAL_SEC=0.1")
    assert chosen.settings.hint_interval.total_seconds() == pytest.approx(0.1)


@pytest.mark.parametrize(("topic", "hours"), [("start", 3), ("steps", 1.5)])
def test_an_outage_of_an_hour_gives_nothing_up(topic: str, hours: float) -> None:
    """Starts and steps are retried for longer than an hour."""
    wanted = deployment()
    assert pubsub.tried_for_s(topic, wanted.settings.max_deliveries) >= hours * 3600
    assert pubsub.tried_for_s(topic, 4) <= 10


def test_ticks_do_not_pile_up() -> None:
    """Ticks are retried for at most ten minutes."""
    assert pubsub.tried_for_s("tick", MAX_DELIVERIES) == pubsub.KEPT_S["tick"] == 600
