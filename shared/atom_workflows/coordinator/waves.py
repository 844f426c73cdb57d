"""Make a call for each of many items, and take the answers in waves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from atom_workflows.ports import Answer, Item, Workers


def waves(
    workers: Workers,
    call: Callable[[Item], Answer],
    items: Sequence[Item],
    *,
    lane: Callable[[Item], str] | None = None,
) -> Iterator[list[tuple[Item, Answer]]]:
    """Call for each item and yield lists of (item, answer).

    A list holds the answers that were ready together; each item comes once. An error of a call is raised here, after
    the others have ended. See `ports.Workers.calls` for `lane`.
    """
    if len(items) == 1:
        # Handing it to a thread would take longer than anything around the call does.
        yield [(items[0], call(items[0]))]
        return
    calls = workers.calls(call, lane=lane)
    calls.begin(items)
    while calls.pending:
        if wave := calls.wave():
            yield wave
    calls.wave()
