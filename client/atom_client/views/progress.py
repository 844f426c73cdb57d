"""A run's progress as seen from outside, updated with each change.

Changes arrive at least once and in any order, so each step keeps the newest one. A later attempt is newer, and within
an attempt the state that comes later takes precedence: the time stored in a document may be earlier or later than that
of the newest event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from atom_client.text import counted, one_line
from atom_client.views.loops import ItemCounts, count_states
from atom_client.views.reasons import last_start
from atom_workflows.core.item_ids import expander_id, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState

Rank: TypeAlias = tuple[int, int, datetime]
"""What makes one change newer than another.

The criteria are its attempt, how far along that attempt is, and the time of the change.
"""

_ORDER: Final = (StepState.PENDING, StepState.DISPATCHING, StepState.RUNNING, StepState.RETRYING)
"""The states of an attempt that has not ended, in order: an attempt never returns to an earlier one."""

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """The latest known state of a step."""

    id: str
    state: StepState
    attempt: int
    at: datetime
    job_state: str = ""
    message: str = ""
    # The Task Runner's reason for the job's end, and whether `allowFailure` tolerates the failure.
    reason: str = ""
    tolerated: bool = False
    # The time at which the attempt began, as far as is known.
    began_at: datetime | None = None

    @property
    def remark(self) -> str:
        """The message, preceded by the reason and any note.

        The note says that the failure is tolerated.
        """
        marks = ("tolerated" if self.tolerated else "", self.reason)
        return ": ".join(filter(None, (*marks, self.message)))

    @property
    def rank(self) -> Rank:
        """See `Rank`."""
        reached = len(_ORDER) if self.state.is_terminal else _ORDER.index(self.state)
        return self.attempt, reached, self.at

    def newer(self, other: StepView) -> StepView:
        """Return the newer of two views of a step.

        The result has the earliest known time of its attempt. This view wins if both have the same rank.
        """
        newest = other if other.rank > self.rank else self
        began = [one.began_at for one in (self, other) if one.attempt == newest.attempt and one.began_at is not None]
        return replace(newest, began_at=min(began, default=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """The latest known state of a run.

    `steps` holds only the steps whose state is known. `order` lists the step ids in file order, and is empty if the
    file was not read here; `total` is the number of steps. Items are kept apart from the steps: `items` holds them by
    step and then by id, and `sizes` holds the number of items of each step, if known. `item_count` is the total number
    of items in the run.
    """

    run_id: str
    total: int = 0
    order: tuple[str, ...] = ()
    state: RunState = RunState.SEEDING
    # The result of the main part, once the steps under `finally` have begun, and the time at which they began.
    main_state: RunState | None = None
    main_ended_at: datetime | None = None
    steps: Mapping[str, StepView] = field(default_factory=dict)
    # Where a QUEUED run stands in line.
    waits: str = ""
    items: Mapping[str, Mapping[str, StepView]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    # The counts of steps with too many items to read when the run was first seen, as last counted.
    counted: Mapping[str, ItemCounts] = field(default_factory=dict)
    item_count: int = 0
    # The time that the run had taken when it was first seen.
    already_s: float = 0.0

    def with_changes(self, changes: Iterable[Mapping[str, Any]]) -> RunView:
        """Return the view updated with these changes.

        Stale, repeated and unreadable changes are ignored.
        """
        steps, sizes = dict(self.steps), dict(self.sizes)
        items = {each: dict(known) for each, known in self.items.items()}
        state = self.state
        for change in changes:
            if "run" in change:
                with suppress(KeyError, ValueError):
                    state = _newer(state, RunState(change["state"]))
                continue
            step = _step_view(change)
            if step is None:
                continue
            name = parse_item_id(step.id)
            known = steps if name is None else items.setdefault(name.each, {})
            known[step.id] = known[step.id].newer(step) if step.id in known else step
            if isinstance(size := change.get("items"), int):
                sizes[step.id] = size
        return replace(self, state=state, steps=steps, items=items, sizes=sizes)

    def news(self, before: RunView) -> list[StepView]:
        """Return the steps that have changed, oldest change first.

        Changes to the items of a step with `forEach` are not included; see `failed_items`.
        """
        changed = [self._with_items(step) for name, step in self.steps.items() if before.steps.get(name) != step]
        return sorted(changed, key=lambda step: step.at)

    def failed_items(self, before: RunView) -> list[StepView]:
        """Return the items that have failed since `before`, oldest failure first."""
        failed = [
            item
            for each, items in self.items.items()
            if items is not before.items.get(each)
            for item in items.values()
            if item.state is StepState.FAILED and before.items.get(each, {}).get(item.id) != item
        ]
        return sorted(failed, key=lambda item: item.at)

    def count_items(self, step_id: str) -> ItemCounts | None:
        """Return how many of a step's items are in each state.

        Returns None if it is not known to have any.
        """
        if step_id in self.counted:
            return self.counted[step_id]
        if step_id not in self.items and step_id not in self.sizes:
            return None
        size = self.sizes.get(step_id)
        if size is None and len(self.items.keys() | self.sizes.keys()) == 1:
            size = self.item_count or None
        return count_states(size, Counter(item.state for item in self.items.get(step_id, {}).values()))

    @property
    def loops(self) -> list[StepView]:
        """The steps that have items.

        Each has a summary of its items as its message.
        """
        return [step for step in self._shown().values() if step.id in self.items or step.id in self.sizes]

    def _shown(self) -> dict[str, StepView]:
        """Return the known steps as users see them."""
        shown = {name: self._with_items(step) for name, step in self.steps.items()}
        for each, items in self.items.items():
            if each not in shown and items:
                begun = min(item.at for item in items.values())
                shown[each] = self._with_items(StepView(id=each, state=StepState.RUNNING, attempt=0, at=begun))
        return shown

    def _with_items(self, step: StepView) -> StepView:
        """Return a loop as users see it: RUNNING while its items are."""
        counts = self.count_items(step.id)
        if counts is None or step.state in {StepState.FAILED, StepState.CANCELLED}:
            return step
        if not step.state.is_terminal:
            return replace(step, state=StepState.RUNNING, message=counts.describe())
        # Some events may have been lost.
        lost = counts.total is not None and counts.ended < counts.total
        return replace(step, message=counted(counts.total or 0, "item") if lost else counts.describe())

    def with_run(self, run: RunRecord) -> RunView:
        """Return the view updated with the run's document.

        This adds the result of the main part, and the state if the events that reported it were lost.
        """
        known = (self.state, self.main_state, self.item_count)
        if self.total and known == (run.state, run.main_state, run.item_count):
            return self
        waits = self.waits if run.state is RunState.QUEUED else ""
        main_ended_at = None
        if run.main_state is not None and run.deadline is not None and run.finally_timeout is not None:
            # The time limit of the steps under `finally` begins when the main part ends.
            main_ended_at = run.deadline - run.finally_timeout
        return replace(
            self,
            state=run.state,
            total=self.total or run.step_count,
            item_count=run.item_count,
            main_state=run.main_state,
            main_ended_at=main_ended_at,
            waits=waits,
        )

    @property
    def counts(self) -> dict[StepState, int]:
        """The number of steps in each state.

        Steps whose state is not known count as PENDING.
        """
        shown = self._shown()
        found = Counter(step.state for step in shown.values())
        found[StepState.PENDING] += max(0, self.total - len(shown))
        return {state: found[state] for state in StepState if found[state]}

    @property
    def ended(self) -> int:
        """The number of steps that have ended."""
        return sum(step.state.is_terminal for step in self.steps.values())

    def rows(self, limit: int) -> list[StepView]:
        """Return at most `limit` steps.

        If all of them fit, they are in file order; otherwise, only the most relevant ones are returned.
        """
        if not self.order or len(self.order) > limit:
            return self.most_relevant(limit)
        untouched = StepView(id="", state=StepState.PENDING, attempt=0, at=_LONG_AGO)
        shown = self._shown()
        return [shown.get(name) or replace(untouched, id=name) for name in self.order]

    def most_relevant(self, limit: int) -> list[StepView]:
        """Return at most `limit` steps, those under way first.

        Among the steps under way, those that have waited longest come first. They are followed by the steps that have
        ended, failed ones first.
        """
        if limit <= 0:
            return []
        shown = self._shown().values()
        under_way = sorted((step for step in shown if not step.state.is_terminal), key=lambda step: step.at)
        ended = sorted(
            (step for step in shown if step.state.is_terminal),
            # Failed steps come first, and the newest steps come first within each group.
            key=lambda step: (step.state is not StepState.FAILED or step.tolerated, -step.at.timestamp()),
        )
        # Leave room for the first three steps that have ended.
        return (under_way[: max(1, limit - len(ended[:3]))] + ended)[:limit]


def _newer(known: RunState, reported: RunState) -> RunState:
    """Return the newer of a run's stored and reported states."""
    if known.is_terminal or reported is RunState.SEEDING:
        return known
    # A run waits before it is RUNNING, never after.
    return known if reported is RunState.QUEUED and known is not RunState.SEEDING else reported


def view_of(step: StepRecord) -> StepView:
    """Return the view of a stored step."""
    at = step.finished_at or step.started_at or _LONG_AGO
    return StepView(
        id=shown_id(step.id),
        state=step.state,
        attempt=step.attempt,
        at=at,
        job_state=one_line(step.job_state),
        message=step.message,
        reason=one_line(step.reason),
        tolerated=step.tolerated,
        began_at=step.claimed_at or step.started_at,
    )


def known_items(
    nodes: Mapping[str, StepRecord], *, but: Collection[str] = ()
) -> tuple[dict[str, dict[str, StepView]], dict[str, int]]:
    """Return the views of items by step, and each step's item count.

    The nodes in `but` are left out, as are items whose list is computed by one of them.
    """
    items: dict[str, dict[str, StepView]] = {}
    for node in nodes.values():
        if node.kind is NodeKind.ITEM and node.id not in but and expander_id(node.each) not in but:
            items.setdefault(node.each, {})[shown_id(node.id)] = view_of(node)
    expanders = [node for node in nodes.values() if node.kind is NodeKind.EXPAND and node.id not in but]
    return items, {node.each: node.items for node in expanders if node.state is StepState.SUCCEEDED}


def progress_of(
    run: RunRecord, nodes: Mapping[str, StepRecord], steps: Sequence[StepRecord], *, now: datetime
) -> RunView:
    """Return the view of a run that has begun, from its documents.

    `nodes` are all of the run's nodes by id, and `steps` the user's steps among them, in the order to show.
    """
    items, sizes = known_items(nodes)
    began = last_start(run)
    view = RunView(
        run_id=run.id,
        total=run.step_count,
        # While the run's steps are being written, the view shows those that it hears of.
        order=tuple(step.id for step in steps) if len(steps) >= run.step_count else (),
        # The view counts steps without a known state as PENDING.
        steps={step.id: view_of(step) for step in steps if step.state is not StepState.PENDING},
        items=items,
        sizes=sizes,
        already_s=max(0.0, (now - began).total_seconds()),
    )
    return view.with_run(run)


def _step_view(change: Mapping[str, Any]) -> StepView | None:
    try:
        at = datetime.fromisoformat(change["at"])
        return StepView(
            id=one_line(change["step"]),
            state=StepState(change["state"]),
            attempt=int(change["attempt"]),
            at=at,
            began_at=at,
            job_state=one_line(change.get("job_state") or ""),
            message=str(change.get("message") or ""),
            reason=one_line(change.get("reason") or ""),
            tolerated=change.get("tolerated") is True,
        )
    except (LookupError, TypeError, ValueError):
        return None  # An event from another version; the documents are read at the end anyway.
