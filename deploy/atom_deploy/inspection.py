"""Compare a project with the plan, and list commands that fix differences.

The project is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from atom_deploy.apply import worker_pool
from atom_deploy.deployment import Deployment
from atom_deploy.gcloud import Gcloud, shell_text
from atom_deploy.plan import plan_of
from atom_deploy.problems import DeployProblem, Missing
from atom_deploy.resource import Command, Resource, at, fill
from atom_deploy.resources.functions import ALL_FUNCTIONS

_NOT_LOOKED_AT: Final = frozenset({"service agent"})
"""Looking one up would create it."""

NOT_COMPARED: Final = frozenset({"the same code and settings"})
"""Only the person who deployed a function knows its code and settings."""


class State(StrEnum):
    """How a resource compares with the plan."""

    AS_PLANNED = "as planned"
    DIFFERENT = "different"
    MISSING = "missing"
    REFUSED = "refused"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A compared resource.

    `detail` explains its state; `fix` is empty if only a deployment can fix it.
    """

    kind: str
    name: str
    state: State
    detail: str = ""
    fix: str = ""


def compare_with_plan(deployment: Deployment, gcloud: Gcloud) -> Iterator[Comparison]:
    """Compare each resource of the plan with the project.

    If the project itself cannot be read, nothing else is compared.
    """
    plan = plan_of(deployment, staged=Path("STAGED"), digests=dict.fromkeys(ALL_FUNCTIONS, ""))
    inspector = _Inspector(gcloud=gcloud, project=deployment.project)
    with worker_pool(gcloud) as pool:
        for stage in plan:
            resources = [one for one in stage if one.kind not in _NOT_LOOKED_AT]
            looks = inspector.looks(pool, resources)
            for resource in resources:
                found = inspector.compare(resource, looks[inspector.fill(resource.look)])
                yield found
                if resource.kind == "project" and found.state is not State.AS_PLANNED:
                    return


@dataclass(slots=True, kw_only=True)
class _Inspector:
    gcloud: Gcloud
    project: str
    known: dict[str, str] = field(default_factory=dict)

    def fill(self, command: Command) -> Command:
        return tuple(fill(word, self.known) for word in command)

    def looks(self, pool: Executor, resources: list[Resource]) -> dict[Command, Future[Any]]:
        """Start each distinct look command of these resources once."""
        commands = dict.fromkeys(self.fill(one.look) for one in resources)
        return {command: pool.submit(self.gcloud.look, command) for command in commands}

    def compare(self, resource: Resource, look: Future[Any]) -> Comparison:
        """Compare one resource with the answer to its look command.

        Values learned from the resource are known from then on.
        """
        try:
            answer = look.result()
        except Missing:
            return self._missing(resource)
        except DeployProblem as problem:
            return _of(resource, State.UNSEEN, " ".join(str(getattr(problem, "output", problem)).split()))
        found = resource.pick([] if answer is None else answer, self.known)
        if found is None and resource.create:
            return self._missing(resource)
        if (refusal := resource.refuse(found, self.known)) is not None:
            return _of(resource, State.REFUSED, refusal.reason, self._commands(*refusal.fix))
        for placeholder, path in resource.learns.items():
            if (value := at(found, path)) is not None:
                self.known[placeholder] = str(value)
        unmet = [one for one in resource.unmet(found, self.known) if one.expectation not in NOT_COMPARED]
        if not unmet:
            return _of(resource, State.AS_PLANNED)
        detail = "; ".join(fill(check.expectation, self.known) for check in unmet)
        return _of(resource, State.DIFFERENT, detail, self._commands(*(check.fix for check in unmet)))

    def _missing(self, resource: Resource) -> Comparison:
        return _of(resource, State.MISSING, resource.why, self._commands(*resource.create))

    def _commands(self, *commands: Command) -> str:
        """Return the commands as one shell command line.

        Returns "" if one of them needs an unknown value or a staged folder.
        """
        whole = [shell_text(self.fill(command), self.project) for command in dict.fromkeys(commands)]
        needs_more = any("<" in one or "STAGED" in one for one in whole)
        return "" if needs_more else " && ".join(whole)


def _of(resource: Resource, state: State, detail: str = "", fix: str = "") -> Comparison:
    return Comparison(kind=resource.kind, name=resource.name, state=state, detail=detail, fix=fix)
