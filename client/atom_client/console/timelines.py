"""Respond with a run's timeline and the steps that determined its duration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from flask import Blueprint, Response

from atom_client.console.app import answer, this_console
from atom_client.console.live import run_and_nodes
from atom_client.graph.folding import Fold, fold_steps
from atom_client.views.as_json import moment_text
from atom_client.views.timeline import (
    WORDS,
    Part,
    Timeline,
    describe_path,
    find_critical_path,
    lay_out_times,
    sum_path,
)

timelines = Blueprint("timelines", __name__)

_PARTS: Final = tuple(Part)


@timelines.get("/runs/<run_id>/timeline")
def show_timeline(run_id: str) -> Response:
    """Respond with the steps' bars, the critical path, and their totals.

    Bars are flat lists of a part's number, its start and its end, in milliseconds since `begin`.
    """
    console, now = this_console(), this_console().services.clock.now()
    run, nodes = run_and_nodes(console, run_id)
    timeline = lay_out_times(run, nodes, now)
    path = find_critical_path(timeline)
    picture = console.pictures.keep(run, nodes)
    numbers = {row.step.id: number for number, row in enumerate(timeline.rows)}
    # Rows are folded together as steps are in the graph.
    folded = (*fold_steps(picture.main, Fold.SIMILAR), *fold_steps(picture.under_finally, Fold.SIMILAR))
    return answer(
        {
            "run_id": run.id,
            "begin": moment_text(timeline.begin),
            "end": moment_text(timeline.end),
            "took_ms": _milliseconds(timeline.end - timeline.begin),
            "parts": [{"name": part.value, "words": WORDS[part]} for part in _PARTS],
            "steps": [row.step.id for row in timeline.rows],
            "states": [row.step.state.value for row in timeline.rows],
            "bars": _flat_bars(timeline),
            # Retention may have deleted steps of a graph that is known.
            "fans": [
                [numbers[one.id] for one in node.members if one.id in numbers] for node in folded if node.is_folded
            ],
            "path": [
                {
                    "step": one.id,
                    "start_ms": _milliseconds(one.start - timeline.begin),
                    "end_ms": _milliseconds(one.end - timeline.begin),
                }
                for one in path
            ],
            "path_ms": _sums(sum_path(timeline, path)),
            "total_ms": _sums(timeline.totals),
            "text": describe_path(timeline, path),
            "as_of": moment_text(now),
        }
    )


def _flat_bars(timeline: Timeline) -> list[list[int]]:
    def since_begin(moment: datetime) -> int:
        return _milliseconds(moment - timeline.begin)

    numbers = {part: number for number, part in enumerate(_PARTS)}
    return [
        [one for bar in row.bars for one in (numbers[bar.part], since_begin(bar.start), since_begin(bar.end))]
        for row in timeline.rows
    ]


def _sums(parts: Mapping[Part, timedelta]) -> dict[str, int]:
    return {part.value: _milliseconds(took) for part, took in parts.items()}


def _milliseconds(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))
