"""Carry out a plan: create missing resources and change those that differ.

Stages run one after the other, the resources of a stage in parallel. Each resource is looked up first, so applying the
same plan again changes only what differs, and running an interrupted deployment again continues it. Values that are
found (a function's URL, the project's number) fill the placeholders of later commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final

from atom_deploy.gcloud import Gcloud, shell_text
from atom_deploy.plan import Plan
from atom_deploy.problems import DeployProblem, Exists, Missing, Refused
from atom_deploy.resource import Command, Known, Resource, at, fill

WORKERS: Final = 4
"""How many commands run at a time: enough to build the three functions in parallel."""


class Outcome(StrEnum):
    """The result for a resource."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(slots=True, kw_only=True)
class Application:
    """One pass over a plan.

    With `dry_run`, nothing is changed, and the commands are printed instead.
    """

    gcloud: Gcloud
    project: str
    report: Callable[[str], None]
    dry_run: bool = False
    known: dict[str, str] = field(default_factory=dict)
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))

    def carry_out(self, plan: Plan) -> None:
        """Create or change every resource of the plan, stage by stage.

        Raises the first `DeployProblem` once the commands that run in parallel have ended.
        """
        with worker_pool(self.gcloud) as pool:
            for stage in plan:
                answers = look_at_all(pool, self.gcloud, stage, self.known)
                run_side_by_side(pool, [partial(self._ensure, one, answers[self._fill(one.look)]) for one in stage])

    def _ensure(self, resource: Resource, answer: Any) -> None:
        found = None if answer is None else resource.pick(answer, self.known)
        if found is None and resource.create:
            self._create(resource)
            return
        check_accepted(resource, found, self.known, self.project)
        self._learn(resource, found)
        unmet = resource.unmet(found, self.known)
        self._change(resource, list(dict.fromkeys(check.fix for check in unmet)))
        self._record(resource, Outcome.CHANGED if unmet else Outcome.UNCHANGED, [check.expectation for check in unmet])

    def _create(self, resource: Resource) -> None:
        try:
            self._change(resource, resource.create)
        except Exists:
            # Another deployment was faster. If the resource still does not exist, someone else's resource has its name.
            if self._look_again(resource) is None:
                raise
        self._record(resource, Outcome.CREATED, ())
        if resource.learns and not self.dry_run:
            self._learn(resource, self._look_again(resource))

    def _look_again(self, resource: Resource) -> Any:
        answer = _answer(self.gcloud, self._fill(resource.look))
        return None if answer is None else resource.pick(answer, self.known)

    def _learn(self, resource: Resource, found: Any) -> None:
        for placeholder, path in resource.learns.items():
            value = at(found, path)
            if value is None and not self.dry_run:
                look = shell_text(resource.look, self.project)
                raise DeployProblem(f"the {resource.kind} {resource.name} has no {path}; look at it with `{look}`")
            if value is not None:
                self.known[placeholder] = str(value)

    def _change(self, resource: Resource, commands: Sequence[Command]) -> None:
        if commands and resource.takes and not self.dry_run:
            self.report(f"      ...  {resource.kind} {resource.name} takes {resource.takes}")
        for command in commands:
            wanted = self._fill(command)
            if self.dry_run:
                self.report(shell_text(wanted, self.project))
            else:
                self.gcloud.change(wanted)

    def _fill(self, command: Command) -> Command:
        return tuple(fill(word, self.known) for word in command)

    def _record(self, resource: Resource, outcome: Outcome, differences: Sequence[str]) -> None:
        self.outcomes[outcome] += 1
        if not self.dry_run:
            what = f" ({'; '.join(differences)})" if differences else ""
            self.report(f"{outcome:>9}  {resource.kind} {resource.name}{what}")


def check_accepted(resource: Resource, found: Any, known: Known, project: str) -> None:
    """Raise `Refused` if the existing resource must not be changed.

    The error includes the commands that would resolve this.
    """
    refusal = resource.refuse(found, known)
    if refusal is None:
        return
    fix = " && ".join(shell_text(tuple(fill(word, known) for word in one), project) for one in refusal.fix)
    raise Refused(f"{resource.kind} {resource.name}: {refusal.reason}" + (f":\n  {fix}" if fix else ""))


@contextmanager
def worker_pool(gcloud: Gcloud) -> Iterator[Executor]:
    """Yield workers for as long as the block lasts.

    If the block raises, gcloud no longer retries commands that only need time.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            yield pool
        except BaseException:
            gcloud.stop()
            raise


def run_side_by_side(pool: Executor, calls: Sequence[Callable[[], None]]) -> None:
    """Make all calls in parallel and raise the first error.

    After a failed call or an interruption, calls that have not begun are not made.
    """
    jobs = [pool.submit(call) for call in calls]
    try:
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        problems = [problem for job in done if (problem := job.exception()) is not None]
        if problems:
            raise problems[0]
    finally:
        for job in jobs:
            job.cancel()


def look_at_all(
    pool: Executor, gcloud: Gcloud, resources: Sequence[Resource], known: dict[str, str]
) -> dict[Command, Any]:
    """Return the answers to the look commands of these resources.

    Each distinct command is run once. The answer is None if what it looks for does not exist.
    """
    looks = list(dict.fromkeys(tuple(fill(word, known) for word in one.look) for one in resources))
    return dict(zip(looks, pool.map(lambda look: _answer(gcloud, look), looks), strict=True))


def _answer(gcloud: Gcloud, look: Command) -> Any:
    try:
        answer = gcloud.look(look)
    except Missing:
        return None
    return [] if answer is None else answer
