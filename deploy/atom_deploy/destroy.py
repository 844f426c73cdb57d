"""Takes a deployment away, last things first; what holds data stays unless it is to go, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from atom_deploy.apply import looked_at, side_by_side, working
from atom_deploy.gcloud import Gcloud, written
from atom_deploy.plan import Plan
from atom_deploy.problems import Missing
from atom_deploy.resource import Resource, at, filled


@dataclass(slots=True, kw_only=True)
class Removal:
    """One pass over a plan, backwards."""

    gcloud: Gcloud
    project: str
    tell: Callable[[str], None]
    with_data: bool = False
    dry_run: bool = False
    known: dict[str, str] = field(default_factory=dict)
    kept: list[Resource] = field(default_factory=list)

    def carry_out(self, plan: Plan) -> None:
        """What does not exist any more is passed over, so that an interrupted removal can be gone on with."""
        with working(self.gcloud) as pool:
            first, *others = plan
            self._know(first[0], looked_at(pool, self.gcloud, first, self.known)[first[0].look])
            for stage in reversed(others):
                self._stage(pool, [one for one in stage if one.is_removable])

    def _stage(self, pool: Executor, stage: Sequence[Resource]) -> None:
        answers = looked_at(pool, self.gcloud, stage, self.known)
        there = [(one, found) for one in stage if (found := self._found(one, answers)) is not None]
        side_by_side(pool, [partial(self._take_away, one, found) for one, found in there])

    def _found(self, resource: Resource, answers: dict[tuple[str, ...], Any]) -> Any:
        answer = answers[tuple(filled(word, self.known) for word in resource.look)]
        return None if answer is None else resource.pick(answer, self.known)

    def _take_away(self, resource: Resource, found: Any) -> None:
        if resource.holds_data and not self.with_data:
            self.kept.append(resource)
            self.tell(f"     kept  {resource.kind} {resource.name}")
            return
        self._know(resource, found)
        granted = [check.undo for check in resource.checks if check.undo and check.holds(found, self.known)]
        commands = (*granted, *resource.remove)
        for command in commands:
            self._run(tuple(filled(word, self.known) for word in command))
        if commands and not self.dry_run:
            self.tell(f"  removed  {resource.kind} {resource.name}")

    def _run(self, command: tuple[str, ...]) -> None:
        if self.dry_run:
            self.tell(written(command, self.project))
            return
        try:
            self.gcloud.change(command)
        except Missing:
            return  # Somebody was faster.

    def _know(self, resource: Resource, found: Any) -> None:
        for placeholder, path in resource.learns.items():
            if (value := at(found, path)) is not None:
                self.known[placeholder] = str(value)
