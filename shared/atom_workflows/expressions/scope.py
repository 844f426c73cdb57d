"""What an expression may read where it stands, and what is found to be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from atom_workflows.expressions.faults import Advice
from atom_workflows.expressions.kinds import Type
from atom_workflows.expressions.names import did_you_mean
from atom_workflows.expressions.syntax import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong, its offset in the text, and advice, which may be empty."""

    at: int
    message: str
    suggestion: str = ""


def fault_at(at: int, advice: Advice) -> Fault:
    """Return the fault of a message and what helps."""
    message, suggestion = advice
    return Fault(at=at, message=message, suggestion=suggestion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The names that an expression may read, with their types."""

    names: Mapping[str, Type]
    """Names and members are of a type, of `OrNull` with the reason why they may be missing, or `Unavailable`."""

    proven: frozenset[Path] = frozenset()
    """Paths that are neither null nor missing here, whatever their types say."""

    zone: str = "UTC"
    """The zone in which local times are."""

    guess: Callable[[str, Iterable[str]], str] = did_you_mean
    """Returns the question for the name that was meant, or nothing. A caller may limit what such searches cost."""

    def proving(self, paths: Iterable[Path]) -> Scope:
        """Return the scope in which these paths are certainly there."""
        return replace(self, proven=self.proven | frozenset(paths))

    def naming(self, name: str, of: Type) -> Scope:
        """Return the scope within a comprehension, whose name hides others."""
        proven = frozenset(path for path in self.proven if path[0] != name)
        return replace(self, names={**self.names, name: of}, proven=proven)
