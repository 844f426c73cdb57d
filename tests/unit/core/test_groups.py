"""Which runs of a group begin, wait or are skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from atom_workflows.core.groups import (
    Admission,
    Decisions,
    admit,
    decide,
    group_of,
    line_of,
    place_at_work,
    place_of,
    wait_ends,
)
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Concurrency, WhenFull

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def waiting(name: str, *, minutes_ago: int = 1, limit: int = 1, stop: Stop | None = None, **rules: object) -> RunRecord:
    """Return a waiting run with these rules."""
    group = group_of("gs://b/f.yaml", "", Concurrency(limit=limit, **rules))  # type: ignore[arg-type]  # by name
    since = NOW - timedelta(minutes=minutes_ago)
    return RunRecord(
        id=name, workflow="f", state=RunState.QUEUED, created_at=since, queued_at=since, group=group, stop=stop
    )


def fates(decisions: Decisions) -> tuple[list[str], dict[str, str]]:
    """Return the ids of the runs that begin, and the reasons of those that are skipped."""
    return [run.id for run in decisions.begin], {run.id: because for run, because in decisions.skip}


@pytest.mark.parametrize(
    ("when_full", "at_work", "queued", "expected"),
    [
        (WhenFull.QUEUE, 2, 0, Admission.BEGIN),
        (WhenFull.QUEUE, 2, 1, Admission.WAIT),
        (WhenFull.QUEUE, 3, 0, Admission.WAIT),
        (WhenFull.QUEUE, 3, 4, Admission.WAIT),
        (WhenFull.QUEUE, 3, 5, Admission.SKIP),
        (WhenFull.LATEST, 3, 1, Admission.WAIT),
        (WhenFull.SKIP, 2, 0, Admission.BEGIN),
        (WhenFull.SKIP, 2, 1, Admission.WAIT),
        (WhenFull.SKIP, 3, 0, Admission.SKIP),
        (WhenFull.SKIP, 9, 0, Admission.SKIP),
    ],
)
def test_a_new_run_begins_waits_or_is_skipped(
    when_full: WhenFull, at_work: int, queued: int, expected: Admission
) -> None:
    """A new run begins if there is a place and no line; if all places are taken, the file decides."""
    group = group_of("p", "v", Concurrency(limit=3, when_full=when_full, max_queued=5))
    assert admit(group, at_work=at_work, waiting=queued) is expected


def test_the_first_in_line_begin() -> None:
    """As many runs begin as there are places, from the front of the line."""
    line = [waiting(name, limit=3) for name in "abcd"]
    assert fates(decide(line, at_work=1, now=NOW)) == (["a", "b"], {})
    assert fates(decide(line, at_work=3, now=NOW)) == ([], {})
    assert fates(decide([], at_work=0, now=NOW)) == ([], {})


def test_no_run_overtakes_another() -> None:
    """A run whose file allows more runs waits for those before it."""
    line = [waiting("a", limit=1), waiting("b", limit=9)]
    assert fates(decide(line, at_work=1, now=NOW)) == ([], {})
    assert fates(decide(line, at_work=0, now=NOW)) == (["a", "b"], {})


def test_runs_beyond_the_queue_are_skipped_from_its_end() -> None:
    """Those that find `maxQueued` runs before them are skipped, after the first have begun."""
    line = [waiting(name, max_queued=2) for name in "abcde"]
    begin, skip = fates(decide(line, at_work=0, now=NOW))
    assert (begin, list(skip)) == (["a"], ["d", "e"])


def test_the_latest_run_replaces_all_others() -> None:
    """Of those that cannot begin, the newest waits, and the others name it."""
    line = [waiting(name, when_full=WhenFull.LATEST) for name in "abc"]
    assert fates(decide(line, at_work=1, now=NOW)) == ([], dict.fromkeys("ab", "replaced by c"))
    assert fates(decide(line, at_work=0, now=NOW)) == (["a"], {"b": "replaced by c"})


def test_a_run_that_must_not_wait_is_skipped() -> None:
    """Under `skip`, a run that cannot begin is skipped."""
    line = [waiting(name, when_full=WhenFull.SKIP) for name in "ab"]
    assert fates(decide(line, at_work=0, now=NOW)) == (
        ["a"],
        {"b": "1 run in its group was in progress, the most that `limit` allows"},
    )


def test_a_run_whose_wait_is_over_is_skipped_even_if_there_is_a_place() -> None:
    """After `maxWait`, a run no longer begins, and those behind it move up."""
    line = [waiting("a", minutes_ago=60, max_wait=timedelta(hours=1)), waiting("b")]
    begin, skip = fates(decide(line, at_work=0, now=NOW))
    assert begin == ["b"]
    assert skip == {"a": "it waited for 1h, the longest that `maxWait` allows"}
    assert wait_ends(line[0]) == NOW


def test_a_run_that_is_being_cancelled_neither_begins_nor_counts() -> None:
    """A run with a stop is left to that, and takes up no room in the line."""
    stop = Stop(kind=StopKind.CANCEL, reason="", requested_at=NOW)
    line = [waiting("a", stop=stop, max_queued=1), waiting("b", max_queued=1)]
    assert fates(decide(line, at_work=1, now=NOW)) == ([], {})
    assert fates(decide(line, at_work=0, now=NOW)) == (["b"], {})


def test_the_places_of_a_line_sort_in_its_order() -> None:
    """The place of a waiting run lies in the range of its group, and sorts by the time since which it waits."""
    times = [NOW, NOW + timedelta(microseconds=1), NOW + timedelta(seconds=1), NOW + timedelta(days=400)]
    group = group_of("p", "v", Concurrency())
    runs = [
        RunRecord(id=name, workflow="f", state=RunState.QUEUED, created_at=NOW, queued_at=at, group=group)
        for name, at in zip("dcba", times, strict=True)
    ]
    places = [place_of(run) or "" for run in runs]
    first, end = line_of(group.id)
    assert places == sorted(places)
    assert all(first <= place < end for place in places)
    assert not first <= place_at_work(group.id) < end


@pytest.mark.parametrize("state", list(RunState))
def test_only_open_runs_have_a_place(state: RunState) -> None:
    """A run has a place exactly as long as it is open."""
    group = group_of("p", "v", Concurrency())
    run = RunRecord(id="r", workflow="f", state=state, created_at=NOW, group=group)
    assert (place_of(run) is None) is state.is_terminal


def test_a_group_is_known_by_the_file_and_the_value() -> None:
    """Another file or another value is another group; other rules are not."""
    rules = Concurrency()
    ids = {group_of(path, value, rules).id for path in ("a", "b") for value in ("", "x", "b")}
    assert len(ids) == 6
    assert group_of("a", "x", Concurrency(limit=5)).id == group_of("a", "x", rules).id
