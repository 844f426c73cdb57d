"""A resource of the plan as a value, with its gcloud commands.

They look it up, create it, fix what differs, and remove it. A command is the words after `gcloud`. Names in angle
brackets, such as `<start-url>`, are placeholders for values that are known only once another resource has been looked
up; the `learns` of that resource says where in the answer to find them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Command: TypeAlias = tuple[str, ...]
Known: TypeAlias = Mapping[str, str]
"""The values learned so far, by placeholder."""

_PLACEHOLDER: Final = re.compile(r"<([a-z][a-z-]*)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A condition on an existing resource, and the command to fix it.

    `undo` reverts the fix, for a removal that keeps the resource itself.
    """

    expectation: str
    holds: Callable[[Any, Known], bool]
    fix: Command
    undo: Command = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A property of an existing resource that only a person may change.

    `fix` holds the commands that change it, if there are any.
    """

    reason: str
    fix: tuple[Command, ...] = ()


def accept_all(_found: Any, _known: Known) -> Refusal | None:
    """Refuse nothing."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A part of a deployment, and its look, create and remove commands."""

    kind: str
    name: str
    # The purpose, shown in the plan and in the doctor's reports of missing resources.
    why: str
    # Prints JSON. Several resources may share one command, which is then run once.
    look: Command
    # Finds the resource in the answer, or returns None.
    pick: Callable[[Any, Known], Any] = lambda answer, _: answer
    # Empty for a resource that always exists, such as the project.
    create: tuple[Command, ...] = ()
    checks: tuple[Check, ...] = ()
    remove: tuple[Command, ...] = ()
    # Kept when the deployment is removed, unless the data is also removed.
    holds_data: bool = False
    # How long creating or fixing the resource takes, if it takes long.
    takes: str = ""
    # The placeholders that this resource fills, each with the path to its value in the answer.
    learns: Mapping[str, str] = field(default_factory=dict)
    # Returns why an existing resource cannot be deployed over, or None.
    refuse: Callable[[Any, Known], Refusal | None] = accept_all

    @property
    def is_removable(self) -> bool:
        """True if a removal has anything to do for this resource."""
        return bool(self.remove) or any(check.undo for check in self.checks)

    def unmet(self, found: Any, known: Known) -> list[Check]:
        """Return the checks that the found resource fails."""
        return [check for check in self.checks if not check.holds(found, known)]


def fill(text: str, known: Known) -> str:
    """Replace the placeholders whose values are known."""
    return _PLACEHOLDER.sub(lambda match: known.get(match[1], match[0]), text)


def at(found: Any, path: str) -> Any:
    """Return the value at a dotted path, or None."""
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def is_at(path: str, wanted: Any) -> Callable[[Any, Known], bool]:
    """Return a check that the path holds the value."""
    return lambda found, known: at(found, path) == (fill(wanted, known) if isinstance(wanted, str) else wanted)


def one_with(path: str, ending: str) -> Callable[[Any, Known], Any]:
    """Return a picker for the item with that value.

    The value at the path is `ending`, or ends with a slash and `ending`. The picker returns None if no item matches.
    """

    def pick(answer: Any, known: Known) -> Any:
        wanted = fill(ending, known)
        listed = answer if isinstance(answer, list) else ()
        return next((one for one in listed if f"/{at(one, path)}".endswith(f"/{wanted}")), None)

    return pick


def binds(member: str, role: str, *, condition: str = "") -> Callable[[Any, Known], bool]:
    """Return a check that a policy grants the role.

    The binding must have exactly that condition's expression.
    """

    def holds(policy: Any, known: Known) -> bool:
        return any(
            binding.get("role") == role
            and fill(member, known) in binding.get("members", ())
            and (at(binding, "condition.expression") or "") == condition
            for binding in (policy or {}).get("bindings", ())
        )

    return holds
