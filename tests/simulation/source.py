"""The bucket that handlers see: a file cannot be read for a while, is replaced by another one, or is gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from atom_emulator.testing.world import Files
from atom_workflows.errors import SourceUnavailable
from simulation.calls import Calls
from simulation.evidence import Evidence
from simulation.faults import Fault
from simulation.scenario import Scenario


@dataclass(slots=True, kw_only=True)
class FaultySource:
    """Implements `ports.Source`."""

    calls: Calls
    evidence: Evidence
    scenarios: Iterable[Scenario]
    _files: Files = field(default_factory=Files)

    def __post_init__(self) -> None:
        for one in self.scenarios:
            self._put(one)

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        """See `ports.Source.read`."""
        return self.calls.make("read", lambda: self._read(path, generation))

    def _read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        if self.calls.strikes(Fault.SOURCE_UNAVAILABLE):
            raise SourceUnavailable("no answer in time")
        if self.calls.strikes(Fault.SOURCE_GONE):
            self._files.content.pop((path, None), None)
            self.evidence.gone.add(path)
        if path not in self.evidence.gone and self.calls.strikes(Fault.SOURCE_REPLACED):
            self._put(next(one.newer for one in self.scenarios if one.path == path))
        return self._files.read(path, generation)

    def _put(self, scenario: Scenario) -> None:
        if scenario.is_file:
            self._files.content[scenario.path, None] = scenario.definition.encode()
