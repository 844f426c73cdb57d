"""`doctor`: check each part of a platform, and print fixes for problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import click

from atom_client.cli.history import NOTHING_TO_CHECK
from atom_client.cli.platform import desk_of, names_local_platform, platform_of, services_on
from atom_client.cli.platform_choice import check_url
from atom_client.deployment import DEPLOYED_PREFIX
from atom_client.doctor.findings import Finding, Verdict, ok, run_check, summary, wrong
from atom_client.doctor.firestore import letters_findings, newest_run, state_findings
from atom_client.doctor.http import function_findings, task_runner_findings
from atom_client.doctor.plan import plan_findings, region_findings
from atom_client.doctor.pubsub import UNKNOWN_REGION, Expected, message_findings
from atom_client.errors import explain
from atom_client.views.as_json import json_document
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import NewerVersion
from atom_workflows.settings import Settings
from atom_workflows.task_runner_urls import shown_url


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """The options that the user gave.

    The Task Runner's URL is needed if the platform has no runs yet. The region and the bucket are needed for a
    deployment, since they cannot be looked up.
    """

    task_runner_url: str | None = None
    region: str | None = None
    bucket: str | None = None
    as_json: bool = False


def check_platform(environment: Mapping[str, str], options: DoctorOptions) -> bool:
    """Check a platform and return True if nothing is wrong.

    Each finding is printed as soon as it is known, since the checks take time.
    """
    if options.task_runner_url is not None:
        check_url(options.task_runner_url)
    findings = []
    for finding in _findings(environment, options):
        findings.append(finding)
        if not options.as_json:
            click.echo(finding.line())
    wrongs = sum(one.verdict is Verdict.WRONG for one in findings)
    if options.as_json:
        click.echo(json_document({"wrong": wrongs, "findings": [one.as_fields() for one in findings]}))
    else:
        click.echo(summary(findings))
    return not wrongs


def _findings(environment: Mapping[str, str], options: DoctorOptions) -> Iterator[Finding]:
    if names_local_platform(environment):
        services = services_on(platform_of(environment))
        yield ok("platform", f"local, project {services.settings.project}")
        yield from _check_parts(services, _expected(services.settings, options, is_local=True), options)
        return
    from atom_workflows.adapters.own_credentials import account  # noqa: PLC0415 (only needed for deployments)

    try:
        place = platform_of(environment, why=NOTHING_TO_CHECK)
        whose = account()
    except Exception as error:
        detail = explain(error)
        if detail is None:
            raise
        yield wrong("credentials", detail.rstrip("."), "gcloud auth application-default login")
        return
    yield ok("credentials", f"those of {whose}" if whose else "your own login")
    services = services_on(place)
    yield from _check_parts(services, _expected(services.settings, options, is_local=False), options)


def _check_parts(services: Services, expected: Expected, options: DoctorOptions) -> Iterator[Finding]:
    from atom_workflows.adapters.pubsub.subscriptions import PubsubSettings  # noqa: PLC0415 (Google's clients are slow to import)

    if flaws := [] if expected.is_local else list(region_findings(expected)):
        # No part of the deployment is in that region, and nothing should be created there.
        yield from flaws
        return
    settings = services.settings
    there = PubsubSettings(project=settings.project, topic_prefix=settings.topic_prefix)
    yield from run_check("Firestore", lambda: state_findings(services, tick_fix=expected.tick_fix))
    yield from run_check("Pub/Sub", lambda: message_findings(there, expected))
    yield from run_check("functions", lambda: function_findings(there, expected))
    yield from run_check("Task Runner", lambda: task_runner_findings(_task_runner(services, options), expected))
    yield from run_check("dead letters", lambda: letters_findings(desk_of(services, is_local=expected.is_local)))
    if not expected.is_local:
        yield from plan_findings(expected, bucket=options.bucket or "")


def _expected(settings: Settings, options: DoctorOptions, *, is_local: bool) -> Expected:
    region = options.region or UNKNOWN_REGION
    if is_local:
        return Expected(
            settings=settings,
            is_local=True,
            region=region,
            fix_all="stop the platform, and start it again with `atom-workflows local up`",
        )
    prefix = settings.topic_prefix.removesuffix("-")
    others = "" if settings.topic_prefix == DEPLOYED_PREFIX else f" PREFIX={prefix}"
    fix_all = f"make deploy PROJECT={settings.project} REGION={region}{others} TASK_RUNNER_URL=URL"
    return Expected(settings=settings, is_local=False, region=region, fix_all=fix_all)


def _task_runner(services: Services, options: DoctorOptions) -> str:
    """Return the URL to which jobs are sent.

    The user's option takes precedence over the environment, and the environment over the newest run. If none of them
    has a URL, returns an empty string.
    """
    named = options.task_runner_url or services.settings.task_runner_url
    if named:
        return named
    try:
        run = newest_run(services)
    except NewerVersion:
        return ""
    # An earlier version may have stored a URL with a password, which must not be printed.
    return shown_url(run.task_runner_url) if run else ""
