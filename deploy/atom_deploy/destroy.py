"""Remove a deployment, last stage first.

Resources that hold data are kept unless their removal is requested.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from atom_deploy.apply import look_at_all, run_side_by_side, worker_pool
from atom_deploy.gcloud import Gcloud, shell_text
from atom_deploy.plan import Plan
from atom_deploy.problems import Missing
from atom_deploy.resource import Resource, at, fill


@dataclass(slots=True, kw_only=True)
class Removal:
    """One pass over a plan in reverse order."""

    gcloud: Gcloud
    project: str
    report: Callable[[str], None]
    with_data: bool = False
    dry_run: bool = False
    known: dict[str, str] = field(default_factory=dict)
    kept: list[Resource] = field(default_factory=list)

    def carry_out(self, plan: Plan) -> None:
        """Remove every resource in the plan.

        Skips any that do not exist, so an interrupted removal can be resumed.
        """
        with worker_pool(self.gcloud) as pool:
            first, *others = plan
            self._learn(first[0], look_at_all(pool, self.gcloud, first, self.known)[first[0].look])
            for stage in reversed(others):
                removable = [one for one in stage if one.is_removable]
                answers = look_at_all(pool, self.gcloud, removable, self.known)
                existing = [(one, found) for one in removable if (found := self._pick(one, answers)) is not None]
                run_side_by_side(pool, [partial(self._remove, one, found) for one, found in existing])

    def _pick(self, resource: Resource, answers: dict[tuple[str, ...], Any]) -> Any:
        answer = answers[tuple(fill(word, self.known) for word in resource.look)]
        return None if answer is None else resource.pick(answer, self.known)

    def _remove(self, resource: Resource, found: Any) -> None:
        if resource.holds_data and not self.with_data:
            self.kept.append(resource)
            self.report(f"     kept  {resource.kind} {resource.name}")
            return
        self._learn(resource, found)
        granted = [check.undo for check in resource.checks if check.undo and check.holds(found, self.known)]
        commands = (*granted, *resource.remove)
        for command in commands:
            known_command = tuple(fill(word, self.known) for word in command)
            if self.dry_run:
                self.report(shell_text(known_command, self.project))
                continue
            with suppress(Missing):  # Someone else has removed it first.
                self.gcloud.change(known_command)
        if commands and not self.dry_run:
            self.report(f"  removed  {resource.kind} {resource.name}")

    def _learn(self, resource: Resource, found: Any) -> None:
        for placeholder, path in resource.learns.items():
            if (value := at(found, path)) is not None:
                self.known[placeholder] = str(value)
