"""Explain a `forEach` step by its items, and items by their step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from atom_client.text import clean, clip, counted, one_line
from atom_client.views.loops import LoopView
from atom_client.views.reasons import failure_text, why_skipped
from atom_client.views.under_way import progress_text
from atom_workflows.core.consistency import is_under_way
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Template

_LONGEST_VALUE: Final = 1_500
_LONGEST_LIST: Final = 100


def loop_facts(loop: LoopView, some: Sequence[StepRecord], now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the facts about a step's items, each with a label.

    `some` holds a few of the items that are under way or were skipped.
    """
    yield from _numbers(loop)
    for item in loop.failed:
        yield "failed", f"`{shown_id(item.id)}` {failure_text(item)}"
    if loop.more_failed:
        yield "failed", f"… and {loop.more_failed:,} more"
    for item in some:
        if is_under_way(item):
            yield "waits for", f"`{shown_id(item.id)}` {progress_text(item, now)}"
        elif item.by_choice:
            yield "skipped", f"`{shown_id(item.id)}`: {why_skipped(item)}"
    if loop.expander.loop is not None:
        most_attempts = loop.expander.loop.policies.retry.max_attempts
        yield "attempts", f"at most {most_attempts:,} for each item"


def _numbers(loop: LoopView) -> Iterator[tuple[str, str]]:
    """Yield facts about a loop: its list, states and limits."""
    if source := _source_of(loop):
        yield "forEach", source
    if loop.is_expanded:
        yield "items", loop.counts.describe()
        waiting = 0 if loop.step.state.is_terminal else loop.counts.states.get(StepState.PENDING, 0)
        if waiting and (most := _places_of(loop)):
            yield "places", f"{most}; {counted(waiting, 'item')} {'waits' if waiting == 1 else 'wait'} for a place"
    # Without a failure of its own, a step that did not succeed was stopped, and its items with it.
    was_stopped = loop.step.state in {StepState.FAILED, StepState.CANCELLED} and not loop.step.last_kind
    if (loop.step.tolerate or loop.counts.failed) and not was_stopped:
        failed = loop.counts.failed
        so = "" if loop.step.state.is_terminal else ", so the step may still succeed"
        so = ", so the step fails" if failed > loop.step.tolerate else so
        yield "tolerate", f"{loop.step.tolerate:,}; {failed:,} {'has' if failed == 1 else 'have'} failed{so}"


def _source_of(loop: LoopView) -> str:
    """Return where the items come from, such as `${{ steps.list.outputs.files }}`."""
    lists = {} if loop.expander.loop is None else loop.expander.loop.lists
    said = []
    for name, source in lists.items():
        text = one_line(source.text) if isinstance(source, Template) else f"a list of size {len(source):,} in the file"
        said.append(f"{name}: {text}" if name else text)
    return clip(", ".join(said), _LONGEST_LIST * max(1, len(said)))


def _places_of(loop: LoopView) -> str:
    """Return a clause with the limit on items running at once.

    Returns "" if there is no limit.
    """
    most = None if loop.expander.loop is None else loop.expander.loop.max_parallel
    if most is None:
        return ""
    return f"`maxParallel` is {one_line(most.text) if isinstance(most, Template) else f'{most:,}'}"


WHOLE: Final = "`--json` prints all"


def item_facts(item: StepRecord, loop: LoopView, *, whole: str = WHOLE) -> Iterator[tuple[str, str]]:
    """Yield the facts that apply only to items, each with a label.

    `whole` says where to find a long value in full.
    """
    yield "of", f"`{loop.step.id}`, item {item.index} of {loop.counts.total or 0:,} (numbered from 0)"
    text = clip(clean(item.item), _LONGEST_VALUE)
    yield "item", f"{text} ({whole})" if text.endswith("…") else text


def why_item_waits(loop: LoopView | None) -> str:
    """Explain why an item that has been created is not released yet."""
    if loop is not None and (places := _places_of(loop)):
        return f"it is waiting for a place, since {places}"
    return "its step has just been expanded, and it will be released next"
