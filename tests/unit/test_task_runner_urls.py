"""Which URLs name a Task Runner, in every way in, and that a password in one is never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_client.views.dead_letters import body_text
from atom_deploy.deployment import Deployment
from atom_deploy.problems import DeployProblem
from atom_emulator.testing.world import START, TASK_RUNNER_URL, World
from atom_workflows.coordinator.preparation import Refusal
from atom_workflows.coordinator.start import handle_start
from atom_workflows.documents import run_path
from atom_workflows.errors import SettingsError
from atom_workflows.messages.dead_letters import read_dead_letter
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import HeldMessage, Update
from atom_workflows.settings import from_environment
from atom_workflows.task_runner_urls import expected_instead, shown_url
from support.no_cloud import NO_CLOUD
from support.workflows import chain
from unit.client.test_runs import call

FILE = str(Path(__file__).parents[2] / "examples" / "fork_join.yaml")
REFUSED = [
    ("https://user:s3cret@runner.test", "without a user name or a password"),
    ("https://user:s3/cret@runner.test", "a URL such as"),
    ("HTTPS://s3cret@runner.test/base", "without a user name or a password"),
    ("https://runner.test?key=s3cret", "without a query"),
    ("https://runner.test/base/?", "without a query"),
    ("https://runner.test/#s3cret", "without a fragment"),
    ("user:s3cret@runner.test", "a URL such as"),
    ("ftp://runner.test", "a URL such as"),
    ("https://", "a URL such as"),
    ("https://runner.test:0", "a URL such as"),
    ("https://runner.test:65536", "a URL such as"),
    ("https://runner.test:80a", "a URL such as"),
    ("https://runner.test\\@evil.test", "a URL such as"),
    ("https://runner.test/a b", "a URL such as"),
    ("https://runner.test/\x1b[31m", "a URL such as"),
]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080",
        "https://runner-abc.a.run.app/",
        "HTTPS://Runner.test:443/base/v1",
        "http://[::1]:8080",
        "https://runner.test/team@home",
        "http://bücher.test",
    ],
)
def test_a_task_runners_url_is_taken(url: str) -> None:
    """A URL of scheme, host, port and path is accepted and shown unchanged."""
    assert expected_instead(url) is None
    assert shown_url(url) == url


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_every_way_in_refuses_other_urls_with_the_reason(url: str, reason: str) -> None:
    """Settings, messages and command line give one reason, without a password."""
    with pytest.raises(SettingsError, match=reason) as refused:
        from_environment({"WORKFLOW_TASK_RUNNER_URL": url})
    shown = [str(refused.value)]
    with pytest.raises(SettingsError, match="WORKFLOW_TASK_RUNNER_ALLOW is ") as refused:
        from_environment({"WORKFLOW_TASK_RUNNER_ALLOW": f"https://fine.test, {url}"})
    shown.append(str(refused.value))
    for command in (["run", FILE], ["local", "up"], ["start", FILE], ["doctor"]):
        result = CliRunner(env=NO_CLOUD).invoke(cli, [*command, f"--tr-url={url}"])
        shown.append(result.stderr)
        assert (result.exit_code, reason in result.stderr) == (2, True)
    assert not any("s3" in one for one in shown)


@pytest.mark.parametrize(("url", "reason"), REFUSED[:5])
def test_a_run_whose_message_names_such_a_url_is_invalid(url: str, reason: str) -> None:
    """The run is INVALID with the reason, and shows no password."""
    world = World()
    body = {"definition": chain(1), "run_key": "k", "tr_url": url}
    started = handle_start(world.services, read_start_event(body, event_id="1"))
    assert started.refusal is Refusal.FORBIDDEN
    assert reason in call(world, "show", started.run_id).stdout
    assert "s3" not in call(world, "show", "--json", started.run_id).stdout
    assert "s3" not in str(world.store.get([run_path(started.run_id)])[0])


@pytest.mark.parametrize("url", ["HTTP://Task-Runner.test/", "http://task-runner.test:80"])
def test_a_message_that_spells_the_url_otherwise_may_come_again(url: str) -> None:
    """A repeated message with another spelling of the URL is the same request."""
    world = World()
    event = read_start_event({"definition": chain(1), "run_key": "k", "tr_url": url}, event_id="1")
    first = handle_start(world.services, event)
    assert handle_start(world.services, event) == first
    assert world.run(first.run_id).warnings == ()


def test_a_password_that_an_earlier_version_stored_is_not_shown() -> None:
    """A password in an old run's URL is not shown."""
    world = World()
    run_id = world.start(chain(1))
    stored = {"task_runner_url": f"{TASK_RUNNER_URL.replace('//', '//me:s3cret@')}?key=s3cret"}
    world.store.commit([Update(path=run_path(run_id), fields=stored)])
    for options in ((), ("--json",)):
        shown = call(world, "show", *options, run_id).stdout
        assert "http://***@task-runner.test?***" in shown
        assert "s3cret" not in shown


def test_a_dead_letter_shows_no_password() -> None:
    """A dead letter shows its Task Runner without the password."""
    body = {"workflow_path": "gs://b/o", "tr_url": "https://me:s3cret@runner.test"}
    held = HeldMessage(id="1", data=json.dumps(body).encode(), attributes={}, published_at=START, lease=None)
    assert '"tr_url": "https://***@runner.test"' in body_text(read_dead_letter(held))


def test_a_deployment_is_refused_without_showing_the_password() -> None:
    """The deployment's refusal of the URL hides the password."""
    with pytest.raises(DeployProblem, match="TASK_RUNNER_URL is ") as refused:
        Deployment(project="my-project", region="us-central1", task_runner_url="https://me:s3cret@runner.test")
    assert "s3cret" not in str(refused.value)
