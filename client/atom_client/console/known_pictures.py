"""Keep pictures of recently drawn runs.

A run's graph never changes, so its steps are read only once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock
from typing import Final

from atom_client.graph.picture import Picture, PicturedStep, picture_run
from atom_workflows.core.records import RunRecord, StepRecord

_MOST_KNOWN: Final = 8
"""A picture of 10,000 steps takes up about 10 MB."""


class KnownPictures:
    """Keeps the pictures of a few runs, without states; thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Picture] = OrderedDict()
        self._lock = Lock()

    def of_run(self, run: RunRecord, read: Callable[[], Mapping[str, StepRecord]]) -> Picture:
        """Return a run's picture; read its nodes if it is not known."""
        return self._find(run) or self._add(run, read())

    def keep(self, run: RunRecord, nodes: Mapping[str, StepRecord]) -> Picture:
        """Keep and return the picture of a run whose nodes are known."""
        return self._find(run) or self._add(run, nodes)

    def _find(self, run: RunRecord) -> Picture | None:
        with self._lock:
            if run.id in self._known:
                self._known.move_to_end(run.id)
            return self._known.get(run.id)

    def _add(self, run: RunRecord, nodes: Mapping[str, StepRecord]) -> Picture:
        # The counts of items change, so the page has them from the steps.
        picture = picture_run(run, nodes, {})
        picture = replace(picture, main=_plain(picture.main), under_finally=_plain(picture.under_finally))
        # Until a run has begun, steps are still being created.
        if picture.steps and run.started_at is not None and len(picture.steps) >= run.step_count:
            with self._lock:
                self._known[run.id] = picture
                while len(self._known) > _MOST_KNOWN:
                    self._known.popitem(last=False)
        return picture


def _plain(steps: tuple[PicturedStep, ...]) -> tuple[PicturedStep, ...]:
    return tuple(step._replace(state=None) for step in steps)
