"""`python -m atom_deploy`: stage, deploy, destroy, or print the plan."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from atom_deploy import command_line
from atom_deploy.apply import Application, Outcome, check_accepted
from atom_deploy.deployment import DEFAULT_DATABASE, DEFAULT_PREFIX, Deployment
from atom_deploy.destroy import Removal
from atom_deploy.gcloud import Gcloud, InstalledGcloud, shell_text
from atom_deploy.plan import plan_of
from atom_deploy.problems import DeployProblem, Missing
from atom_deploy.regions import check_place, check_regions
from atom_deploy.resources.build import deployer_plan
from atom_deploy.resources.firestore import database
from atom_deploy.resources.functions import ALL_FUNCTIONS
from atom_deploy.stage import digests, stage
from atom_deploy.task_runner import check_kept
from atom_workflows.closed_pipe import exit_with

_INTERRUPTED: Final = 130
_NO_DIGESTS: Final[Mapping[str, str]] = dict.fromkeys(ALL_FUNCTIONS, "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that the command line names.

    Prints a problem as one message on stderr and returns 1.
    """
    options = command_line.parser().parse_args(arguments)
    try:
        return _VERBS[options.verb](options)
    except DeployProblem as problem:
        _complain(str(problem))
        return 1
    except KeyboardInterrupt:
        _complain(f"interrupted; run the same command again to continue ({options.verb})")
        return _INTERRUPTED


def _stage(options: argparse.Namespace) -> int:
    for function, digest in stage(options.out).items():
        _say(f"{options.out / function}  {digest[:12]}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    deployment = command_line.deployment(options)
    check_regions(deployment)
    for note in deployment.notes:
        _say(f"# {note}")
    for name, value in sorted(deployment.settings.env.items()):
        _say(f"# workflow files read env.{name} as {value!r}")
    _say(
        "# note: STAGED is the folder that `make stage` fills, build/staged. A name in angle brackets, such as "
        "<start-url>, stands for a value that Google Cloud assigns during the deployment; `make deploy` fills it in."
    )
    plan = plan_of(deployment, staged=Path("STAGED"), digests=_NO_DIGESTS)
    for resource in (one for part in plan for one in part):
        _say(f"\n# {resource.kind} {resource.name}: {resource.why}")
        # Looking a service agent up creates it.
        found_by = (resource.look,) if resource.kind == "service agent" else ()
        commands = resource.create or found_by or dict.fromkeys(check.fix for check in resource.checks)
        for command in commands:
            _say(shell_text(command, options.project))
    return 0


def _deploy(options: argparse.Namespace) -> int:
    deployment = command_line.deployment(options)
    gcloud = InstalledGcloud(deployment.project, report=_say)
    check_regions(deployment, gcloud)
    found = check_place(deployment, gcloud, instead=", or, to move it, destroy it there first")
    _check_database(deployment, gcloud)
    if not options.own_runner:
        check_kept(deployment, gcloud)
    for note in deployment.notes:
        _say(note)
    with tempfile.TemporaryDirectory(prefix="atom-staged-") as scratch:
        staged = options.staged or Path(scratch) / "staged"
        staged_as = digests(staged) if options.staged else stage(staged)
        application = Application(gcloud=gcloud, project=deployment.project, report=_say, dry_run=options.dry_run)
        application.carry_out(plan_of(deployment, staged=staged.resolve(), digests=staged_as))
    _say(_summary(application, deployment))
    if found.others:
        _say(
            f"\nnote: {deployment.prefix} is also in {found.named}, where nothing is pushed anymore; "
            "`gcloud functions delete` and `gcloud scheduler jobs delete` remove it there"
        )
    return 0


def _check_database(deployment: Deployment, gcloud: Gcloud) -> None:
    """Raise `Refused` if an existing database cannot be used.

    Its mode and edition can never be changed, so they are checked before anything is created.
    """
    wanted = database(deployment)
    try:
        answer = gcloud.look(wanted.look)
    except Missing:
        return
    found = wanted.pick(answer or [], {})
    if found is not None:
        check_accepted(wanted, found, {}, deployment.project)


def _destroy(options: argparse.Namespace) -> int:
    deployment = command_line.deployment(options)
    if options.delete_data and deployment.prefix != DEFAULT_PREFIX and deployment.database == DEFAULT_DATABASE:
        raise DeployProblem(
            f"the database {DEFAULT_DATABASE} may belong to another deployment than {deployment.prefix}; "
            "name the database of this one with --database, or leave out --delete-data"
        )
    gcloud = InstalledGcloud(deployment.project)
    check_regions(deployment, gcloud)
    if options.delete_data and not options.dry_run:
        _confirm(deployment)
    found = check_place(deployment, gcloud)
    removal = Removal(
        gcloud=gcloud,
        project=deployment.project,
        report=_say,
        with_data=options.delete_data,
        dry_run=options.dry_run,
    )
    removal.carry_out(plan_of(deployment, staged=Path("STAGED"), digests=_NO_DIGESTS, all_options=True))
    if removal.kept:
        _say("The data was kept: deploying again uses it. `--delete-data` also removes it.")
    if found.others:
        _say(
            f"{deployment.prefix} is also in {found.named}; "
            f"run the same command with REGION={found.others[0]} to remove that."
        )
    return 0


def _confirm(deployment: Deployment) -> None:
    """Ask for confirmation before data is deleted.

    Only a person at a terminal is asked; a script has already decided.
    """
    if not sys.stdin.isatty():
        return
    _say(
        f"This permanently deletes the bucket {deployment.bucket_name} with all its files, the database "
        f"{deployment.database} with every run, and all dead letters of {deployment.prefix}."
    )
    if input(f"To continue, type the project's id ({deployment.project}): ").strip() != deployment.project:
        raise DeployProblem("nothing was removed")


def _deployer(options: argparse.Namespace) -> int:
    deployment = command_line.deployment(options)
    gcloud = InstalledGcloud(deployment.project, report=_say)
    application = Application(gcloud=gcloud, project=deployment.project, report=_say, dry_run=options.dry_run)
    application.carry_out(deployer_plan(deployment))
    return 0


def _summary(application: Application, deployment: Deployment) -> str:
    if application.dry_run:
        return "Nothing was changed."
    counts = ", ".join(f"{application.outcomes[outcome]} {outcome}" for outcome in Outcome)
    where = _where(deployment)
    bucket, prefix = deployment.bucket_name, deployment.object_prefix
    example = "first_container" if deployment.has_runner else "fork_join"
    lines = [
        f"\n{deployment.prefix} in {deployment.project}: {counts}.",
        "\nStart a first run:",
        f"  gsutil cp examples/{example}.yaml gs://{bucket}/{prefix}",
        f"or POST to {application.known.get('start-url', '')} as someone with roles/run.invoker on it,",
        "and watch it:",
        "  gcloud auth application-default login     # once",
        f"  atom-workflows runs list {where}",
        f"  atom-workflows doctor {where} --region {deployment.region}",
    ]
    if not (deployment.has_runner or deployment.task_runner_service or deployment.token_file):
        members = " and ".join(deployment.account(name) for name in ("dispatcher", "checker"))
        lines += ["\nThe Task Runner must allow these accounts (roles/run.invoker on Cloud Run):", f"  {members}"]
    return "\n".join(lines)


def _where(deployment: Deployment) -> str:
    """Return the client's options that select this deployment."""
    options = [f"--project {deployment.project}"]
    if deployment.prefix != DEFAULT_PREFIX:
        options.append(f"--topic-prefix {deployment.prefix}-")
    if deployment.database != DEFAULT_DATABASE:
        options.append(f"--database {deployment.database}")
    return " ".join(options)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


_VERBS: Final = {"stage": _stage, "plan": _plan, "deploy": _deploy, "destroy": _destroy, "deployer": _deployer}


if __name__ == "__main__":
    exit_with(main)
