"""Check that exactly the jobs of a pass were submitted, each after the jobs that it depends on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import requests

_TIMEOUT_S = 30.0


class TaskRunner:
    """The mock Task Runner's own endpoints, whose calls are not counted."""

    def __init__(self, url: str) -> None:
        self.url = url

    def forget(self) -> None:
        """Forget all jobs and calls so far."""
        requests.post(f"{self.url}/_reset", timeout=_TIMEOUT_S).raise_for_status()

    def submitted(self) -> list[str]:
        """Return the keys of all submissions since then, in order."""
        answer = requests.get(f"{self.url}/_log", timeout=_TIMEOUT_S)
        answer.raise_for_status()
        calls = (json.loads(line) for line in answer.text.splitlines())
        return [call["idempotency_key"] or "" for call in calls if call["call"] == "submit"]


def breach(steps: Mapping[str, Sequence[str]], run_ids: Sequence[str], submitted: Iterable[str]) -> str:
    """Return the first thing that went wrong, or an empty text."""
    keys = list(submitted)
    return next(
        (problem for run_id in run_ids for problem in _breaches(steps, run_id, keys)), _surplus(steps, run_ids, keys)
    )


def _breaches(steps: Mapping[str, Sequence[str]], run_id: str, keys: Sequence[str]) -> Iterator[str]:
    mine = [key.split("/")[1] for key in keys if key.startswith(f"{run_id}/")]
    times, place = Counter(mine), {step: place for place, step in enumerate(mine)}
    yield from (f"{step} of run {run_id} was submitted {times[step]} times" for step in steps if times[step] != 1)
    for step, needs in steps.items():
        yield from (f"{step} of run {run_id} came before {need}" for need in needs if place[need] > place[step])


def _surplus(steps: Mapping[str, Sequence[str]], run_ids: Sequence[str], keys: Sequence[str]) -> str:
    more = len(keys) - len(steps) * len(run_ids)
    return f"unexpected jobs submitted: {more}" if more else ""
