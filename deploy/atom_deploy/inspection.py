"""Compares a project with the plan, and changes nothing: what is missing or differs, and the commands that mend it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from atom_deploy.apply import working
from atom_deploy.deployment import Deployment
from atom_deploy.gcloud import Gcloud, written
from atom_deploy.plan import plan_of
from atom_deploy.problems import DeployProblem, Missing
from atom_deploy.resource import Command, Resource, at, filled
from atom_deploy.resources.functions import FUNCTIONS

_NOT_LOOKED_AT: Final = frozenset({"service agent"})
"""Looking at one makes it."""

NOT_COMPARED: Final = frozenset({"the same code and settings"})
"""What a function was deployed with is known to whoever deployed it."""


class State(StrEnum):
    """How a resource stands."""

    AS_PLANNED = "as planned"
    DIFFERENT = "different"
    MISSING = "missing"
    REFUSED = "refused"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A resource that was looked at. `mend` is empty if it takes a whole deployment; `told` says what should be."""

    kind: str
    name: str
    state: State
    told: str = ""
    mend: str = ""


def inspected(deployment: Deployment, gcloud: Gcloud) -> Iterator[Inspected]:
    """Each resource of the plan. After a look at the project itself that fails, nothing else is looked at."""
    plan = plan_of(deployment, staged=Path("STAGED"), digests=dict.fromkeys(FUNCTIONS, ""))
    inspection = _Inspection(gcloud=gcloud, project=deployment.project)
    with working(gcloud) as pool:
        for stage in plan:
            resources = [one for one in stage if one.kind not in _NOT_LOOKED_AT]
            looks = inspection.looks(pool, resources)
            for resource in resources:
                found = inspection.compared(resource, looks[inspection.filled(resource.look)])
                yield found
                if resource.kind == "project" and found.state is not State.AS_PLANNED:
                    return


@dataclass(slots=True, kw_only=True)
class _Inspection:
    gcloud: Gcloud
    project: str
    known: dict[str, str] = field(default_factory=dict)

    def filled(self, command: Command) -> Command:
        return tuple(filled(word, self.known) for word in command)

    def looks(self, pool: Executor, resources: list[Resource]) -> dict[Command, Future[Any]]:
        """The answers of all looks of some resources, each asked for once."""
        commands = dict.fromkeys(self.filled(one.look) for one in resources)
        return {command: pool.submit(self.gcloud.look, command) for command in commands}

    def compared(self, resource: Resource, look: Future[Any]) -> Inspected:
        """How the resource stands; what it teaches is known from then on."""
        try:
            answer = look.result()
        except Missing:
            return self._missing(resource)
        except DeployProblem as problem:
            return _of(resource, State.UNSEEN, " ".join(str(getattr(problem, "told", problem)).split()))
        found = resource.pick([] if answer is None else answer, self.known)
        if found is None and resource.create:
            return self._missing(resource)
        if (refusal := resource.refuse(found, self.known)) is not None:
            return _of(resource, State.REFUSED, refusal.told, self._mend(*refusal.mend))
        for placeholder, path in resource.learns.items():
            if (value := at(found, path)) is not None:
                self.known[placeholder] = str(value)
        unmet = [one for one in resource.unmet(found, self.known) if one.told not in NOT_COMPARED]
        if not unmet:
            return _of(resource, State.AS_PLANNED)
        told = "; ".join(filled(check.told, self.known) for check in unmet)
        return _of(resource, State.DIFFERENT, told, self._mend(*(check.mend for check in unmet)))

    def _missing(self, resource: Resource) -> Inspected:
        return _of(resource, State.MISSING, resource.why, self._mend(*resource.create))

    def _mend(self, *commands: Command) -> str:
        """The commands, unless they need what is not known, or what is staged."""
        whole = [written(self.filled(command), self.project) for command in dict.fromkeys(commands)]
        needs_more = any("<" in one or "STAGED" in one for one in whole)
        return "" if needs_more else " && ".join(whole)


def _of(resource: Resource, state: State, told: str = "", mend: str = "") -> Inspected:
    return Inspected(kind=resource.kind, name=resource.name, state=state, told=told, mend=mend)
