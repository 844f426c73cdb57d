"""What the functions read from their environment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from atom_workflows.errors import SettingsError
from atom_workflows.settings import Settings, from_environment, misspelled_credentials

KEY = "/keys/runner.json"


def test_nothing_set_means_the_defaults() -> None:
    """An empty environment gives the defaults."""
    assert from_environment({}) == Settings()
    assert from_environment({}).check_interval == timedelta(seconds=10)
    assert from_environment({"WORKFLOW_CHECK_STATE_DURATION_SEC": " ", "WORKFLOW_TASK_RUNNER_URL": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("WORKFLOW_TASK_RUNNER_URL", "https://tr.test/", "task_runner_url", "https://tr.test"),
        ("TASK_RUNNER_URL", "https://tr.test/", "task_runner_url", "https://tr.test"),
        ("WORKFLOW_TASK_RUNNER_ALLOW", "https://a/, https://b", "allowed_task_runner_urls", ("https://a", "https://b")),
        ("WORKFLOW_TR_AUTH_JWT", "xxx.yyy.zzz", "task_runner_token", "xxx.yyy.zzz"),
        ("WORKFLOW_TR_AUDIENCE", "https://audience.test ", "task_runner_audience", "https://audience.test"),
        ("WORKFLOW_CHECK_STATE_DURATION_SEC", "2.5", "check_interval", timedelta(seconds=2.5)),
        ("WORKFLOW_BURST_SEC", "20", "burst", timedelta(seconds=20)),
        ("WORKFLOW_LEASE_SEC", "240", "lease", timedelta(seconds=240)),
        ("WORKFLOW_KEEP_RUNS_SEC", "5184000", "keep_runs", timedelta(days=60)),
        ("WORKFLOW_MAX_DELIVERIES", " 20 ", "max_deliveries", 20),
        ("WORKFLOW_PROJECT", "acme", "project", "acme"),
        ("GOOGLE_CLOUD_PROJECT", "acme", "project", "acme"),
        ("WORKFLOW_DATABASE", "flows", "database", "flows"),
        ("WORKFLOW_HOSTS", "localhost, EXAMPLE.test", "hosts", ("localhost", "example.test")),
        ("WORKFLOW_OBJECT_PREFIX", "", "object_prefix", ""),
        ("WORKFLOW_OBJECT_SUFFIXES", ".flow, .yaml", "object_suffixes", (".flow", ".yaml")),
        ("WORKFLOW_TOPIC_PREFIX", "test-", "topic_prefix", "test-"),
    ],
)
def test_each_variable_is_read(variable: str, text: str, setting: str, value: Any) -> None:
    """Each variable changes its own setting and no other."""
    changed = from_environment({variable: text})
    assert changed == Settings(**{setting: value})


def test_the_first_versions_name_of_the_task_runner_counts_less() -> None:
    """`WORKFLOW_TASK_RUNNER_URL` counts more than the first version's name."""
    both = {"TASK_RUNNER_URL": "https://old.test", "WORKFLOW_TASK_RUNNER_URL": "https://new.test"}
    assert from_environment(both).task_runner_url == "https://new.test"
    assert not from_environment(both).may_use_task_runner("https://old.test")


@pytest.mark.parametrize("text", ["ten", "4", "101", "5.5", "-10", "9" * 5_000, "00000001000", "\uff11\uff10"])
def test_deliveries_that_pubsub_does_not_allow_are_refused(text: str) -> None:
    """A number of deliveries that Pub/Sub does not allow is refused."""
    with pytest.raises(SettingsError, match=r"WORKFLOW_MAX_DELIVERIES.*a whole number from 5 to 100"):
        from_environment({"WORKFLOW_MAX_DELIVERIES": text})


@pytest.mark.parametrize("text", ["ten", "0", "-1", "nan", "inf", "10s"])
def test_an_invalid_interval_is_refused(text: str) -> None:
    """An interval that is no positive number is refused."""
    with pytest.raises(SettingsError, match=r"WORKFLOW_CHECK_STATE_DURATION_SEC.*a number of seconds"):
        from_environment({"WORKFLOW_CHECK_STATE_DURATION_SEC": text})


def test_a_misspelled_credentials_variable_is_reported() -> None:
    """A name without its S, as in the first version's README, is reported."""
    message = misspelled_credentials({"GOOGLE_APPLICATION_CREDENTIAL": KEY})
    assert message is not None
    assert "the correct name is GOOGLE_APPLICATION_CREDENTIALS" in message
    assert KEY not in message
    assert misspelled_credentials({}) is None
    assert misspelled_credentials({"GOOGLE_APPLICATION_CREDENTIAL": KEY, "GOOGLE_APPLICATION_CREDENTIALS": KEY}) is None


@pytest.mark.parametrize(
    ("configured", "named"),
    [
        ("https://runner.test/v1", "HTTPS://Runner.TEST/v1"),
        ("https://runner.test/v1", "https://runner.test:443/v1/"),
        ("http://127.0.0.1:8080", "http://localhost:8080"),
        ("http://localhost:8080", "http://[::1]:8080/"),
        ("http://Localhost", "http://127.0.0.1:80"),
    ],
)
def test_a_task_runner_may_be_spelt_in_other_ways(configured: str, named: str) -> None:
    """An address is compared as a URL, and called as the settings spell it."""
    settings = Settings(task_runner_url="https://other.test", allowed_task_runner_urls=(configured,))
    assert settings.allowed_task_runner(named) == configured
    assert settings.may_use_task_runner(named)


@pytest.mark.parametrize(
    "named",
    [
        *("http://runner.test/v1", "https://runner.test/V1", "https://runner.test:80/v1", "https://runner.test/v1?a=b"),
        *(
            "https://u@runner.test/v1",
            "https://runner.test./v1",
            "https://localhost/v1",
            "runner.test/v1",
            "",
            "x" * 99,
        ),
    ],
)
def test_another_address_is_not_another_spelling(named: str) -> None:
    """Scheme, host, port and path must equal a setting's."""
    assert Settings(task_runner_url="https://runner.test/v1").allowed_task_runner(named) is None


def test_of_two_equivalent_addresses_the_exact_one_counts() -> None:
    """Of two equivalent addresses the exact one is used."""
    both = Settings(task_runner_url="http://localhost:1", allowed_task_runner_urls=("http://127.0.0.1:1",))
    assert [both.allowed_task_runner(one) for one in ("http://localhost:1", "http://127.0.0.1:1")] == [
        "http://localhost:1",
        "http://127.0.0.1:1",
    ]


@pytest.mark.parametrize("name", ["workflows/a.YAML", "workflows/a.Yml", "workflows/A.JSON", "workflows/b/a.yaml"])
def test_an_ending_counts_in_any_case(name: str) -> None:
    """A file's extension counts in any case."""
    assert Settings().is_workflow_object(name)
    assert Settings(object_suffixes=(".Yaml", ".YML", ".json")).is_workflow_object(name)


@pytest.mark.parametrize("name", ["Workflows/a.yaml", "workflows/a.yaml.bak", "workflows/", "workflows/ayaml"])
def test_other_objects_are_no_workflows(name: str) -> None:
    """An object's folder and extension must match, case included."""
    assert not Settings().is_workflow_object(name)
