"""The names that an expression may read, and the faults in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from atom_workflows.expressions.faults import Advice
from atom_workflows.expressions.kinds import Type
from atom_workflows.expressions.names import did_you_mean
from atom_workflows.expressions.syntax import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, its offset in the text, and a possibly empty suggestion."""

    at: int
    message: str
    suggestion: str = ""


def fault_at(at: int, advice: Advice) -> Fault:
    """Return a fault with the given message and suggestion."""
    message, suggestion = advice
    return Fault(at=at, message=message, suggestion=suggestion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The names that an expression may read, with their types."""

    names: Mapping[str, Type]
    """Each name or member has a plain type, an `OrNull` that says why it may be missing, or `Unavailable`."""

    proven: frozenset[Path] = frozenset()
    """Paths that are neither null nor missing here, whatever their types say."""

    zone: str = "UTC"
    """The time zone for local times."""

    guess: Callable[[str, Iterable[str]], str] = did_you_mean
    """Returns a question that suggests a name, or "". A caller may limit the cost of such searches."""

    def proving(self, paths: Iterable[Path]) -> Scope:
        """Return a scope in which these paths are certain to exist."""
        return replace(self, proven=self.proven | frozenset(paths))

    def naming(self, name: str, of: Type) -> Scope:
        """Return the scope inside a comprehension, where its variable shadows other names."""
        proven = frozenset(path for path in self.proven if path[0] != name)
        return replace(self, names={**self.names, name: of}, proven=proven)
